"""The rows of .csv and .tsv text: objects by the names in the first line."""

import csv
import itertools
import re
import sys
from collections.abc import Iterator

from moxin_recipes.documents.unpacked import Aside

_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=(.)")  # the first line, as Excel writes it


def rows(
    lines: Iterator[str], column: str | None, is_tabbed: bool, aside: Aside
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of lines without their ends; a broken one goes aside, and the next one is read.

    The delimiter is the one that finds the wanted `column` in the first line; where none does, the
    one that finds most names.
    """
    csv.field_size_limit(sys.maxsize)
    lines = itertools.dropwhile(lambda line: not line.strip(), lines)
    first = next(lines, "")
    said = _SAID.fullmatch(first)
    if said:
        first = next(lines, "")
    delimiters = said.groups() if said else ("\t",) if is_tabbed else _DELIMITERS
    delimiter, names = _header(first, delimiters, column)
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    for number in itertools.count():
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            aside("broken row", f"#{number}", str(error))
            continue
        if any(cells[len(names) :]):
            what = f"{len(cells)} cells under {len(names)} columns: "
            aside("ragged row", f"#{number}", what + delimiter.join(cells))
        elif cells:
            yield number, dict(zip(names, cells, strict=False))


def _header(first: str, delimiters: tuple[str, ...], column: str | None) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns."""
    found = {
        delimiter: [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        for delimiter in delimiters
    }
    for delimiter, names in found.items():
        if column in names:
            return delimiter, names
    return max(found.items(), key=lambda item: len(item[1]))
