"""Reads preference pairs as a prompt and two answers, and lists the pairs that it leaves out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value
from transformers import PreTrainedTokenizerBase

from moxin_recipes.chats import left_out
from moxin_recipes.chats.cells import filled
from moxin_recipes.chats.checks import check_answer
from moxin_recipes.chats.preferences import NO_PROMPT, Preferences
from moxin_recipes.chats.rendering import Messages, Unusable, special_tokens
from moxin_recipes.chats.template import special_token_in
from moxin_recipes.hub.written import is_written
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError

_TURNS = List({"role": Value("string"), "content": Value("string")})
_COLUMNS = Features(
    {
        **dict.fromkeys(("prompt", "chosen", "rejected"), _TURNS),
        "pair": Value("int64"),
        "left_out": Value("string"),  # the reason, or ""
    }
)


class Pairs:
    """The pairs of a split, with the reasons why some of them are left out.

    `preferences.py` reads them. As in SFT, a pair is left out if a turn is empty, or if a text
    contains a special token; and if its answers are equal, also after they are cut.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        key: str,
        layout: Preferences | None = None,
        excluded: Sequence[str] = (),
    ) -> None:
        """Reads `pairs`, the dataset of the recipe key `key`, into Arrow files below `folder`.

        `excluded` has a reason for each pair that is left out whatever it says, "" for the others.
        """
        self._read = _as_turns(pairs, tokenizer, folder, layout or Preferences(), excluded)
        self._reasons = np.array(self._read["left_out"][:], dtype=object)
        self._truncated: dict[str, int] = {}
        if not len(self.usable()):
            line = left_out.line("pair", self._reasons, pairs)
            asked = (layout or Preferences()).prompt
            if asked not in pairs.column_names and NO_PROMPT in line.reasons:
                there = ", ".join(pairs.column_names)
                raise RecipeError(
                    f"`prompt_column`: the dataset has no column `{asked}` (it has: {there}), and "
                    f"its answers begin with no shared prompt; {line}"
                )
            raise RecipeError(f"`{key}`: none of its {len(pairs)} pairs can be used; {line}")

    def usable(self) -> Dataset:
        """Returns `prompt`, `chosen` and `rejected` for TRL, and `pair`, the index in the split."""
        usable_pairs = self._read.select(np.flatnonzero(self._reasons == ""))
        return usable_pairs.remove_columns("left_out")

    def full_batches(self, prepared: Dataset, batch: int, length: int | None) -> Dataset:
        """Returns the pairs that TRL prepared, without those that do not fill a last `batch`.

        Several processes would repeat other pairs instead. TRL drops pairs whose prompt alone has
        `length` tokens, and cuts answers at `length`.
        """
        usable = np.flatnonzero(self._reasons == "")
        self._reasons[np.setdiff1d(usable, np.array(prepared["pair"][:], int))] = "prompt too long"
        if length:
            equal = _equal_when_cut(prepared, length)
            self._reasons[np.array(prepared["pair"][:], int)[equal]] = "equal answers when cut"
            prepared = prepared.select(np.setdiff1d(np.arange(len(prepared)), equal))
        pair_indices = np.array(prepared["pair"][:], int)
        full = len(pair_indices) // batch * batch
        if not full:
            raise RecipeError(
                f"`global_batch_size`: {batch} pairs, but only {len(pair_indices)} can be used"
            )
        self._reasons[pair_indices[full:]] = left_out.BATCH_NOT_FULL
        trained = prepared.select(range(full))
        self._truncated = {"truncated": _longer(trained, length) if length else 0}
        return trained

    @property
    def counts(self) -> dict[str, int]:
        """The number of pairs, of pairs left out by reason, and of answers that are cut."""
        return {**left_out.counted("pair", self._reasons), **self._truncated}

    def warn(self) -> None:
        """Says loudly if more than half of the pairs are left out."""
        lost.warn(left_out.line("pair", self._reasons, self._read))

    def left_out(self) -> Dataset:
        """Returns the index in the dataset, and the reason, of every pair that is left out."""
        return left_out.listed("pair", self._reasons)


def _as_turns(
    pairs: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    layout: Preferences,
    excluded: Sequence[str],
) -> Dataset:
    """Returns one row a pair: three lists of turns, its index, and why it is left out, or ""."""
    special, exact = special_tokens(tokenizer), is_written(pairs)

    def read(row: dict[str, Any], place: int) -> dict[str, Any]:
        pair: dict[str, Messages] = {"prompt": [], "chosen": [], "rejected": []}
        reason = excluded[place] if excluded else ""
        if not reason:
            try:
                pair = layout.pair(row if exact else filled(row))
                reason = _reason(pair, special, tokenizer)
            except Unusable as error:
                reason = str(error)
        return {**pair, "pair": place, "left_out": reason}

    folder.mkdir(parents=True, exist_ok=True)
    return pairs.map(
        read,
        with_indices=True,
        remove_columns=pairs.column_names,
        features=_COLUMNS,
        cache_file_name=str(folder / "pairs.arrow"),
        load_from_cache_file=True,
        # The folder belongs to one recipe and its inputs, so a short fingerprint is enough.
        new_fingerprint=f"pairs-{len(pairs)}",
        desc="Reading pairs",
    )


def _reason(
    pair: dict[str, Messages], special: list[str], tokenizer: PreTrainedTokenizerBase
) -> str:
    """Returns why a pair that was read cannot be trained on, or ""."""
    turns = [turn for name in ("prompt", "chosen", "rejected") for turn in pair[name]]
    if special_token_in(turns, special):
        return "special token in a text"
    return _of_template(pair, tokenizer)


def _of_template(pair: dict[str, Messages], tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns why the chat template cannot write a pair as a prompt with two answers, or ""."""
    try:
        for name in ("chosen", "rejected"):
            check_answer(tokenizer, pair["prompt"], pair[name])
    except Unusable as error:
        return f"{left_out.TEMPLATE}: {error}"
    return ""


def _longer(pairs: Dataset, length: int) -> int:
    """Counts the pairs with an answer that does not end within `length` tokens."""
    count = 0
    for part in pairs.with_format("arrow").iter(1000):
        prompt, chosen, rejected = (
            pc.list_value_length(part[name]).to_numpy()
            for name in ("prompt_ids", "chosen_ids", "rejected_ids")
        )
        count += int((prompt + np.maximum(chosen, rejected) > length).sum())
    return count


def _equal_when_cut(pairs: Dataset, length: int) -> np.ndarray:
    """The places of prepared pairs whose answers are the same up to `length` tokens in all."""
    equal = []
    names = ["prompt_ids", "chosen_ids", "rejected_ids"]
    for place, row in enumerate(pairs.select_columns(names)):
        room = length - len(row["prompt_ids"])
        if row["chosen_ids"][:room] == row["rejected_ids"][:room]:
            equal.append(place)
    return np.array(equal, int)
