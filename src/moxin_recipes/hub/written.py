"""Splits of JSON and CSV files whose cells are as they are written there.

`datasets` finds the type of a column in the first rows of the first file. Where a later row, or
another file, has another kind, it writes a list as JSON, a text as a date, or refuses the file; its
own `Json` columns drop halves of signs and digits. Chats, pairs and problems are such rows.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from datasets import Dataset, Features, Value, concatenate_datasets, load_dataset_builder
from datasets.arrow_reader import ReadInstruction
from datasets.features.features import register_feature
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.json.json import Json

from moxin_recipes.hub import csv_rows, json_rows
from moxin_recipes.recipe.strict import RecipeError


@dataclass
class Written:
    """A column of any values: Arrow holds the JSON text of each, and a reader gets the value."""

    decode: bool = True
    pa_type: ClassVar[pa.DataType] = pa.string()
    _type: str = field(default="Written", init=False, repr=False)

    def __call__(self) -> pa.DataType:
        """Returns the type of what Arrow holds."""
        return self.pa_type

    def encode_example(self, value: Any) -> str:
        """Returns the JSON text of a value."""
        return json.dumps(value)

    def decode_example(self, text: str, token_per_repo_id: Any = None) -> Any:  # noqa: ARG002
        """Returns the value of a JSON text."""
        return json_rows.decoded(text)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the function is an experiment
    register_feature(Written, "Written")


def load(folder: Path, config: str | None, split: str, key: str) -> Dataset | None:
    """Returns a split whose files are JSON or CSV; None if they are others.

    Reading a cell gives the value that stands in the JSON file, or the text in the CSV file. Raises
    RecipeError, with the recipe `key`, the file and the line, for what cannot be read, and what
    `datasets` raises.
    """
    builder = load_dataset_builder(str(folder), config)
    names = {part.partition("[")[0].strip() for part in split.split("+")}
    given = builder.config.data_files or {}
    if not isinstance(builder, Json | Csv) or not names <= {*given}:
        return None
    delimiter = builder.config.sep if isinstance(builder, Csv) else ""
    whole = {name: _whole([*map(Path, given[name])], folder, key, delimiter) for name in names}
    parts = [
        whole[part.splitname].select(range(part.from_, part.to))
        for part in ReadInstruction.from_spec(split).to_absolute(
            {name: len(rows) for name, rows in whole.items()}
        )
    ]
    return concatenate_datasets(parts) if len(parts) > 1 else parts[0]


def is_written(rows: Dataset) -> bool:
    """Returns whether rows come from JSON, where a null is the author's and not a table's."""
    return any(isinstance(kind, Written) for kind in rows.features.values())


def _whole(files: list[Path], folder: Path, key: str, delimiter: str) -> Dataset:
    """The rows of all files, in the order of these, with the columns of all."""
    columns: dict[str, None] = {}
    for file in files:
        for row in _rows(file, f"`{key}`: {_shown(file, folder)}", delimiter):
            columns |= dict.fromkeys(row)
    if not columns:
        raise RecipeError(f"`{key}`: {_shown(files[0], folder)} holds no rows")
    kind = Value("string") if delimiter else Written()
    return Dataset.from_generator(
        _cells,
        features=Features(dict.fromkeys(columns, kind)),
        gen_kwargs={
            # No lists: their items would be shared out. Size and date tell files apart.
            "columns": tuple(columns),
            "files": tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files),
            "delimiter": delimiter,
        },
    )


def _cells(
    columns: tuple[str, ...], files: tuple[tuple[str, int, int], ...], delimiter: str
) -> Iterator[dict[str, Any]]:
    for file, *_ in files:
        for row in _rows(Path(file), file, delimiter):
            yield {name: row.get(name) for name in columns}


def _rows(file: Path, where: str, delimiter: str) -> Iterator[dict[str, Any]]:
    return csv_rows.rows(file, where, delimiter) if delimiter else json_rows.rows(file, where)


def _shown(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file.name)
