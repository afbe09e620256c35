"""The rows of JSON files as they stand there, or one line that says where a file is broken."""

import itertools
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from moxin_recipes.recipe.strict import RecipeError

# NaN and Infinity are no JSON; pandas writes the first where a table has nothing.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_BY_NAME = "a row is an object that names its columns"


def decoded(text: str) -> Any:
    """Returns what a JSON text holds; NaN and infinite numbers are null. Raises ValueError."""
    return _DECODER.decode(text)


def is_json(name: str) -> bool:
    """Returns whether a file's name says that it is JSON, packed or not."""
    return re.search(r"\.(json|jsonl|ndjson)(\.\w+)?$", name) is not None


def head(file: Path, name: str, key: str, count: int) -> list[dict[str, Any]]:
    """Returns the first `count` rows of a JSON file as they stand there.

    Raises RecipeError as `rows` does, of these rows; `name` is the file's in the error.
    """
    return list(itertools.islice(rows(file, f"`{key}`: {name}"), count))


def rows(file: Path, where: str) -> Iterator[dict[str, Any]]:
    """The rows of a file: of a line each, of an array, or one object.

    Raises RecipeError, which begins with `where` and names the line, for what is not JSON, not
    UTF-8 or no row, and for a table that was written column by column.
    """
    try:
        with fsspec.open(str(file), "rb", compression="infer") as stream:
            given = _values(stream, where)
            first = [row for _, row in itertools.islice(given, 2)]
            if len(first) == 1 and _is_table(first[0]):
                raise RecipeError(
                    f"{where} is one object of whole columns; write an object for each row, "
                    'as `to_json(path, orient="records", lines=True)` of pandas does'
                )
            for number, row in itertools.chain(enumerate(first, 1), given):
                if not isinstance(row, dict):
                    raise RecipeError(
                        f"{where}, row {number}, is a {type(row).__name__}; {_BY_NAME}, so take "
                        "the file away if it holds none"
                    )
                yield row
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise RecipeError(f"{where} is damaged ({error}); take it away, or pack it anew") from error


def text_of(data: bytes, line: int, where: str) -> str:
    """Returns bytes that begin in a `line` of a file as a text; raises RecipeError if not UTF-8."""
    try:
        return data.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += data[: error.start].count(b"\n")
        raise RecipeError(
            f"{where}, line {line}, is not UTF-8 (byte 0x{data[error.start]:02x}); save the file "
            "as UTF-8"
        ) from error


def _values(stream: Any, where: str) -> Iterator[tuple[int, Any]]:
    """What a file holds, and its number: a line, or an item of an array, or all of it."""
    line, begun = 1, stream.readline()
    while begun and not begun.strip():
        line, begun = line + 1, stream.readline()
    if not begun:
        return
    text = text_of(begun, line, where)
    if isinstance(_or_none(text), dict):
        number = 0
        for number, later in enumerate(itertools.chain([begun], stream), line):
            if later.strip():
                yield number, _value(text_of(later, number, where), number, where)
        return
    following = stream.readline()
    if text.lstrip()[:1] == following.lstrip()[:1].decode("latin-1") == "{":
        _value(text, line, where)  # a broken line before others
    content = text_of(begun + following + stream.read(), line, where)
    given = _value(content, line, where)
    yield from enumerate(given if isinstance(given, list) else [given], 1)


def _value(text: str, line: int, where: str) -> Any:
    """The value of a text that begins in a `line` of the file."""
    try:
        return decoded(text.rstrip())
    except json.JSONDecodeError as error:
        raise RecipeError(
            f"{where}, line {line + error.lineno - 1}, is not JSON ({error.msg} at character "
            f"{error.colno}); mend that line or take it out; a file of another kind, take it away"
        ) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting that is too long
        said = str(error).partition(";")[0]
        raise RecipeError(
            f"{where}, line {line}, cannot be read ({said}); mend that line or take it out"
        ) from error


def _or_none(text: str) -> Any:
    try:
        return decoded(text)
    except (ValueError, RecursionError):
        return None


def _is_table(value: Any) -> bool:
    """Whether an object is columns: lists of equal length, or objects by the numbers of rows."""
    columns = [*value.values()] if isinstance(value, dict) else []
    if columns and all(isinstance(column, dict) and column for column in columns):
        numbers = {tuple(column) for column in columns}
        return len(numbers) == 1 and all(name.isdigit() for name in min(numbers))
    if not all(isinstance(column, list) and column for column in columns):
        return False
    cells = [cell for column in columns for cell in column]
    chats = all(isinstance(cell, list) for cell in cells)
    return (
        len(columns) > (0 if chats else 1)
        and len({len(column) for column in columns}) == 1
        and not any(map(_is_turn, cells))
    )


def _is_turn(cell: Any) -> bool:
    """Whether an item of a list may be a turn of one row's chat: an object, its text, a list."""
    if isinstance(cell, list):
        return not all(isinstance(item, dict) for item in cell)
    return isinstance(cell, dict) or (isinstance(cell, str) and cell.lstrip()[:1] == "{")
