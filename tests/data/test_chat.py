"""Chats: one BOS, the assistant's words and their end are learned, rows are packed whole."""

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from moxin_recipes.data import chat
from moxin_recipes.data.tokens import train_tokenizer
from moxin_recipes.strict import RecipeError


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    made = train_tokenizer(["<|user|>\nhow many?\n<|assistant|>\n12 or 13"] * 20, 300)
    chat.prepare_tokenizer(made, "tulu.jinja", None)
    return made


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def test_template_and_mask(tokenizer: PreTrainedTokenizerBase) -> None:
    ids, labels = chat.encode(turns("how?", "so", "and?", "thus"), tokenizer)
    text = "<s><|user|>\nhow?\n<|assistant|>\nso</s>\n<|user|>\nand?\n<|assistant|>\nthus</s>"
    assert tokenizer.decode(ids) == text
    assert ids.count(tokenizer.bos_token_id) == 1
    spoken = [label for label in labels if label != -100]
    assert tokenizer.decode(spoken) == "so</s>thus</s>"


def test_the_prompt_is_how_a_chat_begins(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = tokenizer.apply_chat_template(
        turns("how?"), tokenize=False, add_generation_prompt=True
    )
    whole = tokenizer.apply_chat_template(turns("how?", "so"), tokenize=False)
    assert whole == f"{prompt}so</s>"


def test_rows_hold_whole_chats_in_an_order_of_each_epoch(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    chats = Dataset.from_dict({"messages": [turns("how many?", str(i)) for i in range(30)]})
    rows, left_out = chat.packed_rows(chats, tokenizer, 64, epochs=2, seed=1, batch=1)
    assert not left_out
    epochs: list[str] = []
    for row in rows:
        assert {len(row[key]) for key in ("input_ids", "labels", "position_ids")} == {64}
        starts = [i for i, token in enumerate(row["input_ids"]) if token == tokenizer.bos_token_id]
        assert all(row["position_ids"][start] == 0 for start in starts)
        epochs += [
            tokenizer.decode(row["input_ids"][s:]).split("<|assistant|>\n")[1] for s in starts
        ]
    answers = [text.split("</s>")[0] for text in epochs]
    assert sorted(answers[:30]) == sorted(answers[30:]) == sorted(map(str, range(30)))
    assert answers[:30] != answers[30:]
    again, _ = chat.packed_rows(chats, tokenizer, 64, epochs=2, seed=1, batch=1)
    assert again.to_dict() == rows.to_dict()


def test_what_cannot_be_used_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    chats = Dataset.from_dict(
        {"messages": [turns("a", "b"), turns("a"), turns("long " * 90, "b"), turns("c", "d")]}
    )
    _, left_out = chat.packed_rows(chats, tokenizer, 64, epochs=1, seed=0, batch=1)
    assert left_out == [1, 2]
    with pytest.raises(RecipeError, match="4 rows, but the chats fill 1"):
        chat.packed_rows(chats, tokenizer, 64, epochs=1, seed=0, batch=4)
    with pytest.raises(RecipeError, match=r"1.5 is not a whole number"):
        chat.packed_rows(chats, tokenizer, 64, epochs=1.5, seed=0, batch=1)
    with pytest.raises(RecipeError, match="none of the 4 chats fits 3 tokens"):
        chat.packed_rows(chats, tokenizer, 3, epochs=1, seed=0, batch=1)


def test_a_tokenizer_without_padding_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(RecipeError, match="`pad_token`"):
        chat.prepare_tokenizer(tokenizer, None, None)
    chat.prepare_tokenizer(tokenizer, None, "<unk>")
    assert tokenizer.pad_token == "<unk>"
