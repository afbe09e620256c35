"""Tokenizers of other people: one mark or two, many ids, added tokens; from text to a score."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from moxin_recipes.chats import template
from moxin_recipes.hub import pull
from moxin_recipes.hub.pull import Parent
from moxin_recipes.ladder import check
from moxin_recipes.recipe.keys.pretrain import MixtureItem
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores.held_out_text import bits_per_byte, held_out_tokens
from moxin_recipes.stages import data
from moxin_recipes.tokens import build, mistral, vocabulary
from moxin_recipes.tokens.encode import reference
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Order
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.write import train_tokenizer, write_tokens
from moxin_recipes.training.trainers import PretrainTrainer

END, BEGIN = "<|endoftext|>", "<|begin_of_text|>"
# Llama 3's and Qwen's way to split; GPT-2's is in ByteLevel itself.
SPLIT = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+"
CONTEXT = 32
TEXTS = [f"{i} sheep, {END} and a literal {BEGIN} è 数\n" * (i % 4) + "." for i in range(60)]


def byte_level(folder: Path, below: int = 0, split: bool = False, **marks: Any) -> Path:
    """Saves a byte-level BPE with `below` unused ids before its bytes; `marks` are special."""
    pieces = [f"unused{i}" for i in range(below)] + sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces += ["he", "ee"]
    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(ids, [("h", "e"), ("e", "e")]))
    tokenizer.decoder = decoders.ByteLevel()
    if split:
        tokenizer.normalizer = normalizers.NFC()
        parts = [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(mark) for mark in dict.fromkeys(marks.values())])
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    return folder


def adds_bos(folder: Path) -> Path:
    """Makes the saved tokenizer put its BOS before each text, as Llama 3's does."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    bos = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, bos)]
    )
    tokenizer.save(str(path))
    return folder


KINDS: dict[str, dict[str, Any]] = {
    "gpt-2: one id for both": {"bos_token": END, "eos_token": END},
    "qwen: an EOS alone, many ids": {"eos_token": END, "below": 65_500, "split": True},
    "llama 3: two marks, many ids": {
        **{"bos_token": BEGIN, "eos_token": END},
        **{"below": 65_500, "split": True},
    },
    "a BOS alone": {"bos_token": BEGIN},
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = byte_level(tmp_path_factory.mktemp("tokenizer"), **KINDS[request.param])
    return adds_bos(folder) if "llama" in request.param else folder


def documents(texts: list[str]) -> list[dict[str, Any]]:
    return [{"text": text, "id": str(i), "origin": f"here/{i}"} for i, text in enumerate(texts)]


def test_the_stream_alone_gives_the_documents_back(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer = vocabulary.proven(tokenizer_folder, "tokenizer_name_or_path")
    framing = Framing.of(tokenizer, "tokenizer_name_or_path")
    write_tokens(tmp_path / "s", "train", documents(TEXTS), tokenizer, shard_tokens=500)
    folder, read, indexed = TokenFolder(tmp_path), [], []
    wide = vocabulary.size(tokenizer) > 2**16
    for shard in folder.shards("s", "train"):
        assert shard.path.endswith(".uint32.bin") == wide
        assert (tmp_path / shard.path).stat().st_size == shard.tokens * (4 if wide else 2)
        ids = folder.read(shard, 0, shard.tokens)
        assert not wide or ids.max() >= 2**16
        for part in np.split(ids, np.flatnonzero(ids == framing.end) + 1)[:-1]:
            text = part[:-1] if framing.has_one_mark else part[1:-1]
            assert framing.has_one_mark or part[0] == framing.begin
            read.append(tokenizer.decode(text))
        index = pq.read_table(tmp_path / shard.index).to_pylist()
        ends = np.cumsum([row["tokens"] for row in index])
        assert (ids[ends - 1] == framing.end).all()
        indexed += [row["bytes"] for row in index]
        assert vocabulary.token_bytes(tokenizer)[ids].sum() == sum(row["bytes"] for row in index)
    assert read == TEXTS
    assert indexed == [len(text.encode()) for text in TEXTS]


def test_each_end_is_predicted_once_and_nothing_across_a_boundary(tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    framing = Framing.of(tokenizer, "tokenizer_name_or_path")
    texts = [np.array([1, 2, 3]), np.array([], int), np.array([4]), np.array([5, 6])]
    counts = np.array([len(text) for text in texts])
    stream, ends = framing.framed(np.concatenate(texts), counts, np.dtype(np.int64))
    row = framing.packed(stream)
    assert (row["labels"][ends - 1][1:] == framing.end).all()
    positions, labels = row["position_ids"], row["labels"]
    # What a label is predicted from: the tokens of its own document, back to a position of 0.
    for at in np.flatnonzero(labels[1:] != -100) + 1:
        seen = stream[at - 1 - positions[at - 1] : at]
        document = int(np.searchsorted(ends, at, "right"))
        expected = stream[ends[document - 1] if document else 0 : at]
        if framing.has_one_mark and document:
            expected = np.append(framing.begin, expected)
        assert seen.tolist() == expected.tolist()
    first = 1 if framing.has_one_mark else len(texts)  # of a window, or of each document
    assert (labels == -100).sum() == first


@pytest.mark.parametrize("tokenizer_folder", list(KINDS)[:2], indirect=True)
def test_a_model_is_trained_and_scored_from_raw_text(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokenizer = vocabulary.proven(tokenizer_folder, "tokenizer_name_or_path")
    tokens = tmp_path / "tokens"
    write_tokens(tmp_path / "work" / "s", "train", documents(TEXTS * 2), tokenizer, 10_000)
    facts = build.save_tokens(
        tokens,
        tokenizer_folder,
        {"s": tmp_path / "work" / "s"},
        {"s": documents(TEXTS[:20])},
        10_000,
    )
    special = vocabulary.special_ids(tokenizer, "tokenizer_name_or_path")
    framing = vocabulary.check_form(
        json.loads(json.dumps(facts)), tokenizer, special["vocab_size"] or 0
    )
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**special, **shape, **heads))
    shards = TokenFolder(tokens)
    items = [MixtureItem(source="s", weight=1.0)]
    order = Order({"s": shards.shards("s", "train")}, items, CONTEXT, 1, 16)
    args = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        **{"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 0.05},
        **{"use_cpu": True, "report_to": "none", "save_strategy": "no", "logging_steps": 8},
    )
    scores = []
    for _ in range(2):
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        scores.append(bits_per_byte(tmp_path / "model", tokens, CONTEXT)["bits_per_byte"])
        mixture = Mixture(shards, order, 32, framing)
        PretrainTrainer(model=model, args=args, train_dataset=mixture).train()
    assert 0 < scores[1] < scores[0]
    fewer = load(byte_level(tmp_path / "fewer", eos_token="!"))
    if vocabulary.size(tokenizer) > 2**16:  # the others differ in marks alone
        with pytest.raises(
            RecipeError, match=r"`dataset_name`: its ids go up to .*, the tokenizer"
        ):
            held_out_tokens(tokens, fewer, CONTEXT)


def test_tokens_and_a_model_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one = load(byte_level(tmp_path / "one", eos_token=END))
    two = load(byte_level(tmp_path / "two", bos_token=BEGIN, eos_token=END))
    manifest = {"form": vocabulary.form(one, "tokenizer_name_or_path")}
    with pytest.raises(RecipeError, match="`dataset_name`: these tokens hold documents as `text "):
        vocabulary.check_form(manifest, two, 1000)
    with pytest.raises(RecipeError, match="ids up to 259, the model has 200"):
        vocabulary.check_form(manifest, one, 200)
    assert vocabulary.check_form(manifest, one, 100_000).has_one_mark  # a padded vocabulary
    assert vocabulary.check_form({}, two, 1000) == Framing(*two.convert_tokens_to_ids([BEGIN, END]))


def load(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer


def test_a_tokenizer_that_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(RecipeError, match=r"^`tokenizer_name_or_path`: ") as error:
            vocabulary.proven(folder, "tokenizer_name_or_path")
        assert "\n" not in str(error.value)
        return str(error.value)

    (tmp_path / "empty").mkdir()
    assert "loads no tokenizer" in refused(tmp_path / "empty")
    assert "neither BOS nor EOS" in refused(byte_level(tmp_path / "none"))
    (tmp_path / "slow").mkdir()
    named = {"config.json": {"model_type": "t5"}}
    named["tokenizer_config.json"] = {"tokenizer_class": "ByT5Tokenizer"}
    for name, content in named.items():
        (tmp_path / "slow" / name).write_text(json.dumps(content))
    assert "it is a slow tokenizer" in refused(tmp_path / "slow")
    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    saved = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")
    saved.save_pretrained(tmp_path / "words")
    assert "comes back from its ids as" in refused(tmp_path / "words")
    lower = byte_level(tmp_path / "lower", eos_token=END)
    description = json.loads((lower / "tokenizer.json").read_text())
    description["normalizer"] = {"type": "Lowercase"}
    (lower / "tokenizer.json").write_text(json.dumps(description))
    assert "Capital" in refused(lower)


def test_a_mark_that_a_text_may_hold_is_refused(tmp_path: Path) -> None:
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), END]
    ids = {piece: i for i, piece in enumerate(pieces)}
    whole = Tokenizer(models.BPE(ids, [], ignore_merges=True))  # as Llama 3's
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=whole, eos_token=END).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="would be cut into two documents"):
        vocabulary.proven(tmp_path, "tokenizer_name_or_path")


def test_the_ladders_own_tokenizers_are_proven(tmp_path: Path) -> None:
    mistral.build().save_pretrained(tmp_path / "mistral")
    form = vocabulary.form(vocabulary.proven(tmp_path / "mistral", "x"), "x")
    documents = "1 text 2"
    assert form == {
        **{"dtype": "uint16", "vocabulary": 32_000},
        **{"documents": documents, "begin": 1, "end": 2},
    }
    train_tokenizer(TEXTS, 300).save_pretrained(tmp_path / "nano")
    assert vocabulary.form(vocabulary.proven(tmp_path / "nano", "x"), "x")["documents"] == documents


def test_a_wrong_tokenizer_ends_the_stage_and_the_check_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = byte_level(tmp_path / "wrong")
    keys = SimpleNamespace(tokenizer="train", tokenizer_name_or_path="me/wrong")
    run: Any = SimpleNamespace(keys=keys, pull=lambda _: wrong, state=tmp_path / "state")
    with pytest.raises(RecipeError, match="neither BOS nor EOS"):
        data.main(run)
    monkeypatch.setattr(pull, "download", lambda *_: wrong)
    for stage, key in (("data", "tokenizer_name_or_path"), ("pretrain", "model_name_or_path")):
        recipe: Any = SimpleNamespace(path="ladder/stage.yaml", stage=stage)
        parent = Parent(key, "model", "me/wrong", "main", "c0ffee", "payload")
        with pytest.raises(
            RecipeError, match=f"^ladder/stage.yaml: `{key}`: .*neither BOS nor EOS"
        ):
            check._check_tokenizer(recipe, parent)


def test_an_answer_needs_an_end(tmp_path: Path) -> None:
    tokenizer = load(byte_level(tmp_path, bos_token=BEGIN))
    with pytest.raises(RecipeError, match="the tokenizer has no EOS, with which an answer ends"):
        template.prepare_tokenizer(tokenizer, "tulu.jinja", None)


def test_a_text_never_holds_a_mark(tokenizer_folder: Path) -> None:
    tokenizer = load(tokenizer_folder)
    ids = reference(tokenizer.backend_tokenizer)([f"{END}{BEGIN} x"])[0]
    assert not set(ids.tolist()) & set(tokenizer.all_special_ids)
