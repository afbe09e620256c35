"""Which of the items that a model was scored on are not in its training documents."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from moxin_recipes.documents.contamination import FOUND, NOT_FOUND, TOO_SHORT, cell, digest_of
from moxin_recipes.hub.pull import Pull
from moxin_recipes.recipe.strict import RecipeError

CONFIG = "evaluation_items"  # of the corpus: all items of the sets, by digest
_FIRST = (FOUND, NOT_FOUND, TOO_SHORT)  # of several rows with one text, what counts
_NUMBER = int | float | np.number | np.bool_
Row = dict[str, Any]


class SearchedItems:
    """The items that the corpus's documents were searched for, found again by their text.

    An item is the text of the columns that decontamination looked for; rows have no identity beside
    it that all tools agree on. The same text in several sets or rows is one item.
    """

    def __init__(self, corpus: Path) -> None:
        rows = pq.read_table(corpus / CONFIG / "test.parquet").to_pylist()
        self._columns = {tuple(row["columns"]) for row in rows}
        rows.sort(key=lambda row: _FIRST.index(row["status"]), reverse=True)
        self._statuses: dict[str, str] = {row["digest"]: row["status"] for row in rows}

    def status(self, doc: Row) -> str | None:
        """What the search says of a row of an evaluation set; None if it is in no set of it."""
        statuses = []
        for columns in self._columns:
            try:
                digest = digest_of(columns, [cell(doc, column) for column in columns])
            except (KeyError, TypeError):
                continue  # a row of another set
            if digest in self._statuses:
                statuses.append(self._statuses[digest])
        return min(statuses, key=_FIRST.index, default=None)


def searched(corpus: str | None, pull: Pull) -> SearchedItems | None:
    """The items that the key `corpus_name` was searched for; None where it names no corpus."""
    if corpus is None:
        return None
    folder = pull("corpus_name", [f"{CONFIG}/*"])
    if not (folder / CONFIG).exists():
        raise RecipeError(
            f"`corpus_name`: {corpus} has no `{CONFIG}`; it was made without `decontaminate`, or "
            "before there were any: leave the key out, or make it again"
        )
    return SearchedItems(folder)


@dataclass(frozen=True)
class Clean:
    """A mean over clean items with its standard error, both None where `note` says why."""

    value: float | None
    stderr: float | None
    items: int | None
    note: str


def clean_score(
    samples: list[Row], score: str, value: float | str, searched: SearchedItems
) -> Clean:
    """The mean of `score` over the items that were looked for and not found.

    `samples` are lm-eval's, of one filter, with the row of each in `doc`; `value` is what lm-eval
    makes of all of them. If it is no mean over items, or a single item is in no set of the search,
    there is no clean score. The standard error is that of a mean of independent items, with n - 1;
    lm-eval takes out the differences between the parts of a group, which are in it here.
    """
    scored = [sample for sample in samples if score in sample]
    a_number = all(isinstance(sample[score], _NUMBER) for sample in scored) and scored
    values = np.asarray([sample[score] for sample in scored] if a_number else [np.nan], float)
    if isinstance(value, str) or not np.isclose(values.mean(), value, rtol=0, atol=1e-6):
        return Clean(None, None, None, "not given: the score is no mean over items")
    statuses = [searched.status(sample["doc"]) for sample in scored]
    counts = Counter(statuses)
    if counts[None]:
        note = f"not given: {counts[None]} of {len(scored)} items are in no set searched for"
        return Clean(None, None, None, note)
    kept = values[[status == NOT_FOUND for status in statuses]]
    return Clean(
        float(kept.mean()) if len(kept) else None,
        float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else None,
        len(kept),
        f"left out: {counts[FOUND]} found in the corpus, {counts[TOO_SHORT]} {TOO_SHORT}",
    )
