"""Encodes chats once, on disk, and packs them into rows: each is a function of (seed, index)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from torch.utils.data import Dataset as RowDataset
from transformers import PreTrainedTokenizerBase

from moxin_recipes.chats import left_out
from moxin_recipes.chats.cells import filled
from moxin_recipes.chats.layouts import Chat, Layout, layout_of
from moxin_recipes.chats.rendering import Unusable, special_tokens
from moxin_recipes.chats.template import encode, special_token_in
from moxin_recipes.hub.written import is_written
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError

_COLUMNS = Features(
    {
        "ids": List(Value("int32")),
        "spoken": List(Value("bool")),  # true for tokens of the assistant, which are labels
        "tokens": Value("int32"),
        "left_out": Value("string"),  # the reason, or ""
    }
)


def encode_chats(
    chats: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    folder: Path,
    processes: int | None = None,
    excluded: Sequence[str] = (),
    layout: Layout | None = None,
) -> Dataset:
    """Returns one row a chat (`_COLUMNS`), from Arrow files below `folder`.

    A second call reads these files again. A chat is left out if `excluded` has a reason for it (one
    a chat, "" for none), if its `layout` (default: that of its columns) cannot be read, if a text
    contains a special token, if the chat template cannot write it (`template.encode`), or if it is
    longer than `length` tokens.
    """
    special = special_tokens(tokenizer)
    layout, exact = layout or layout_of(chats.column_names), is_written(chats)

    def encoded(row: dict[str, Any], place: int) -> dict[str, Any]:
        tokens, reason = 0, excluded[place] if excluded else ""
        if not reason:
            try:
                chat = layout.chat(row if exact else filled(row))
                ids, spoken = _encoded(chat, tokenizer, special)
                tokens, reason = len(ids), _unfit(ids, spoken, length)
            except Unusable as error:
                reason = str(error)
        if reason:
            ids, spoken = [], []
        return {"ids": ids, "spoken": spoken, "tokens": tokens, "left_out": reason}

    folder.mkdir(parents=True, exist_ok=True)
    return chats.map(
        encoded,
        with_indices=True,
        features=_COLUMNS,
        remove_columns=chats.column_names,
        num_proc=processes,
        cache_file_name=str(folder / "encoded.arrow"),
        load_from_cache_file=True,
        # The folder belongs to one recipe and its inputs, so a short fingerprint is enough.
        new_fingerprint=f"encoded-{len(chats)}-{length}",
        desc="Encoding chats",
    )


def _encoded(
    chat: Chat, tokenizer: PreTrainedTokenizerBase, special: list[str]
) -> tuple[list[int], list[bool]]:
    """The ids of a chat, and which of them are labels. Raises Unusable, with the reason."""
    if special_token_in([chat.messages, chat.tools], special):
        raise Unusable("special token in a text")
    try:
        ids, labels = encode(chat.messages, tokenizer, chat.tools, chat.unlearned)
    except Unusable as error:
        raise Unusable(f"{left_out.TEMPLATE}: {error}") from error
    return ids, [label != -100 for label in labels]


def _unfit(ids: list[int], spoken: list[bool], length: int) -> str:
    return "too long" if len(ids) > length else "" if any(spoken) else "no answer"


class PackedRows(RowDataset[dict[str, np.ndarray]]):
    """The rows of all epochs, `length` tokens each, in training order.

    Memory holds only the plan of the rows. Every epoch has its own seeded order. Chats fill a row
    one after another and are never cut. Last rows that do not fill a `batch` are dropped, because
    several processes would repeat other rows instead.
    """

    def __init__(
        self, encoded: Dataset, length: int, epochs: float, seed: int, batch: int, pad: int
    ) -> None:
        if epochs != int(epochs) or epochs < 1:
            raise RecipeError(f"`num_train_epochs`: {epochs} is not a whole number of epochs")
        self._encoded = encoded.with_format("numpy", columns=["ids", "spoken"])
        self._length, self._pad = length, pad
        tokens = np.array(encoded["tokens"][:])
        self._reasons = np.array(encoded["left_out"][:], dtype=object)
        usable = np.flatnonzero(self._reasons == "")
        if not len(usable):
            line = left_out.line("chat", self._reasons)
            raise RecipeError(f"{line.key}: no chat of {length} tokens can be used; {line}")
        orders, starts = [], [np.zeros(0, int)]
        for epoch in range(int(epochs)):
            order = usable[np.random.default_rng([seed, epoch]).permutation(len(usable))]
            starts.append(row_starts(tokens[order], length) + epoch * len(usable))
            orders.append(order)
        self._order = np.concatenate(orders)  # the chats of all epochs
        bounds = np.append(np.concatenate(starts), len(self._order))
        full_rows = (len(bounds) - 1) // batch * batch
        if not full_rows:
            raise RecipeError(
                f"`global_batch_size`: {batch} rows, but the chats fill {len(bounds) - 1}"
            )
        self._bounds = bounds[: full_rows + 1]
        unread = np.setdiff1d(usable, self._order[: self._bounds[-1]])
        self._reasons[unread] = left_out.BATCH_NOT_FULL
        before = np.append(0, np.cumsum(tokens[self._order], dtype=np.int64))
        self.tokens = np.diff(before[self._bounds])  # tokens of each row, without padding

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        """Returns `input_ids`, `labels` and `position_ids` of a row, each (length,) int64.

        The padding has positions from 0, as a document of its own.
        """
        if not 0 <= row < len(self):
            raise IndexError(row)
        chat_indices = self._order[self._bounds[row] : self._bounds[row + 1]]
        chats = self._encoded[chat_indices]
        ids = np.full(self._length, self._pad, np.int64)
        labels = np.full(self._length, -100, np.int64)
        positions, at = np.zeros(self._length, np.int64), 0
        for chat_ids, chat_spoken in zip(chats["ids"], chats["spoken"], strict=True):
            end = at + len(chat_ids)
            ids[at:end] = chat_ids
            labels[at:end] = np.where(chat_spoken, chat_ids, -100)
            positions[at:end] = np.arange(len(chat_ids))
            at = end
        positions[at:] = np.arange(self._length - at)
        return {"input_ids": ids, "labels": labels, "position_ids": positions}

    def as_dataset(self) -> Dataset:
        """Returns the rows as TRL expects them: reading a row number from it makes the row."""

        def read(batch: dict[str, list[int]]) -> dict[str, list[np.ndarray]]:
            rows = [self[row] for row in batch["row"]]
            return {key: [row[key] for row in rows] for key in rows[0]}

        return Dataset.from_dict({"row": range(len(self))}).with_transform(read)

    @property
    def counts(self) -> dict[str, int]:
        """The number of chats, and of chats left out by reason, for the manifest."""
        return left_out.counted("chat", self._reasons)

    def warn(self, chats: Dataset) -> None:
        """Says loudly if more than half of the `chats`, as they were read, are left out."""
        lost.warn(left_out.line("chat", self._reasons, chats))

    def left_out(self) -> Dataset:
        """Returns the index in the dataset, and the reason, of every chat that is in no row."""
        return left_out.listed("chat", self._reasons)


def row_starts(tokens: np.ndarray, length: int) -> np.ndarray:
    """Returns the first chat of each row when chats of `tokens` tokens fill rows of `length`."""
    ends = np.cumsum(tokens)
    starts, at = [], 0
    while at < len(tokens):
        starts.append(at)
        filled = int(ends[at - 1]) if at else 0
        at = int(np.searchsorted(ends, filled + length, side="right"))
    return np.array(starts, int)
