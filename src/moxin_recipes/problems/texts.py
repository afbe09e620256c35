"""What a cell of a table says as a problem or as an answer.

A text is taken as it is. A whole number becomes its digits (`42`, and `42.0`, are `42`), another
finite one its shortest decimal; a date is written as in ISO 8601. A list of texts and numbers is
one answer of several values, joined by commas. Everything else (nothing, blanks, true, NaN, an
object, a long whole number that a reader made a float of, a text with half of a sign) is no answer.
Tests of programs may be an object: it becomes JSON. A problem is a text, or a chat of one turn of
the user, as TRL has its prompts.
"""

import datetime
import json
import math
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from moxin_recipes.chats.cells import parsed, whole

Said = tuple[str | None, str]  # a text, or None with the reason
HALF = "a half of a sign in a text"
_USER = ("user", "human")
_EXACT = 2**53  # from here on floats skip whole numbers, and hold 15 digits of each


def answer_of(value: Any, *, is_tests: bool = False) -> Said:
    """An answer as a text, or None with the reason why it is none."""
    if value is None:
        return None, "no answer"
    if isinstance(value, str):
        return _usable(value, "empty answer")
    if is_tests and isinstance(value, dict | list) and value:
        return _usable(json.dumps(value, ensure_ascii=False), "")
    if isinstance(value, list):
        parts = [answer_of(part)[0] for part in value]
        known = [part for part in parts if part is not None]
        return (", ".join(known), "") if known and len(known) == len(parts) else (None, "no answer")
    if isinstance(value, datetime.date | datetime.time):  # a text that a reader took for a date
        if isinstance(value, datetime.datetime) and value.time() == datetime.time():
            value = value.date()
        return value.isoformat(), ""
    return _digits(value)


def problem_of(value: Any) -> Said:
    """A problem as a text, or None with the reason why it is none."""
    if value is None:
        return None, "no problem"
    if turns := _turns(parsed(value)):
        role, said = turns[0]
        if len(turns) > 1 or role not in _USER or not isinstance(said, str):
            return None, "problem is a chat, and not one text of the user"
        value = said
    if not isinstance(value, str):
        return None, f"problem is a {type(value).__name__}"
    return _usable(value, "empty problem")


def _usable(text: str, empty: str) -> Said:
    if not text.strip():
        return None, empty
    return (text, "") if whole(text) else (None, HALF)


def _turns(value: Any) -> list[tuple[str, Any]]:
    """Who says what in a chat; nothing where a value is none."""
    turns = value if isinstance(value, list) else []
    if not all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in turns):
        return []
    return [
        (str(turn.get("role", turn.get("from"))), _said(turn.get("content", turn.get("value"))))
        for turn in turns
    ]


def _said(content: Any) -> Any:
    """The content of a turn, parts of text together."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    return "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else content


def _digits(value: Any) -> Said:
    number = isinstance(value, Real | Decimal) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        return None, f"answer is a {type(value).__name__}"
    if isinstance(value, Integral):
        return str(int(value)), ""
    shortest = Decimal(str(value))
    rounded = not isinstance(value, Decimal) and len(shortest.as_tuple().digits) > 15
    if rounded and abs(value) >= _EXACT:
        return None, "answer is a rounded number; write it as a text"
    text = f"{shortest:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return ("0" if text == "-0" else text), ""
