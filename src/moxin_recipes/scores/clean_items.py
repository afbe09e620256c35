"""Which of the items that a model was scored on are not in its training documents."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moxin_recipes.documents.contamination import FOUND, NOT_FOUND, TOO_SHORT, cell, digest_of
from moxin_recipes.hub.pull import Pull
from moxin_recipes.recipe.strict import RecipeError

CONFIG = "evaluation_items"  # of the corpus: all items of the sets, by digest
_FIRST = (FOUND, NOT_FOUND, TOO_SHORT)  # of several rows with one text, what counts
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
