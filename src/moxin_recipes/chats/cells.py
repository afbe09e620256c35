"""What a cell of a table holds: JSON texts, and texts that are none."""

import json
from typing import Any


def parsed(value: Any) -> Any:
    """Returns what a text holds if it is a JSON list or object; everything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value


def whole(text: str) -> bool:
    """Returns whether a text is one: JSON may hold halves of signs, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
