"""Packed chats: whole, in a seeded order, on disk; what cannot be used is counted and listed."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from tests.chats import templates
from tests.tiny import tiny_tokenizer, turns
from transformers import PreTrainedTokenizerBase

from moxin_recipes.chats.pack import PackedRows, encode_chats, row_starts
from moxin_recipes.recipe.strict import RecipeError


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer()


def rows_of(encoded: Dataset, length: int, epochs: float, seed: int, batch: int) -> PackedRows:
    return PackedRows(encoded, length, epochs, seed, batch, pad=3)


def numbered(tokenizer: PreTrainedTokenizerBase, length: int, folder: Path) -> Dataset:
    """Thirty chats, each answered by its number."""
    chats = Dataset.from_dict({"messages": [turns("how many?", str(i)) for i in range(30)]})
    return encode_chats(chats, tokenizer, length, folder)


def test_rows_hold_whole_chats_in_an_order_of_each_epoch(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    rows = rows_of(numbered(tokenizer, 64, tmp_path), 64, 2, 1, 1)
    epochs: list[str] = []
    for row, tokens in zip(rows, rows.tokens, strict=True):
        assert {len(row[key]) for key in ("input_ids", "labels", "position_ids")} == {64}
        assert (row["input_ids"] == 3).sum() == 64 - tokens
        starts = np.flatnonzero(row["input_ids"] == tokenizer.bos_token_id)
        assert (row["position_ids"][starts] == 0).all()
        epochs += [
            tokenizer.decode(row["input_ids"][s:]).split("<|assistant|>\n")[1] for s in starts
        ]
    answers = [text.split("</s>")[0] for text in epochs]
    assert sorted(answers[:30]) == sorted(answers[30:]) == sorted(map(str, range(30)))
    assert answers[:30] != answers[30:]


def test_a_row_is_a_function_of_seed_and_place(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    row_sets = [
        rows_of(numbered(tokenizer, 64, folder), 64, 2, seed, 1)
        for folder, seed in ((tmp_path / "a", 1), (tmp_path / "a", 1), (tmp_path / "b", 1))
    ]
    for other in row_sets[1:]:
        for place in (len(other) - 1, 0, 3):  # in any order
            for key, value in row_sets[0][place].items():
                assert (other[place][key] == value).all()
    other = rows_of(numbered(tokenizer, 64, tmp_path / "a"), 64, 2, 2, 1)
    assert (other[0]["input_ids"] != row_sets[0][0]["input_ids"]).any()


def test_chats_are_encoded_once(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = Dataset.from_dict({"messages": [turns("how many?", str(i)) for i in range(9)]})
    encoded = encode_chats(chats, tokenizer, 64, tmp_path)
    assert encoded.cache_files  # memory-mapped, not held
    monkeypatch.setattr("moxin_recipes.chats.pack.encode", None)  # a call would fail
    again = encode_chats(chats, tokenizer, 64, tmp_path)
    assert again.to_dict() == encoded.to_dict()


def test_what_cannot_be_used_is_counted_and_listed(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chats = Dataset.from_dict(
        {
            "messages": [
                turns("a", "b"),
                turns("a"),
                turns("long " * 90, "b"),
                turns("c", "d"),
                turns("what ends a text?", "</s> does"),
                turns("anything?", ""),
            ]
        }
    )
    encoded = encode_chats(chats, tokenizer, 64, tmp_path)
    rows = rows_of(encoded, 64, 1, 0, 1)
    assert rows.left_out().to_dict() == {
        "chat": [1, 2, 4, 5],
        "reason": ["no answer", "too long", "special token in a text", "empty turn"],
    }
    assert rows.counts == {
        "chats": 6,
        "left out (empty turn)": 1,
        "left out (no answer)": 1,
        "left out (special token in a text)": 1,
        "left out (too long)": 1,
    }
    rows.warn(chats)
    (line,) = caplog.messages
    assert line.startswith("4 of 6 chats are left out: 1 ")
    with pytest.raises(RecipeError, match="4 rows, but the chats fill 1"):
        rows_of(encoded, 64, 1, 0, 4)
    with pytest.raises(RecipeError, match=r"1.5 is not a whole number"):
        rows_of(encoded, 64, 1.5, 0, 1)
    with pytest.raises(RecipeError, match="no chat of 3 tokens can be used; 6 of 6 chats"):
        rows_of(encode_chats(chats, tokenizer, 3, tmp_path / "short"), 3, 1, 0, 1)


def test_chats_of_a_last_batch_that_is_not_full_are_listed(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    encoded = numbered(tokenizer, 32, tmp_path)
    all_rows = rows_of(encoded, 32, 1, 1, 1)
    rows = rows_of(encoded, 32, 1, 1, 4)
    assert 0 < len(all_rows) - len(rows) < 4
    answers = tokenizer.batch_decode(
        [all_rows[i]["input_ids"] for i in range(len(rows), len(all_rows))]
    )
    tail = [int(part.split("</s>")[0]) for text in answers for part in text.split("nt|>\n")[1:]]
    assert rows.left_out().to_dict() == {
        "chat": sorted(tail),
        "reason": ["last batch not full"] * len(tail),
    }
    assert rows.counts == {"chats": 30, "left out (last batch not full)": len(tail)}
    assert all_rows.counts == {"chats": 30}
    twice = rows_of(encoded, 32, 2, 1, 4)  # what one epoch leaves out is in a row of the other
    assert twice.left_out()["chat"][:] == []


def test_rows_are_as_full_as_they_can_be_without_a_cut() -> None:
    tokens = np.array([5, 3, 2, 9, 10, 1, 1])
    assert row_starts(tokens, 10).tolist() == [0, 3, 4, 5]
    rng = np.random.default_rng(0)
    for _ in range(50):
        tokens = rng.integers(1, 11, rng.integers(1, 40))
        bounds = [*row_starts(tokens, 10), len(tokens)]
        sums = [tokens[a:b].sum() for a, b in pairwise(bounds)]
        assert max(sums) <= 10
        assert all(s + tokens[b] > 10 for s, b in zip(sums, bounds[1:-1], strict=False))


def test_a_text_with_a_token_that_begins_a_turn_is_left_out(tmp_path: Path) -> None:
    """Also with those that have no name of their own, as Llama 3's."""
    tokenizer = templates.tokenizer("</s>", templates.LLAMA3)
    texts = ["how?", "how?<|start_header_id|>assistant", "how?<|eot_id|>", "how?</s>", "<think>"]
    chats = Dataset.from_dict({"messages": [turns(text, "so") for text in texts]})
    rows = rows_of(encode_chats(chats, tokenizer, 64, tmp_path), 64, 1, 0, 1)
    assert rows.counts == {"chats": 5, "left out (special token in a text)": 3}


def test_what_the_template_cannot_write_is_left_out_with_its_reason(tmp_path: Path) -> None:
    tokenizer = templates.tokenizer("</s>", templates.GEMMA)
    system = [{"role": "system", "content": "Be brief."}, *turns("how?", "so")]
    chats = Dataset.from_dict({"messages": [turns("how?", "so"), system, system]})
    rows = rows_of(encode_chats(chats, tokenizer, 64, tmp_path / "a"), 64, 1, 0, 1)
    reason = "the chat template: it refuses the chat (System role not supported)"
    assert rows.counts == {"chats": 3, f"left out ({reason})": 2}
    assert rows.left_out().to_list() == [{"chat": row, "reason": reason} for row in (1, 2)]
    opens = templates.tokenizer("</s>", templates.OPENS)
    with pytest.raises(RecipeError) as refused:
        rows_of(encode_chats(chats, opens, 64, tmp_path / "b"), 64, 1, 0, 1)
    assert str(refused.value) == (
        "`chat_template`: no chat of 64 tokens can be used; 3 of 3 chats are left out: 3 the chat "
        "template: the prompt opens <think>, and an answer does not begin with it; `chat_template` "
        "decides on most of them"
    )


def test_reasons_that_are_many_are_counted_together(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    roles = ["user", "user", *(f"guest {number}" for number in range(200)), *["critic"] * 3]
    chats = [[{"role": role, "content": "how?"}, *turns("so?", "so")[1:]] for role in roles]
    encoded = encode_chats(Dataset.from_dict({"messages": chats}), tokenizer, 64, tmp_path)
    rows = rows_of(encoded, 64, 1, 0, 1)
    assert len(rows.counts) == 32
    assert rows.counts["left out (unknown role critic)"] == 3
    assert rows.counts["left out (unknown role guest 3)"] == 1
    assert rows.counts["left out (other reasons)"] == 171
    assert sum(count for name, count in rows.counts.items() if name != "chats") == 203
    assert len(rows.left_out()) == 203
