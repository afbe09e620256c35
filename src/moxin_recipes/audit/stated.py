"""Does a card say what its manifest says? And what of it did people write since its stage did?

A card may get prose, links and tables of its owner's. Licences, scores, counts and digests in it
are those of the manifest, and what its stage wrote of them stays.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from moxin_recipes.hub import licences
from moxin_recipes.hub.cards.tables import cell, without_table

_LATER = "model-index"  # scores that come to the metadata later
_STATES = re.compile(r"^\||\d|`")  # a line with figures, names or digests
_RULE = re.compile(r"\|[-:| ]+\|")  # between a table's head and its body
_Row = tuple[str, ...]


def faults(card: str, told: dict[str, Any]) -> Iterator[str]:
    """What a card says otherwise than its manifest."""
    metadata, text = licences.read_card(card)
    parts: Any = told.get("licenses")
    listed: Any = (told.get("release") or {}).get("licenses") or parts
    if not (licences.is_listed(parts) and licences.is_listed(listed)):
        yield "its manifest has no licences that can be read"
        return
    for name, value in licences.metadata(parts).items():
        if (said := metadata.get(name)) != value:
            yield f"it says `{name}: {said}`, and its manifest {value}"
    if told["payload"] not in text:
        yield "it does not name its payload"
    rows = list(_rows(text))
    known: dict[str, set[str]] = {}
    for part in listed:
        known.setdefault(cell(part["of"]), set()).add(cell(part["license"]))
    for of, names in known.items():
        under = {row[0].removesuffix(" (non-commercial)") for row in rows if row[1:] == (of,)}
        if under != names:
            yield f"it says {of} is under {_all(under)}, and its manifest {_all(names)}"
    for row in rows:
        for wanted, given in _figures(row, told):
            if given not in wanted:
                yield f"it says `{' | '.join(row)}`, and its manifest {_all(wanted)}"


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


def _figures(row: _Row, told: dict[str, Any]) -> Iterator[tuple[set[str], str]]:
    """What the manifest has for the figures of a row that it knows, and what the row has."""
    values: dict[_Row, set[str]] = {}  # first cells of a row → values
    for name in ("metrics", "counts"):
        for key, value in (told.get(name) or {}).items():
            values.setdefault((cell(key),), set()).add(str(value))
    for one in told.get("scores") or []:
        key = tuple(cell(one.get(name)) for name in ("model", "task", "metric"))
        said = cell((one.get("failed") and f"failed: {one['failed']}") or one.get("value"))
        values.setdefault(key, set()).add(said)
    for width, length in ((1, 2), (3, 7)):
        if len(row) == length and row[:width] in values:
            yield values[row[:width]], row[width]
    for one in (told.get("release") or {}).get("scores") or []:
        if row[:2] == (cell(one.get("stage")), cell(one.get("measure"))) and len(row) == 5:
            for at, name in ((2, "before"), (3, "after")):
                value = (one.get(name) or {}).get("value")
                yield {cell(value)}, row[at].partition(" (")[0]


def _lines(text: str) -> list[str]:
    lines = (line.strip() for line in without_table(text).splitlines())
    return [line for line in lines if line and not _RULE.fullmatch(line)]


def _rows(text: str) -> Iterator[_Row]:
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


def _all(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no licence"


def _short(line: str) -> str:
    return line if len(line) <= 80 else f"{line[:77]}..."
