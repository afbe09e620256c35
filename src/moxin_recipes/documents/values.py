"""The values of a JSON text: the items of an array, or values one after another."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from moxin_recipes.documents.unpacked import Aside

_SPACE = re.compile(r"\s*")
_BETWEEN = re.compile(r"[\s,]*")
_NEXT = re.compile(r"\}\s*,?\s*(?=\{)")  # where an object ends and the next one begins
_LONGEST = 20_000_000  # characters of a value that are waited for
# What may be missing at the end of a piece: part of a word, of a number, of an escape.
_CUT = 12


def of(pieces: Iterator[str], aside: Aside) -> Iterator[Any]:
    """Values in their order, as soon as each is read; what no value can be read of goes aside.

    Of a text that begins with `[` these are the array's items. After a broken one reading goes on
    with the next object.
    """
    decode = json.JSONDecoder().raw_decode
    pieces = filter(None, pieces)
    buffer = next(filter(str.strip, pieces), "")
    at = _end(_SPACE, buffer, 0)
    is_array = buffer[at : at + 1] == "["
    at += is_array
    number, more = 0, 1  # pieces to read at a time: twice as many while a value is not whole
    while True:
        at = _end(_BETWEEN, buffer, at)
        if is_array and buffer[at : at + 1] == "]":
            is_array, at = False, at + 1
            continue
        try:
            value, after = decode(buffer, at)
        except (json.JSONDecodeError, RecursionError) as error:
            following = _NEXT.search(buffer, at) if _is_broken(error, buffer, at) else None
            added = "" if following else "".join(itertools.islice(pieces, more))
            if added:
                buffer, at, more = buffer[at:] + added, 0, 2 * more
                continue
            following = following or _NEXT.search(buffer, at)
            end = following.end() if following else len(buffer)
            rest = buffer[at:end].strip()
            if rest or is_array:
                place = f"#{number}" + ("" if following else " and what follows")
                reason = str(error) if rest else "the array has no end"
                aside("broken JSON", place, f"{reason}: {rest[:1000]}")
            if not following:
                return
            at, number, more = end, number + 1, 1
            continue
        yield value
        at, number, more = after, number + 1, 1


def _is_broken(error: json.JSONDecodeError | RecursionError, buffer: str, at: int) -> bool:
    """Whether more text would not help: the fault stands before the end, or that is far away."""
    if isinstance(error, RecursionError) or len(buffer) - at > _LONGEST:
        return True
    return not error.msg.startswith("Unterminated string") and error.pos < len(buffer) - _CUT


def _end(pattern: re.Pattern[str], buffer: str, at: int) -> int:
    """Where a pattern that may match nothing ends."""
    found = pattern.match(buffer, at)
    return found.end() if found else at
