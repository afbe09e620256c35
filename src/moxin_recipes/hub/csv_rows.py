"""The rows of CSV files: every cell is the text that stands there."""

import csv
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import fsspec

from moxin_recipes.recipe.strict import RecipeError


def rows(file: Path, where: str, delimiter: str = ",") -> Iterator[dict[str, str | None]]:
    """The rows of a file by the names in its first line; missing last cells are null.

    No text becomes a number, a date or nothing. Raises RecipeError, which begins with `where` and
    names the line, for more cells than names, a quote without its end, and what is not UTF-8.
    """
    csv.field_size_limit(sys.maxsize)
    names: list[str] = []
    try:
        with fsspec.open(str(file), "rb", compression="infer") as stream:
            lines = io.TextIOWrapper(stream, "utf-8-sig", newline="")
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            for cells in reader:
                if not names:
                    names = _names(cells, where)
                elif len(cells) > len(names):
                    raise RecipeError(
                        f"{where}, line {reader.line_num}, has {len(cells)} cells, and the first "
                        f"line names {len(names)} columns; put a cell that holds {delimiter!r} "
                        "into quotes"
                    )
                elif cells:
                    yield dict.fromkeys(names) | dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise RecipeError(
            f"{where}, line {reader.line_num}, is not CSV ({error}); mend its quotes"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{where}, after line {reader.line_num}, is not UTF-8 (byte "
            f"0x{error.object[error.start]:02x}); save the file as UTF-8"
        ) from error
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise RecipeError(f"{where} is damaged ({error}); take it away, or pack it anew") from error


def _names(cells: list[str], where: str) -> list[str]:
    twice = [name for name in cells if cells.count(name) > 1]
    if twice:
        raise RecipeError(
            f"{where}: the column `{twice[0]}` stands twice in the first line; rename one of them"
        )
    return cells
