"""Rows of a dataset that hold evaluation items: those of chats, pairs and problems."""

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from moxin_recipes.documents.contamination import Item, names_of, reason, report, write_index
from moxin_recipes.documents.index import Index
from moxin_recipes.recipe import lost

_FENCED = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n]*\n(.*?)^[ \t]*(?:`{3,}|~{3,})", re.DOTALL | re.M)
_COLUMNS = Features({"texts": List(Value("int32")), "rules": List(Value("string"))})
Row = dict[str, Any]


@dataclass(frozen=True)
class Contaminated:
    """What a search found: `reasons` has one a row, "" for a row without an evaluation item.

    `matches` has a row for each item, row and rule: `id` (the row's number), `source`, `set`,
    `item`, `rule`. `report` counts them by set, as that of a corpus does.
    """

    reasons: list[str]
    matches: list[Row]
    report: list[Row]

    def listed(self, row_name: str) -> Dataset:
        """The matches for people: the row's number in a column `row_name`, set, item and rule."""
        columns: dict[str, list[Any]] = {row_name: [int(match["id"]) for match in self.matches]}
        for name in ("set", "item", "rule"):
            columns[name] = [match[name] for match in self.matches]
        kinds = {name: Value("int64" if name == row_name else "string") for name in columns}
        return Dataset.from_dict(columns, Features(kinds))

    def line(self, row_name: str) -> str:
        """One line: how many rows go, by set."""
        sets = Counter(name for _, name in {(one["id"], one["set"]) for one in self.matches})
        by_set = ", ".join(f"{name} {count:,}" for name, count in sorted(sets.items()))
        gone = sum(map(bool, self.reasons))
        return (
            f"`decontaminate`: {gone:,} of {len(self.reasons):,} {row_name}s hold items of "
            f"evaluation sets and are left out{': ' if by_set else ''}{by_set}"
        )


def search(
    rows: Dataset, source: str, items: Iterable[Item], folder: Path, processes: int | None = None
) -> Contaminated:
    """Looks for `items` in all texts of each row, as a document is searched.

    The index and the answers lie below `folder`; a second call reads them. `source` names the
    dataset in the report. Memory holds the index once in each of the `processes`.
    """
    index = folder / "index"
    if not index.exists():  # it is written whole
        write_index(items, index)
    found = rows.map(
        functools.partial(_hits, str(index)),
        features=_COLUMNS,
        remove_columns=rows.column_names,
        num_proc=processes,
        cache_file_name=str(folder / "found.arrow"),
        load_from_cache_file=True,
        # The folder belongs to one recipe and its inputs, so a short fingerprint is enough.
        new_fingerprint=f"found-{len(rows)}",
        desc="Looking for evaluation items",
    )
    _index.cache_clear()
    names = names_of(index)
    reasons, matches = [], []
    for place, row in enumerate(found):
        hits = [(*names[text], rule) for text, rule in zip(row["texts"], row["rules"], strict=True)]
        reasons.append(reason(hits[0][0], hits[0][2]) if hits else "")
        for name, item, rule in dict.fromkeys(hits):  # an item has several texts
            match = {"source": source, "id": str(place), "set": name, "item": item, "rule": rule}
            matches.append(match)
    counted, _ = report(index, matches, [source])
    return Contaminated(reasons, matches, counted)


@functools.cache
def _index(folder: str) -> Index:
    return Index.load(Path(folder, "index.npz"))


def _hits(index: str, row: Row) -> Row:
    hits = _index(index).hits("\n".join(texts({**row})))  # a row of `map` is no dict
    return {"texts": [text for text, _ in hits], "rules": [rule for _, rule in hits]}


def texts(row: Row) -> Iterator[str]:
    """All texts of a row that are searched: of every column, and within a text that is JSON.

    So it does not matter how the turns of a chat are written, or who says them. A column may have
    any name, also that of a turn's field.
    """
    for text in lost.texts([row, *(row.get(name) for name in lost.NO_TEXT)]):
        yield from _within(text)


def _within(text: str) -> Iterator[str]:
    """A text, or the texts of the JSON that it is, and of JSON that it has in fences."""
    if (inner := _of_json(text)) is not None:
        yield from inner
        return
    yield text
    for fenced in _FENCED.findall(text) if "```" in text or "~~~" in text else ():
        yield from _of_json(fenced) or ()


def _of_json(text: str) -> Iterator[str] | None:
    """The texts of a JSON list or object; None of what is none."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    # JSON may hold halves of signs, which no text can.
    whole = (inner.encode(errors="replace").decode() for inner in lost.texts(value))
    return (part for inner in whole for part in _within(inner))
