"""Plain data as JSON, for two processes of which one trusts nothing that the other sends.

What JSON has stands for itself: None, bool, str, list, float (with nan and inf), and int up to 64
bits. Everything else is an object with one key, its kind: `{"tuple": […]}`. Reading makes values of
exactly these types and runs nothing, unlike pickle. So an `int` with an `__eq__` of its own is sent
as a number, and arrives as an `int`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_LARGE = 2**63  # a larger integer is sent as hexadecimal digits, which have no limit in Python


def pack(value: Any) -> Any:
    """Returns `value` as JSON can hold it; raises TypeError if it is no plain data.

    Subclasses count as what they extend (a `Counter` as a dict), and a number of numpy as Python's.
    """
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if -_LARGE < value < _LARGE else {"int": hex(value)}
    if isinstance(value, list):
        return [pack(part) for part in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [pack(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(part)] for key, part in value.items()]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if isinstance(value, np.generic):
        return pack(value.item())
    raise TypeError(f"{type(value).__name__} is no plain data")


def unpack(value: Any) -> Any:
    """Returns the value of `pack`'s JSON; raises an Exception of any kind for other JSON."""
    if isinstance(value, list):
        return [unpack(part) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return _MAKERS[kind](content)


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda digits: int(digits, 16),
    "tuple": lambda parts: tuple(unpack(part) for part in parts),
    "set": lambda parts: {unpack(part) for part in parts},
    "frozenset": lambda parts: frozenset(unpack(part) for part in parts),
    "dict": lambda pairs: {unpack(key): unpack(part) for key, part in pairs},
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
}
