"""Preference pairs as turns, whatever their layout; those that cannot be trained on are listed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, LargeList, List, Value
from transformers import PreTrainedTokenizerBase
from trl import extract_prompt

from moxin_recipes.chats import left_out
from moxin_recipes.chats.template import special_token_in
from moxin_recipes.recipe.strict import RecipeError


class Pairs:
    """The pairs of a split, and why some of them are not trained on.

    `chosen` and `rejected` are lists of turns. Where `prompt` is one too, they are what follows it;
    else they are whole chats, as those of Tülu 3, and the prompt is what both begin with: a string
    beside them repeats only its last turn. Left out, as in SFT, is a pair with an empty turn or
    with a special token written out in a text; and one without an answer, or whose chats begin
    differently.
    """

    def __init__(
        self, pairs: Dataset, tokenizer: PreTrainedTokenizerBase, folder: Path, key: str
    ) -> None:
        """Reads `pairs`, the dataset of recipe key `key`, into Arrow files below `folder`."""
        self._read = _as_turns(pairs, tokenizer, folder, key)
        self._reasons = np.array(self._read["left_out"][:], dtype=object)
        self._truncated: dict[str, int] = {}
        if not len(self.usable()):
            raise RecipeError(f"`{key}`: none of its {len(pairs)} pairs can be used")

    def usable(self) -> Dataset:
        """`prompt`, `chosen`, `rejected` as TRL wants them, and `pair`, the place in the split."""
        kept = self._read.select(np.flatnonzero(self._reasons == ""))
        return kept.remove_columns("left_out")

    def full_batches(self, prepared: Dataset, batch: int, length: int | None) -> Dataset:
        """What TRL made of the usable pairs, without those that do not fill a last `batch`.

        Several processes would repeat others instead. TRL has dropped the pairs whose prompt alone
        has `length` tokens, and cuts answers there.
        """
        there = np.array(prepared["pair"][:], int)
        whole = len(there) // batch * batch
        if not whole:
            raise RecipeError(
                f"`global_batch_size`: {batch} pairs, but only {len(there)} can be used"
            )
        usable = np.flatnonzero(self._reasons == "")
        self._reasons[np.setdiff1d(usable, there)] = "prompt too long"
        self._reasons[there[whole:]] = left_out.BATCH_NOT_FULL
        trained = prepared.select(range(whole))
        self._truncated = {"truncated": _longer(trained, length) if length else 0}
        return trained

    @property
    def counts(self) -> dict[str, int]:
        """Pairs, those left out by reason, and of `full_batches` those with a cut answer."""
        return {**left_out.counted("pair", self._reasons), **self._truncated}

    def left_out(self) -> Dataset:
        """Index in the dataset and reason of every pair that is not trained on."""
        return left_out.listed("pair", self._reasons)


def _as_turns(
    pairs: Dataset, tokenizer: PreTrainedTokenizerBase, folder: Path, key: str
) -> Dataset:
    """One row a pair: three lists of turns, its place, and why it is left out, or nothing."""
    names, lists = ("prompt", "chosen", "rejected"), (List, LargeList)
    if not all(isinstance(pairs.features[name], lists) for name in names[1:]):
        raise RecipeError(
            f"`{key}`: `chosen` and `rejected` must be lists of turns (`role`, `content`); plain "
            "texts would be trained on without the chat template"
        )
    whole_chats = not isinstance(pairs.features.get("prompt"), lists)
    special = tokenizer.all_special_tokens
    turns = {
        name: pairs.features["chosen" if whole_chats and name == "prompt" else name]
        for name in names
    }

    def read(row: dict[str, Any], place: int) -> dict[str, Any]:
        pair = {name: row.get(name) or [] for name in names}
        if whole_chats:
            ends = {name: pair[name] for name in ("chosen", "rejected")}
            pair = extract_prompt(ends) if all(ends.values()) else {**pair, "prompt": []}
        return {**pair, "pair": place, "left_out": _reason(pair, special)}

    folder.mkdir(parents=True, exist_ok=True)
    return pairs.map(
        read,
        with_indices=True,
        remove_columns=pairs.column_names,
        features=Features({**turns, "pair": Value("int64"), "left_out": Value("string")}),
        cache_file_name=str(folder / "pairs.arrow"),
        load_from_cache_file=True,
        # The folder is of this recipe and these inputs: nothing else can be meant.
        new_fingerprint=f"pairs-{len(pairs)}",
        desc="Reading pairs",
    )


def _reason(pair: dict[str, list[dict[str, str]]], special: list[str]) -> str:
    """Why a pair cannot be trained on, or nothing."""
    turns = pair["prompt"] + pair["chosen"] + pair["rejected"]
    if not pair["chosen"] or not pair["rejected"]:
        return "no answer"
    if not pair["prompt"]:
        return "no shared prompt"
    if not all(turn["content"] for turn in turns):
        return "empty turn"
    return "special token in a text" if special_token_in(turns, special) else ""


def _longer(pairs: Dataset, length: int) -> int:
    """How many pairs have an answer that does not end within `length` tokens."""
    count = 0
    for part in pairs.with_format("arrow").iter(1000):
        prompt, chosen, rejected = (
            pc.list_value_length(part[name]).to_numpy()
            for name in ("prompt_ids", "chosen_ids", "rejected_ids")
        )
        count += int((prompt + np.maximum(chosen, rejected) > length).sum())
    return count
