"""Reads preference pairs of both layouts as turns, and lists the pairs that it leaves out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, LargeList, List, Value
from transformers import PreTrainedTokenizerBase
from trl import extract_prompt

from moxin_recipes.chats import left_out
from moxin_recipes.chats.rendering import Unusable, check_answer, special_tokens
from moxin_recipes.chats.template import special_token_in
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError


class Pairs:
    """The pairs of a split, with the reasons why some of them are left out.

    `chosen` and `rejected` are lists of turns. If `prompt` is such a list too, they follow it.
    Otherwise they are whole chats, as in Tülu 3, and the prompt is the beginning that both share;
    a string in `prompt` only repeats its last turn. As in SFT, a pair is left out if a turn is
    empty or if a text contains a special token. It is also left out if it has no answer, or if its
    chats begin differently.
    """

    def __init__(
        self,
        pairs: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        key: str,
        excluded: Sequence[str] = (),
    ) -> None:
        """Reads `pairs`, the dataset of the recipe key `key`, into Arrow files below `folder`.

        `excluded` has a reason for each pair that is left out whatever it says, "" for the others.
        """
        self._read = _as_turns(pairs, tokenizer, folder, key, excluded)
        self._reasons = np.array(self._read["left_out"][:], dtype=object)
        self._truncated: dict[str, int] = {}
        if not len(self.usable()):
            line = left_out.line("pair", self._reasons, pairs)
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
        pair_indices = np.array(prepared["pair"][:], int)
        full = len(pair_indices) // batch * batch
        if not full:
            raise RecipeError(
                f"`global_batch_size`: {batch} pairs, but only {len(pair_indices)} can be used"
            )
        usable = np.flatnonzero(self._reasons == "")
        self._reasons[np.setdiff1d(usable, pair_indices)] = "prompt too long"
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
    key: str,
    excluded: Sequence[str],
) -> Dataset:
    """Returns one row a pair: three lists of turns, its index, and why it is left out, or ""."""
    names, lists = ("prompt", "chosen", "rejected"), (List, LargeList)
    if not all(isinstance(pairs.features[name], lists) for name in names[1:]):
        raise RecipeError(
            f"`{key}`: `chosen` and `rejected` must be lists of turns (`role`, `content`); plain "
            "texts would be trained on without the chat template"
        )
    whole_chats = not isinstance(pairs.features.get("prompt"), lists)
    special = special_tokens(tokenizer)
    turns = {
        name: pairs.features["chosen" if whole_chats and name == "prompt" else name]
        for name in names
    }

    def read(row: dict[str, Any], place: int) -> dict[str, Any]:
        pair = {name: row.get(name) or [] for name in names}
        if whole_chats:
            ends = {name: pair[name] for name in ("chosen", "rejected")}
            pair = extract_prompt(ends) if all(ends.values()) else {**pair, "prompt": []}
        reason = (excluded[place] if excluded else "") or _reason(pair, special)
        reason = reason or _of_template(pair, tokenizer)
        return {**pair, "pair": place, "left_out": reason}

    folder.mkdir(parents=True, exist_ok=True)
    return pairs.map(
        read,
        with_indices=True,
        remove_columns=pairs.column_names,
        features=Features({**turns, "pair": Value("int64"), "left_out": Value("string")}),
        cache_file_name=str(folder / "pairs.arrow"),
        load_from_cache_file=True,
        # The folder belongs to one recipe and its inputs, so a short fingerprint is enough.
        new_fingerprint=f"pairs-{len(pairs)}",
        desc="Reading pairs",
    )


def _reason(pair: dict[str, list[dict[str, str]]], special: list[str]) -> str:
    """Returns why a pair cannot be trained on, or ""."""
    turns = pair["prompt"] + pair["chosen"] + pair["rejected"]
    if not pair["chosen"] or not pair["rejected"]:
        return "no answer"
    if not pair["prompt"]:
        return "no shared prompt"
    if not all(turn["content"] for turn in turns):
        return "empty turn"
    return "special token in a text" if special_token_in(turns, special) else ""


def _of_template(pair: dict[str, list[dict[str, str]]], tokenizer: PreTrainedTokenizerBase) -> str:
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
