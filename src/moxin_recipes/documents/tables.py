"""The rows of .csv and .tsv text: objects by the names in the first line."""

import csv
import itertools
import re
import sys
from collections import deque
from collections.abc import Iterator

from moxin_recipes.documents.unpacked import Aside
from moxin_recipes.recipe.strict import RecipeError

_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=(.)")  # the first line, as Excel writes it
# Characters of a row, at most; the end of a quote that is not found by then is missing.
_LONGEST = 20_000_000


def rows(
    lines: Iterator[str], column: str | None, is_tabbed: bool, aside: Aside
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of lines without their ends; a broken one goes aside, and the next line is read.

    The delimiter is the one that finds the wanted `column` in the first line; where none does, the
    one that finds most names. A quote in a tabbed row that is not closed rightly is a character:
    some programs write tabs without quoting.

    Raises:
        RecipeError: `column` stands twice in the first line.
    """
    csv.field_size_limit(sys.maxsize)
    source = _Lines(itertools.dropwhile(lambda line: not line.strip(), lines))
    said = _SAID.fullmatch(next(source, "\n").rstrip("\n"))
    if not said:
        source.again()
    source.forget()
    delimiters = said.groups() if said else ("\t",) if is_tabbed else _DELIMITERS
    delimiter, names = _header(source, delimiters, column)
    if column is not None and names.count(column) > 1:
        raise RecipeError(f"the column {column} stands twice in the first line; rename one of them")
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    for number in itertools.count():
        source.forget()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line = source.again(from_line=1)
            cells = line.split("\t") if delimiter == "\t" else []
            if not cells:
                aside("broken row", f"#{number}", f"{error}: {line}")
                continue
        if any(cells[len(names) :]):
            what = f"{len(cells)} cells under {len(names)} columns: "
            aside("ragged row", f"#{number}", what + delimiter.join(cells))
        elif cells:
            yield number, dict(zip(names, cells, strict=False))


class _Lines:
    """Lines with their ends for a csv reader, which may be read again from a row's start."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []
        self._size = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self._taken.append(line)
        self._size += len(line)
        if self._size > _LONGEST:
            raise csv.Error("no end of the row in 20 MB")
        return f"{line}\n"

    def forget(self) -> None:
        """A row begins here."""
        self._taken, self._size = [], 0

    def again(self, from_line: int = 0) -> str:
        """Reads the row again, from its first line or the one after it; its first line."""
        self._waiting.extendleft(reversed(self._taken[from_line:]))
        return self._taken[0] if self._taken else ""


def _header(
    source: _Lines, delimiters: tuple[str, ...], column: str | None
) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns; `source` stands after them."""
    found: dict[str, list[str]] = {}
    for delimiter in delimiters:
        try:
            found[delimiter] = [
                name.strip() for name in next(csv.reader(source, delimiter=delimiter), [])
            ]
        except csv.Error:
            found[delimiter] = []
        source.again()
        source.forget()
    wanted = [one for one in found if column in found[one]]
    delimiter = (wanted or sorted(found, key=lambda one: -len(found[one])))[0]
    next(csv.reader(source, delimiter=delimiter), None)
    return delimiter, found[delimiter]
