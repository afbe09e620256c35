"""Chats encoded once, on disk; rows of one length packed from them as a function of (seed, row)."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from torch.utils.data import Dataset as RowDataset
from transformers import PreTrainedTokenizerBase

from moxin_recipes.chats import left_out
from moxin_recipes.chats.template import encode, messages_of, special_token_in
from moxin_recipes.recipe.strict import RecipeError

_COLUMNS = Features(
    {
        "ids": List(Value("int32")),
        "spoken": List(Value("bool")),  # by the assistant: learned
        "tokens": Value("int32"),
        "left_out": Value("string"),  # why, or empty
    }
)


def encode_chats(
    chats: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    folder: Path,
    processes: int | None = None,
) -> Dataset:
    """One row a chat (`_COLUMNS`), in Arrow files below `folder` that a second call finds again.

    A chat is left out, with the reason, where it is longer than `length` tokens, where a turn is
    empty or the assistant has none, or where a text has a special token written out.
    """
    special = [str(token) for token in tokenizer.all_special_tokens]

    def encoded(row: dict[str, Any]) -> dict[str, Any]:
        messages = messages_of(row)
        if not all(message["content"] for message in messages):
            return {"ids": [], "spoken": [], "tokens": 0, "left_out": "empty turn"}
        if special_token_in(messages, special):
            return {"ids": [], "spoken": [], "tokens": 0, "left_out": "special token in a text"}
        ids, labels = encode(messages, tokenizer)
        spoken = [label != -100 for label in labels]
        reason = "too long" if len(ids) > length else "" if any(spoken) else "no answer"
        kept = reason == ""
        return {
            "ids": ids if kept else [],
            "spoken": spoken if kept else [],
            "tokens": len(ids),
            "left_out": reason,
        }

    folder.mkdir(parents=True, exist_ok=True)
    return chats.map(
        encoded,
        features=_COLUMNS,
        remove_columns=chats.column_names,
        num_proc=processes,
        cache_file_name=str(folder / "encoded.arrow"),
        load_from_cache_file=True,
        # The folder is of this recipe and these inputs: nothing else can be meant.
        new_fingerprint=f"encoded-{len(chats)}-{length}",
        desc="Encoding chats",
    )


class PackedRows(RowDataset[dict[str, np.ndarray]]):
    """All epochs' rows of `length` tokens, in training order; only their plan is in memory.

    Every epoch has its own seeded order; chats fill a row one after another and are never cut. The
    last rows that do not fill a `batch` are dropped: several processes would repeat others instead.
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
        kept = np.flatnonzero(self._reasons == "")
        if not len(kept):
            raise RecipeError(
                f"`max_length`: none of the {len(encoded)} chats fits {length} tokens"
            )
        orders, starts = [], [np.zeros(0, int)]
        for epoch in range(int(epochs)):
            order = kept[np.random.default_rng([seed, epoch]).permutation(len(kept))]
            starts.append(row_starts(tokens[order], length) + epoch * len(kept))
            orders.append(order)
        self._order = np.concatenate(orders)  # of chats, over all epochs
        bounds = np.append(np.concatenate(starts), len(self._order))
        whole = (len(bounds) - 1) // batch * batch
        if not whole:
            raise RecipeError(
                f"`global_batch_size`: {batch} rows, but the chats fill {len(bounds) - 1}"
            )
        self._bounds = bounds[: whole + 1]
        unread = np.setdiff1d(kept, self._order[: self._bounds[-1]])
        self._reasons[unread] = left_out.BATCH_NOT_FULL
        before = np.append(0, np.cumsum(tokens[self._order], dtype=np.int64))
        self.tokens = np.diff(before[self._bounds])  # of each row, without padding

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        """`input_ids`, `labels`, `position_ids` of (length,); padding is a document of its own."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        places = self._order[self._bounds[row] : self._bounds[row + 1]]
        chats = self._encoded[places]
        ids = np.full(self._length, self._pad, np.int64)
        labels = np.full(self._length, -100, np.int64)
        positions, at = np.zeros(self._length, np.int64), 0
        for said, spoken in zip(chats["ids"], chats["spoken"], strict=True):
            end = at + len(said)
            ids[at:end] = said
            labels[at:end] = np.where(spoken, said, -100)
            positions[at:end] = np.arange(len(said))
            at = end
        positions[at:] = np.arange(self._length - at)
        return {"input_ids": ids, "labels": labels, "position_ids": positions}

    def as_dataset(self) -> Dataset:
        """The same rows as TRL wants them: a column of numbers that turns into rows when read."""

        def read(batch: dict[str, list[int]]) -> dict[str, list[np.ndarray]]:
            rows = [self[place] for place in batch["row"]]
            return {key: [row[key] for row in rows] for key in rows[0]}

        return Dataset.from_dict({"row": range(len(self))}).with_transform(read)

    @property
    def counts(self) -> dict[str, int]:
        """Chats, and those left out by reason, for the manifest."""
        return left_out.counted("chat", self._reasons)

    def left_out(self) -> Dataset:
        """Index in the dataset and reason of every chat that is in no row."""
        return left_out.listed("chat", self._reasons)


def row_starts(tokens: np.ndarray, length: int) -> np.ndarray:
    """Where rows begin when chats of `tokens` fill them one after another, none above `length`."""
    ends = np.cumsum(tokens)
    starts, at = [], 0
    while at < len(tokens):
        starts.append(at)
        filled = int(ends[at - 1]) if at else 0
        at = int(np.searchsorted(ends, filled + length, side="right"))
    return np.array(starts, int)
