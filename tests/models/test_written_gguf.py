"""A GGUF of each kind of model and tokenizer, read by llama.cpp: the same ids and probabilities."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.llama_cpp import loaded, texts
from tests.tiny import tiny_mistral
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from moxin_recipes.chats import template
from moxin_recipes.models.llama_cpp import branch, vocabulary
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens import mistral
from moxin_recipes.tokens.write import train_tokenizer

SIZE = 700
SOURCE = Path(vocabulary.__file__).read_text(encoding="utf-8")


def nano() -> PreTrainedTokenizerBase:
    """As 00-data trains it, with the template and the marks of a chat."""
    made = train_tokenizer([SOURCE, "1 22 333  4\n\n\t5  été 数学"] * 3, SIZE - 20)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    template.prepare_tokenizer(made, "chatml.jinja", None)
    return made


def edited(tokenizer: PreTrainedTokenizerBase, **parts: Any) -> PreTrainedTokenizerFast:
    """The same tokenizer with other parts in its tokenizer.json; `model_…` are of its model."""
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    for name, value in parts.items():
        within, _, key = name.partition("model_")
        (told["model"] if key and not within else told)[key or name] = value
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)))
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    made.add_special_tokens(marks)
    return made


def gpt2() -> PreTrainedTokenizerBase:
    """Digits stay together, and a BOS goes before each text."""
    plain = json.loads(nano().backend_tokenizer.to_str())["pre_tokenizer"]["pretokenizers"][1]
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    around = {
        "type": "TemplateProcessing",
        "single": [begin, text],
        "pair": [begin, text],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    return edited(nano(), pre_tokenizer=plain, post_processor=around)


def save(folder: Path, tokenizer: PreTrainedTokenizerBase, size: int = SIZE, **shape: Any) -> Path:
    """A tiny Mistral of nano's kind: heads share keys, and the window is shorter than the text."""
    usual = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "sliding_window": 48,
        "tie_word_embeddings": True,
        "initializer_range": 0.08,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    tiny_mistral(vocab_size=size, **usual | shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def convert(folder: Path, kind: str = "f16") -> tuple[Path, dict[str, Any]]:
    path = folder / f"{kind}.gguf"
    return path, branch.convert(folder, "o/m@main", kind, path, "o/m")


KINDS = [(nano, SIZE, "smollm"), (gpt2, SIZE, "gpt-2"), (mistral.build, 32_000, "default")]


@pytest.mark.parametrize(("make", "size", "pre"), KINDS)
def test_ids_are_those_of_transformers(make: Any, size: int, pre: str, tmp_path: Path) -> None:
    path, facts = convert(save(tmp_path, make(), size))
    assert (facts["pre_tokenizer"], facts["bytes_without_piece"]) == (pre, [])
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    with loaded(path) as referee:
        for text in texts(1000):
            assert referee.ids(text) == theirs(text)["input_ids"], text


def test_a_name_that_is_nearly_right_gives_other_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why all but what is known is refused: nothing else would notice."""
    theirs = nano()
    split = vocabulary.PRE_TOKENIZERS["smollm"]
    for name in ("gpt-2", "default"):
        monkeypatch.setattr(vocabulary, "PRE_TOKENIZERS", {name: split})
        path, _ = convert(save(tmp_path / name, theirs))
        with loaded(path) as referee:
            assert any(referee.ids(text) != theirs(text)["input_ids"] for text in texts(100))


def largest_difference(folder: Path, kind: str, length: int, exact: bool = False) -> float:
    """Of the log-probabilities of all ids after prompts of up to `length` random ids."""
    path, facts = convert(folder, kind)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    draw, differences = random.Random(3), [0.0]
    with loaded(path, exact) as referee:
        settings = referee.ask("/props")["default_generation_settings"]
        assert settings["n_ctx"] == facts["context_length"]  # and no more
        for tokens in (1, 2, length // 2, length):
            prompt = [draw.randrange(SIZE - 20) for _ in range(tokens)]
            with torch.no_grad():
                wanted = model(torch.tensor([prompt])).logits[0, -1].double().log_softmax(-1)
            found = torch.tensor(referee.log_probabilities(prompt, SIZE))
            differences.append(float((found - wanted).abs().max()))
    return max(differences)


@pytest.mark.parametrize("tied", [True, False])
def test_what_llama_cpp_computes_is_what_transformers_computes(tied: bool, tmp_path: Path) -> None:
    """In float32, with weights so large that no head is like another."""
    save(tmp_path, nano(), tie_word_embeddings=tied, initializer_range=0.3)
    assert largest_difference(tmp_path, "f32", 47, exact=True) < 1e-4


def test_a_llama_with_a_head_size_and_a_rope_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(1)
    shape = {"hidden_size": 40, "head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 1}
    config = LlamaConfig(
        **shape, vocab_size=SIZE, intermediate_size=72, num_hidden_layers=2,
        initializer_range=0.3, max_position_embeddings=96, rope_theta=3e5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    nano().save_pretrained(tmp_path)
    assert largest_difference(tmp_path, "f32", 95, exact=True) < 1e-4


@pytest.mark.parametrize(("kind", "most"), [("f16", 2e-2), ("bf16", 5e-2), ("q8_0", 5e-2)])
def test_smaller_types_are_as_near_as_they_can_be(kind: str, most: float, tmp_path: Path) -> None:
    """With weights as large as a new nano's, and llama.cpp as it is without flags."""
    assert largest_difference(save(tmp_path, nano()), kind, 47) < most


def test_the_chat_template_and_all_ends_go_along(tmp_path: Path) -> None:
    tokenizer = nano()
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    save(tmp_path, tokenizer)
    GenerationConfig(eos_token_id=[turn, 2]).save_pretrained(tmp_path)
    path, _ = convert(tmp_path)
    said = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi  there 12"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "and?"},
    ]
    wanted = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    with loaded(path) as referee:
        assert referee.ask("/apply-template", {"messages": said})["prompt"] == wanted
        assert [number for number in range(8, SIZE) if referee.stops_at(number)][:1] == [turn]
        assert [number for number in range(8) if referee.stops_at(number)] == [2]


def test_bytes_without_a_piece_are_named(tmp_path: Path) -> None:
    """The one difference that is left, which SmolLM2 has: whether neighbours then join."""
    told = json.loads(nano().backend_tokenizer.to_str())["model"]
    letter = "Ą"  # the byte 0x04
    order = sorted((piece for piece in told["vocab"] if piece != letter), key=told["vocab"].get)
    made = edited(nano(), model_vocab={piece: number for number, piece in enumerate(order)})
    _, facts = convert(save(tmp_path, made))
    assert facts["bytes_without_piece"] == ["0x04"]


def no_bpe() -> PreTrainedTokenizerBase:
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("a", -1.0)]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=2)),
        bos_token="<s>", eos_token="</s>", unk_token="<unk>",
    )  # fmt: skip


def split(part: Any) -> PreTrainedTokenizerBase:
    made = nano()
    made.backend_tokenizer.pre_tokenizer = part
    return made


def normalized() -> PreTrainedTokenizerBase:
    made = nano()
    made.backend_tokenizer.normalizer = normalizers.NFC()
    return made


def stripping() -> PreTrainedTokenizerBase:
    made = json.loads(nano().backend_tokenizer.to_str())["added_tokens"]
    return edited(nano(), added_tokens=[*made[:-1], made[-1] | {"lstrip": True}])


def other_merges() -> PreTrainedTokenizerBase:
    told = json.loads(mistral.build().backend_tokenizer.to_str())["model"]["merges"]
    return edited(mistral.build(), model_merges=told[1:])


def spaced() -> PreTrainedTokenizerBase:
    made = mistral.build()
    made.backend_tokenizer.normalizer = None
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
REFUSED = {
    "its model is Unigram": no_bpe,
    '"add_prefix_space": true': lambda: split(pre_tokenizers.ByteLevel()),
    '"individual_digits": false': lambda: split(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), BYTES])
    ),
    '"Split"': lambda: split(
        pre_tokenizers.Sequence([pre_tokenizers.Split(r"\p{N}{1,3}", "isolated"), BYTES])
    ),
    "pre_tokenizer is null": lambda: split(None),
    "the normalizer NFC": normalized,
    "`ignore_merges`": lambda: edited(nano(), model_ignore_merges=True),
    "has `lstrip`": stripping,
    "merges are not those of a SentencePiece model": other_merges,
    "does not treat spaces as SentencePiece does": spaced,
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_tokenizer_that_is_not_known_exactly_is_refused(why: str, tmp_path: Path) -> None:
    tokenizer = REFUSED[why]()
    size = max(SIZE, len(tokenizer))
    with pytest.raises(RecipeError) as refused:
        vocabulary.of(tokenizer, size, [2], "o/m@main")
    line = str(refused.value)
    assert why in line
    assert line.startswith("o/m@main: it is not known how llama.cpp would read its tokenizer.json")
    assert "\n" not in line
    assert "vLLM" in line


def test_a_model_that_llama_cpp_would_compute_otherwise_is_refused(tmp_path: Path) -> None:
    scaled = {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0}
    for number, (change, why) in enumerate(
        [
            ({"rope_parameters": scaled}, "its positions are scaled (linear)"),
            ({"hidden_act": "gelu"}, "its `hidden_act` is gelu"),
            ({"architectures": ["Qwen2ForCausalLM"]}, "its architecture is Qwen2ForCausalLM"),
            ({"attention_bias": True}, "it has `attention_bias`"),
            ({"vocab_size": 300}, "the model 300 ids"),
        ]
    ):
        folder = save(tmp_path / str(number), nano())
        told = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(told | change))
        with pytest.raises(RecipeError) as refused:
            convert(folder)
        assert why in str(refused.value)
    folder = save(tmp_path / "ends", nano())
    GenerationConfig(eos_token_id=[2, 7, 9]).save_pretrained(folder)
    with pytest.raises(RecipeError, match="answers end with any of 4 tokens"):
        convert(folder)
    folder = save(tmp_path / "large", nano(), initializer_range=1e5)
    with pytest.raises(RecipeError, match="too large here; --type bf16"):
        convert(folder)
    assert not list(folder.glob("*.gguf*"))
    assert convert(folder, "bf16")[1]["type"] == "bf16"
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(RecipeError, match="an adapter alone; merge it first"):
        convert(tmp_path / "adapter")
