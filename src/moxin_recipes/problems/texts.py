"""What a cell of a table says as a problem or as an answer.

A text is taken as it is. A whole number becomes its digits (`42`, and `42.0`, are `42`), another
finite one its shortest decimal; a date is written as in ISO 8601. A list of texts and numbers is
one answer of several values, joined by commas. Everything else (nothing, blanks, true, NaN, an
object) is no answer, and a problem is a text. Tests of programs may be an object: it becomes JSON.
"""

import datetime
import json
import math
from decimal import Decimal
from numbers import Real
from typing import Any

Said = tuple[str | None, str]  # a text, or None with the reason


def answer_of(value: Any, *, is_tests: bool = False) -> Said:
    """An answer as a text, or None with the reason why it is none."""
    if value is None:
        return None, "no answer"
    if isinstance(value, str):
        return (value, "") if value.strip() else (None, "empty answer")
    if is_tests and isinstance(value, dict | list) and value:
        return json.dumps(value, ensure_ascii=False), ""
    if isinstance(value, list):
        parts = [answer_of(part)[0] for part in value]
        known = [part for part in parts if part is not None]
        return (", ".join(known), "") if known and len(known) == len(parts) else (None, "no answer")
    if isinstance(value, datetime.date | datetime.time):  # a text that a reader took for a date
        if isinstance(value, datetime.datetime) and value.time() == datetime.time():
            value = value.date()
        return value.isoformat(), ""
    text = _digits(value)
    return (text, "") if text is not None else (None, f"answer is a {type(value).__name__}")


def problem_of(value: Any) -> Said:
    """A problem as a text, or None with the reason why it is none."""
    if value is None:
        return None, "no problem"
    if not isinstance(value, str):
        return None, f"problem is a {type(value).__name__}"
    return (value, "") if value.strip() else (None, "empty problem")


def _digits(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    if not math.isfinite(value):
        return None
    whole = int(value)  # type: ignore[arg-type]
    return str(whole) if value == whole else str(value)
