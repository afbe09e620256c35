"""Chats → token ids with a mask of what the assistant said → rows of one length, packed."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from transformers import PreTrainedTokenizerBase

from moxin_recipes.hub.cards import TEMPLATES
from moxin_recipes.strict import RecipeError


def load_split(
    folder: Path, config: str | None, split: str, columns: list[str], key: str
) -> Dataset:
    """One split of a downloaded dataset repository; a missing column or split names `key`."""
    try:
        dataset = load_dataset(str(folder), config, split=split)
    except ValueError as error:
        raise RecipeError(f"`{key}`: {' '.join(str(error).split())}") from error
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        there = ", ".join(dataset.column_names)
        raise RecipeError(f"`{key}`: the dataset has no column `{missing[0]}` (it has: {there})")
    return dataset


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, template: str | None, pad_token: str | None
) -> None:
    """Sets the chat template (a file of templates/, or a path) and the padding token, if given.

    Both must be there in the end, and padding must not be the end of a text: that would be masked.
    """
    if template:
        path = TEMPLATES / template if (TEMPLATES / template).exists() else Path(template)
        if not path.exists():
            raise RecipeError(f"`chat_template`: there is no file {template}")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    if pad_token:
        tokenizer.pad_token = pad_token
    if tokenizer.chat_template is None:
        raise RecipeError("`chat_template`: the model has none; give a file, such as tulu.jinja")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        raise RecipeError("`pad_token`: the tokenizer has none of its own; give one, such as <unk>")


def encode(
    messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Ids of a chat, and labels that are -100 wherever the assistant did not speak."""
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, spoken = encoded["input_ids"], encoded["assistant_masks"]
    return ids, [token if mask else -100 for token, mask in zip(ids, spoken, strict=True)]


def packed_rows(
    chats: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    epochs: float,
    seed: int,
    batch: int,
) -> tuple[Dataset, list[int]]:
    """All epochs' rows of `length`, in training order, and the chats that are not in them.

    Every epoch has its own seeded order; chats fill a row one after another and are never cut.
    Those that are too long, or without an answer, are left out and returned by their index. The
    last rows that do not fill a `batch` are dropped: several processes would repeat others instead.
    """
    if epochs != int(epochs) or epochs < 1:
        raise RecipeError(f"`num_train_epochs`: {epochs} is not a whole number of epochs")
    encoded, left_out = [], []
    for index, messages in enumerate(chats["messages"]):
        ids, labels = encode(messages, tokenizer)
        if len(ids) > length or not any(label != -100 for label in labels):
            left_out.append(index)
        else:
            encoded.append((ids, labels))
    if not encoded:
        raise RecipeError(f"`max_length`: none of the {len(chats)} chats fits {length} tokens")
    rows: list[dict[str, Any]] = []
    for epoch in range(int(epochs)):
        row: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": []}
        for place in np.random.default_rng([seed, epoch]).permutation(len(encoded)):
            ids, labels = encoded[place]
            if len(row["input_ids"]) + len(ids) > length:
                rows.append(_filled(row, length, tokenizer.pad_token_id))
                row = {"input_ids": [], "labels": [], "position_ids": []}
            row["input_ids"] += ids
            row["labels"] += labels
            row["position_ids"] += range(len(ids))
        rows.append(_filled(row, length, tokenizer.pad_token_id))
    whole = len(rows) - len(rows) % batch
    if not whole:
        raise RecipeError(f"`global_batch_size`: {batch} rows, but the chats fill {len(rows)}")
    return Dataset.from_list(rows[:whole]), left_out


def _filled(row: dict[str, list[int]], length: int, pad: int) -> dict[str, Any]:
    """A row with padding as a document of its own, and its number of `tokens`."""
    tokens = len(row["input_ids"])
    rest = length - tokens
    return {
        "input_ids": row["input_ids"] + [pad] * rest,
        "labels": row["labels"] + [-100] * rest,
        "position_ids": [*row["position_ids"], *range(rest)],
        "tokens": tokens,
    }
