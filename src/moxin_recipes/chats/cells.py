"""What a cell of a table holds: JSON texts, texts that are none, and nothing."""

import json
import math
from collections.abc import Mapping
from typing import Any


def parsed(value: Any) -> Any:
    """Returns what a text holds if it is a JSON list or object; everything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value


def nothing(value: Any) -> bool:
    """Returns whether a cell is empty: null, NaN, a blank text, an empty list, object or table."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, dict):
        return all(isinstance(column, list) and not column for column in value.values())
    return value is None or value == [] or _no_number(value)


def no_json(value: Any) -> bool:
    """Returns whether a cell of turns or tools, which may be a JSON text, is empty."""
    return nothing(parsed(value)) or (isinstance(value, str) and value.strip() == "null")


def filled(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of a table without the fields that are null inside of its cells.

    A table gives every object the fields of all others. In JSON a null is the author's.
    """
    return {name: _filled(cell) for name, cell in row.items()}


def whole(text: str) -> bool:
    """Returns whether a text is one: JSON may hold halves of signs, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _filled(cell: Any) -> Any:
    if isinstance(cell, dict):
        kept = {name: _filled(item) for name, item in cell.items()}
        return {name: item for name, item in kept.items() if item is not None}
    if isinstance(cell, list):
        return [_filled(item) for item in cell]
    return None if _no_number(cell) else cell


def _no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
