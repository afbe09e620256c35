"""Rows of JSON files, each column as text: what a list holds may differ from row to row.

`datasets` finds the type of a column in the first rows of the first file. Where a later row, or
another file, has a list of parts for a text, it writes these as JSON, and the texts beside them in
quotes; a text that happens to be JSON it takes for its value. Chats are such rows.
"""

import itertools
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from datasets import Dataset, Features, Value, load_dataset_builder
from datasets.arrow_reader import ReadInstruction
from datasets.packaged_modules.json.json import Json

from moxin_recipes.recipe.strict import RecipeError


def load(folder: Path, config: str | None, split: str, key: str) -> Dataset | None:
    """Returns a split whose files are JSON, JSON Lines or an array; None if they are others.

    A text stays as it is, null too; everything else is its JSON text. Raises RecipeError, with the
    recipe `key`, the file and the line, for what is not JSON, and what `datasets` raises.
    """
    builder = load_dataset_builder(str(folder), config)
    wanted = split.partition("[")[0]
    if not isinstance(builder, Json) or wanted not in builder.config.data_files or "+" in split:
        return None
    files = [Path(file) for file in builder.config.data_files[wanted]]
    names: dict[str, None] = {}
    for file in files:
        for row in _checked(file, f"`{key}`: {_shown(file, folder)}"):
            names |= dict.fromkeys(row)
    if not names:
        raise RecipeError(f"`{key}`: {_shown(files[0], folder)} holds no rows")
    rows: Dataset = Dataset.from_generator(
        _texts,
        features=Features({name: Value("string") for name in names}),
        gen_kwargs={
            # No lists: their items would be shared out. Size and date tell files apart.
            "names": tuple(names),
            "files": tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files),
        },
    )
    if split == wanted:
        return rows
    (part,) = ReadInstruction.from_spec(split).to_absolute({wanted: len(rows)})
    return rows.select(range(part.from_, part.to))


def is_json(name: str) -> bool:
    """Returns whether a file's name says that it is JSON, packed or not."""
    return re.search(r"\.(json|jsonl|ndjson)(\.\w+)?$", name) is not None


def head(file: Path, name: str, key: str, count: int) -> list[dict[str, Any]]:
    """Returns the first `count` rows of a JSON file as they stand there.

    Raises RecipeError as `load` does, of these rows; `name` is the file's in the error.
    """
    return list(itertools.islice(_checked(file, f"`{key}`: {name}"), count))


def _texts(
    names: tuple[str, ...], files: tuple[tuple[str, int, int], ...]
) -> Iterator[dict[str, Any]]:
    for file, *_ in files:
        for _, row in _rows(Path(file)):
            yield {name: _text(row.get(name)) for name in names}


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # no half of a sign, which no text can hold
    return None if value is None else json.dumps(value)


def _checked(file: Path, where: str) -> Iterator[dict[str, Any]]:
    """The rows of a file, each an object; what is none is an error that says where it is."""
    try:
        for line, row in _rows(file):
            if not isinstance(row, dict):
                kind = type(row).__name__
                raise RecipeError(f"{where}, row {line}, is a {kind}; a row names its columns")
            yield row
    except json.JSONDecodeError as error:
        raise RecipeError(
            f"{where}, line {error.lineno}, is not JSON ({error.msg} at character {error.colno}); "
            "mend that line or take it out"
        ) from error
    except (EOFError, zlib.error, RecursionError) as error:
        raise RecipeError(f"{where} is damaged ({error}); take it out, or pack it anew") from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{where} is not UTF-8 (byte 0x{error.object[error.start]:02x}); save it as UTF-8"
        ) from error


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file with their numbers, from 1: of a line each, an array, or one object."""
    with fsspec.open(str(file), "rb", compression="infer") as stream:
        begun = stream.readline()
        while begun and not begun.strip():
            begun = stream.readline()
        first = _whole(begun)
        if isinstance(first, dict):
            yield 1, first
            yield from _lines(stream)
            return
        content = begun.decode("utf-8-sig") + stream.read().decode()
    if content.strip():
        given = json.loads(content)
        yield from enumerate(given if isinstance(given, list) else [given], 1)


def _lines(stream: Any) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, 2):
        text = line.decode()
        if text.strip():
            try:
                yield number, json.loads(text)
            except json.JSONDecodeError as error:  # its place in the file, not in the line
                error.lineno = number
                raise


def _whole(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (json.JSONDecodeError, RecursionError):
        return None


def _shown(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file.name)
