"""A model as it is asked: BOS once, prompts and thoughts cut and counted, stops, samples."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from tests.tiny import save_tiny_model
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from moxin_recipes.scores.generation import Stops
from moxin_recipes.scores.model import Model, answer_of


def saved(folder: Path, *, ours: bool = True, adds: bool = False) -> Path:
    """A tiny model: made by a stage (`ours`) or by somebody, its tokenizer with BOS by itself."""
    _, tokenizer = save_tiny_model(folder)
    if adds:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{tokenizer.bos_token} $A",
            special_tokens=[(tokenizer.bos_token, tokenizer.bos_token_id)],
        )
        tokenizer.save_pretrained(folder)
    if ours:
        (folder / "moxin.json").write_text("{}")
    return folder


def load(folder: Path, add_bos: bool | None = None) -> Model:
    return Model(folder, batch_size=4, dtype="float32", add_bos=add_bos)


def instance(kind: str, *args: Any) -> Instance:
    return Instance(kind, {}, args, 0, ("task", 0, 1))


def asked(model: Model, prompts: list[str]) -> list[list[int]]:
    """The ids of each row that the network itself got, for likelihoods and for texts."""
    seen: list[list[int]] = []

    def note(module: Any, args: Any, more: dict[str, Any]) -> None:
        ids = more.get("input_ids", args[0] if args else None)
        if ids.shape[1] > 1:  # (later steps of a text have one id)
            kept = more.get("attention_mask")
            for row, row_ids in enumerate(ids.tolist()):
                mask = kept[row].tolist() if kept is not None else [1] * len(row_ids)
                seen.append([one for one, there in zip(row_ids, mask, strict=False) if there])

    hook = model.model.register_forward_pre_hook(note, with_kwargs=True)
    likely = [instance("loglikelihood", prompt, " 12") for prompt in prompts]
    model.answer("loglikelihood", likely, [0] * len(prompts), 0)
    texts = [instance("generate_until", p, {"until": [], "max_gen_toks": 2}) for p in prompts]
    model.answer("generate_until", texts, [0] * len(prompts), 0)
    hook.remove()
    assert len(seen) == 2 * len(prompts)
    return seen


PROMPTS = ["how many?", "12 or 13", "\nhow", "<s>13 or 12", " "]


@pytest.mark.parametrize("adds", [False, True])
def test_a_model_of_ours_reads_bos_once(tmp_path: Path, adds: bool) -> None:
    model = load(saved(tmp_path, adds=adds))
    bos = model.tokenizer.bos_token_id
    for ids in asked(model, PROMPTS):
        assert ids[0] == bos
        assert ids.count(bos) == 1


@pytest.mark.parametrize(("ours", "tuned"), [(False, False), (True, False), (True, True)])
def test_without_bos_a_prompt_begins_with_the_mark_between_documents(
    tmp_path: Path, ours: bool, tuned: bool
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(saved(tmp_path, ours=ours))
    mark = tokenizer.eos_token_id
    tokenizer.bos_token = None
    if tuned:  # on chats whose turns end with another token
        tokenizer.add_tokens(["<|im_end|>"])
        tokenizer.eos_token = "<|im_end|>"
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"bos_token_id": mark}  # as the stage init writes it
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load(tmp_path)
    assert model.tokenizer.bos_token_id is None
    for ids in asked(model, PROMPTS[:3]):
        assert (ids[0] == mark) == ours
        assert ids.count(mark) == ours
    rolled = model.answer(
        "loglikelihood_rolling", [instance("loglikelihood_rolling", "how")], [0], 0
    )
    value = model.answer("loglikelihood", [instance("loglikelihood", "", "how")], [0], 0)[0].value
    assert rolled[0].value == pytest.approx(value[0])


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("ours", [False, True])
def test_a_template_that_begins_with_bos_gives_it_once(
    tmp_path: Path, adds: bool, ours: bool
) -> None:
    model = load(saved(tmp_path, ours=ours, adds=adds))
    model.chat = True
    prompt = model.apply_chat_template([{"role": "user", "content": "how many?"}])
    assert prompt.startswith(model.tokenizer.bos_token)
    for ids in asked(model, [prompt, prompt + "12"]):
        assert ids[0] == model.tokenizer.bos_token_id
        assert ids.count(model.tokenizer.bos_token_id) == 1


def test_another_model_reads_what_its_tokenizer_adds_unless_the_recipe_says(tmp_path: Path) -> None:
    plain, adds = saved(tmp_path / "a", ours=False), saved(tmp_path / "b", ours=False, adds=True)
    expected = [(plain, None, 0), (plain, True, 1), (adds, None, 1), (adds, False, 0)]
    for folder, add_bos, count in expected:
        model = load(folder, add_bos)
        for ids in asked(model, PROMPTS[:3]):
            assert ids.count(model.tokenizer.bos_token_id) == count


def test_a_prompt_that_is_cut_keeps_bos_and_is_counted(tmp_path: Path) -> None:
    model = load(saved(tmp_path))
    long = "how many? " * 200  # of 256 tokens
    rows = asked(model, [long])
    assert all(ids[0] == model.tokenizer.bos_token_id for ids in rows)
    assert [len(ids) for ids in rows] == [256, 254]
    likely = [instance("loglikelihood", p, " 12") for p in (long, "how")]
    assert [r.prompt_cut for r in model.answer("loglikelihood", likely, [0, 0], 0)] == [True, False]
    way = {"until": [], "max_gen_toks": 2}
    texts = [instance("generate_until", p, way) for p in ("how", long)]
    assert [r.prompt_cut for r in model.answer("generate_until", texts, [0, 0], 0)] == [False, True]
    full = [instance("generate_until", "how", {"until": [], "max_gen_toks": 256})]
    with pytest.raises(ValueError, match="answers of 256 tokens leave no room"):
        model.answer("generate_until", full, [0], 0)


@pytest.mark.parametrize(
    ("raw", "opened", "expected"),
    [
        ("<think>1</think>\\boxed{2}", False, ("\\boxed{2}", False)),
        ("1</think>\n 2", True, ("2", False)),
        ("<think>a</think>b<think>c</think>d", False, ("d", False)),
        ("<think>never ends \\boxed{2}", False, ("", True)),
        (" \n<think>never ends", False, ("", True)),
        ("opened by the prompt \\boxed{2}", True, ("", True)),
        ("no thought at all", False, ("no thought at all", False)),
        ("it says <think> later", False, ("it says <think> later", False)),
    ],
)
def test_thoughts_are_cut(raw: str, opened: bool, expected: tuple[str, bool]) -> None:
    assert answer_of(raw, opened) == expected


class Letters:
    """A tokenizer of one character a token; the marks of thoughts are one each."""

    marks = ("<think>", "</think>")

    def encode(self, text: str, **_: Any) -> list[int]:
        for number, mark in enumerate(self.marks):
            text = text.replace(mark, chr(1 + number))
        return [ord(sign) for sign in text]

    def batch_decode(self, rows: torch.Tensor) -> list[str]:
        texts = ["".join(chr(one) for one in row if one) for row in rows.tolist()]
        for number, mark in enumerate(self.marks):
            texts = [text.replace(chr(1 + number), mark) for text in texts]
        return texts


@pytest.mark.parametrize(
    ("text", "opened", "ends"),
    [
        ("an answer\n\nmore", False, "an answer\n\n"),
        ("<think>a\n\nb</think>c\n\nd", False, "<think>a\n\nb</think>c\n\n"),
        ("a\n\nb</think>c\n\nd", True, "a\n\nb</think>c\n\n"),
        ("<think>a\n\nb", False, None),
        ("<think></think>\n\nd", False, "<think></think>\n\n"),
        (
            "<think></think>an answer of its own\n\nd",
            False,
            "<think></think>an answer of its own\n\n",
        ),
    ],
)
def test_no_stop_counts_within_a_thought(text: str, opened: bool, ends: str | None) -> None:
    letters = Letters()
    stops = Stops(letters, ["\n\n"], [0], 0, [opened, False])
    ids = letters.encode(text)
    for length in range(1, len(ids) + 1):
        rows = torch.tensor([ids[:length], letters.encode("x" * length)])  # one that never ends
        done = stops(rows, None).tolist()
        assert not done[1]
        if done[0]:
            assert letters.batch_decode(rows[:1]) == [ends]
            return
    assert ends is None


def test_how_a_text_ends_depends_on_no_batch(tmp_path: Path) -> None:
    """A row that a stop ended is padded while others go on; the model's own length is not ours."""
    folder = saved(tmp_path)
    kept = json.loads((folder / "generation_config.json").read_text())
    kept |= {"max_new_tokens": 3, "min_length": 50}
    (folder / "generation_config.json").write_text(json.dumps(kept))
    model = load(folder)
    greedy = {"max_gen_toks": 12, "until": []}
    ways = [greedy, greedy | {"max_gen_toks": 3}]
    requests = [instance("generate_until", "how", way) for way in ways]
    said, three = model.answer("generate_until", requests, [0, 0], 0)
    assert (said.finish, three.finish) == ("length", "length")
    assert str(said.raw).startswith(str(three.raw))
    assert len(str(said.raw)) > len(str(three.raw))
    stop = str(said.raw)[2:4]
    ways = [{**greedy, "until": [stop]}] * 3
    prompts = ["how", "12 or 13", "many?"]
    requests = [instance("generate_until", p, w) for p, w in zip(prompts, ways, strict=True)]
    together = model.answer("generate_until", requests, [0] * 3, 0)
    model.batch_size_per_gpu = 1
    assert model.answer("generate_until", requests, [0] * 3, 0) == together
    assert together[0].finish == "stop"


def test_samples_follow_the_models_probabilities(tmp_path: Path) -> None:
    """Of many rounds each token comes as often as its probability says."""
    model = load(saved(tmp_path))
    way = {"until": [], "max_gen_toks": 1, "temperature": 1.0, "do_sample": True}
    count = 3000
    model.batch_size_per_gpu = 500
    same = [instance("generate_until", "how many?", way)] * count
    said = [r.raw for r in model.answer("generate_until", same, list(range(count)), 7)]
    ids = torch.tensor([model.tok_encode("how many?")])
    with torch.no_grad():
        shares = model.model(ids).logits[0, -1].softmax(-1)
    by_text: dict[str, float] = {}
    for token, share in enumerate(shares.tolist()):
        text = model.tokenizer.decode([token], skip_special_tokens=True)
        by_text[text] = by_text.get(text, 0.0) + share
    for text, share in sorted(by_text.items(), key=lambda pair: -pair[1])[:20]:
        spread = 4 * (share * (1 - share) / count) ** 0.5
        assert said.count(text) / count == pytest.approx(share, abs=spread)
    again = model.answer("generate_until", same[:3], [5, 0, 5], 7)
    assert [r.raw for r in again] == [said[5], said[0], said[5]]
