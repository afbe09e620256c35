"""A look at the first rows of each file, before anything runs: is there any text to be read?"""

import itertools
import logging
from pathlib import Path
from typing import Any

from moxin_recipes.documents.kinds import kind_of
from moxin_recipes.documents.readers import file_rows, text_of
from moxin_recipes.recipe.keys.data import Source
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
_FILES = 200  # of a source that are looked at
_ROWS = 100  # of each file
_SHOWN = 3
Row = dict[str, Any]


def prove(source: Source, key: str, folder: Path, files: list[str]) -> None:
    """Looks at the first rows of the first files; some text must be in them.

    A file that cannot be read is named in the log, where others can.

    Raises:
        RecipeError: the rows of a file do not have the text that the source names; no file can be
            read.
    """
    looked_at = files[:_FILES]
    faults = [fault for file in looked_at if (fault := _fault(source, key, folder, file))]
    if faults and len(faults) == len(looked_at):
        more = f" (and {len(faults) - 1} more files)" if len(faults) > 1 else ""
        raise RecipeError(f"`{key}`: {faults[0]}{more}")
    for fault in faults[:_SHOWN]:
        log.warning("  %s: %s (set aside)", key, fault)
    if len(faults) > _SHOWN:
        log.warning("  %s: %d more files set aside", key, len(faults) - _SHOWN)
    texts = [file for file in looked_at if (kind_of(file) or ("",))[0] == "text"]
    if source.separator and texts and not any(_is_divided(source, folder, one) for one in texts):
        log.warning("  `%s.separator` stands in no file: each is one document", key)


def _is_divided(source: Source, folder: Path, file: str) -> bool:
    rows = file_rows(folder / file, vars(source), lambda *_: None)
    return len(list(itertools.islice(rows, 2))) > 1


def _fault(source: Source, key: str, folder: Path, file: str) -> str | None:
    """Why nothing can be read of a file; None where something can."""
    given, asides = vars(source), list[str]()

    def aside(reason: str, where: str, left: str) -> None:
        asides.append(f"{file}{where}: {reason}" + (f": {_short(left)}" if left else ""))

    for _, row in itertools.islice(file_rows(folder / file, given, aside), _ROWS):
        text = text_of(row, given)
        if isinstance(text, str) and text:
            return None
    asides.clear()
    # For the names of what is there instead: of a parquet file only the wanted columns were read.
    all_columns = file_rows(folder / file, given, aside, every_column=True)
    rows = [row for _, row in itertools.islice(all_columns, _ROWS) if isinstance(row, dict)]
    columns = _columns(rows)
    if source.text_template is None and columns.get(source.text_column, 0) in (None, ""):
        return f"{file}: the column {source.text_column} of its first rows holds nothing"
    if rows:
        raise RecipeError(_without_text(source, key, file, columns))
    return asides[0] if asides else f"{file}: holds no text"


def _columns(rows: list[Row]) -> Row:
    """Column → a value of it, where there is one."""
    columns: Row = {}
    for row in rows:
        columns |= {name: value for name, value in row.items() if columns.get(name) in (None, "")}
    return columns


def _without_text(source: Source, key: str, file: str, columns: Row) -> str:
    """What the rows have instead of the text that was asked for, and the way out."""
    are = f"columns are {_short(', '.join(columns))}"
    if source.text_template is not None:
        return f"`{key}.text_template` renders no row of {file}: {are}"
    wanted = source.text_column
    if wanted not in columns:
        text = [name for name, value in columns.items() if isinstance(value, str)]
        which = f" to the one with the text, such as {text[0]}" if text else ""
        return (
            f"`{key}.text_column`: {file} has no column {wanted}: {are}: set `text_column`{which}"
        )
    return (
        f"`{key}.text_column`: the column {wanted} of {file} holds {_word(columns[wanted])} and no "
        f"text: {are}: set `text_column` to a column of text or to a field in one (COLUMN.FIELD), "
        "or `text_template`"
    )


def _word(value: Any) -> str:
    """What a value is, for people."""
    if isinstance(value, dict):
        return f"objects ({_short(', '.join(value))})"
    names = {bool: "true and false", int: "numbers", float: "numbers", list: "lists"}
    return names.get(type(value), type(value).__name__)


def _short(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= 200 else shown[:199] + "…"
