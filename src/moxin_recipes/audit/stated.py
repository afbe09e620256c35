"""Does a card say what its manifest says? And what of it did people write since its stage did?

A card may get prose, links and tables of its owner's. Licences, scores, counts and digests in it
are those of the manifest, and what its stage wrote of them stays.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from moxin_recipes.hub import licences
from moxin_recipes.hub.cards import rows
from moxin_recipes.hub.cards.rows import Row
from moxin_recipes.hub.cards.tables import without_table

_LATER = "model-index"  # scores that come to the metadata later
_STATES = re.compile(r"^\||\d|`")  # a line with figures, names or digests
_RULE = re.compile(r"\|[-:| ]+\|")  # between a table's head and its body


def faults(card: str, told: dict[str, Any]) -> Iterator[str]:
    """What a card says otherwise than its manifest, which is whole."""
    metadata, text = licences.read_card(card)
    parts: Any = told.get("licenses")
    if not (licences.is_listed(parts) and licences.is_listed(rows.stated(told))):
        yield "its manifest has no licences that can be read"
        return
    for name, value in licences.metadata(parts).items():
        if (said := metadata.get(name)) != value:
            yield f"it says `{name}: {said}`, and its manifest {value}"
    if told["payload"] not in text:
        yield "it does not name its payload"
    tables, found = rows.of(told), list(_rows(text))
    for row in tables["licences"].rows:
        if row not in found:
            yield f"it does not say that {row[0]} is under {row[1]}"
    known: dict[tuple[Row, int], set[Row]] = {}  # label and width → rows
    for table in tables.values():
        for row in table.rows:
            known.setdefault((row[: table.label], len(row)), set()).add(row)
    for row in found:
        labels = [row[:length] for length in (3, 2, 1) if (row[:length], len(row)) in known]
        if labels and row not in (wanted := known[labels[0], len(row)]):
            figures = sorted(" | ".join(one[len(labels[0]) :]) for one in wanted)
            yield f"it says `{' | '.join(row)}`, and its manifest `{'`, `'.join(figures)}`"


def changes(card: str, pushed: str) -> tuple[list[str], int]:
    """What is gone of the card that a stage pushed, and the number of lines that are others'.

    A table's row beside those of the stage counts as a changed table, and so as gone.
    """
    (was, body), (now, text) = licences.read_card(pushed), licences.read_card(card)
    gone = [
        f"it says `{name}: {now.get(name)}`, and its stage wrote {value}"
        for name, value in was.items()
        if name != _LATER and now.get(name) != value
    ]
    left, lines = Counter(_lines(body)), _lines(text)
    mine: list[bool] = []
    for line in lines:
        mine.append(left[line] > 0)
        left[line] -= 1
    lost = [line for line, count in left.items() if count > 0]
    gone += [f"its stage wrote `{_short(line)}`" for line in lost if _STATES.search(line)]
    for first, last in _tables(lines):
        if any(mine[first:last]):
            among = (lines[n] for n in range(first, last) if not mine[n])
            gone += [f"`{_short(line)}` stands among what its stage wrote" for line in among]
    return gone, mine.count(False)


def _lines(text: str) -> list[str]:
    lines = (line.strip() for line in without_table(text).splitlines())
    return [line for line in lines if line and not _RULE.fullmatch(line)]


def _rows(text: str) -> Iterator[Row]:
    """The cells of the tables' rows."""
    for line in text.splitlines():
        if line.strip().startswith("|") and not _RULE.fullmatch(line.strip()):
            yield tuple(part.strip() for part in re.split(r"(?<!\\)\|", line.strip())[1:-1])


def _tables(lines: list[str]) -> Iterator[tuple[int, int]]:
    """First line and end of each run of rows."""
    first = None
    for number, line in enumerate([*lines, ""]):
        if line.startswith("|"):
            first = number if first is None else first
        elif first is not None:
            yield first, number
            first = None


def _short(line: str) -> str:
    return line if len(line) <= 80 else f"{line[:77]}..."
