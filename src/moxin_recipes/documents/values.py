"""The values of a JSON text: the items of an array, or values one after another."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from moxin_recipes.documents.unpacked import Aside

_SPACE = re.compile(r"\s*")
_BETWEEN = re.compile(r"[\s,]*")


def of(pieces: Iterator[str], aside: Aside) -> Iterator[Any]:
    """Values in their order, as soon as each is read; what no value can be read of goes aside.

    Of a text that begins with `[` these are the array's items.
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
            added = "".join(itertools.islice(pieces, more))
            if added:
                buffer, at, more = buffer[at:] + added, 0, 2 * more
                continue
            rest = buffer[at:].strip()
            if rest or is_array:
                reason = str(error) if rest else "the array has no end"
                aside("broken JSON", f"#{number} and what follows", f"{reason}: {rest[:1000]}")
            return
        yield value
        at, number, more = after, number + 1, 1


def _end(pattern: re.Pattern[str], buffer: str, at: int) -> int:
    """Where a pattern that may match nothing ends."""
    found = pattern.match(buffer, at)
    return found.end() if found else at
