"""The shape of a manifest that anybody may have written: whole, and with what a replay needs."""

import math
import re
from typing import Any

from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.keys import stages

COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST = 1e300  # of a whole number that is shown as others are


def _number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < _MOST)


def _finite(value: Any) -> bool:
    return _number(value) and math.isfinite(value)


def _variable(value: Any) -> bool:
    """What a process can be given."""
    return isinstance(value, str) and "\0" not in value


def _threads(value: Any) -> bool:
    return isinstance(value, int) and 0 < value < 2**15


# A shape is a type or a test; a tuple of shapes, of which one fits; a list, of the shape of its
# items; the shapes of keys by their names (those that are not there are None); or that of all
# values, by `...`.
_TEXT = (None, str)
_BETWEEN = {"low": (None, _number), "high": (None, _number)}
_ESTIMATE = (None, {"value": _number, **_BETWEEN})
_WHOLE = {
    "payload": str,
    "key": str,
    "files": {...: {"sha256": str, "size": int}},
    "distributions": (None, {...: [str]}),
    "metrics": (None, dict),
    "counts": (None, dict),
    "checkpoints": (None, dict),
    "contamination": (None, [{}]),
    "scores": (None, [_BETWEEN]),
    "release": (
        None,
        {
            "scores": (None, [{"before": _ESTIMATE, "after": _ESTIMATE}]),
            "data": (None, [{"licenses": (None, [str])}]),
            "evaluation_items": (None, [{}]),
            "costs": (
                None,
                [{"seconds": _finite, "energy_kwh": (None, _number), "price": (None, _number)}],
            ),
        },
    ),
}
_HOW = {
    "stage": str,
    "recipe_file": str,
    "namespace": (None, _variable),
    "recipe": dict,
    "launcher": dict,
    "installed": dict,
    "files": dict,
    "hardware": {"processes": int, "threads": (None, _threads)},
    "code": dict.fromkeys(("version", "commit", "address", "patch"), _TEXT),
    "metrics": (None, dict),
    "items": (None, {...: (None, [_number])}),
}


def is_whole(told: dict[str, Any]) -> bool:
    """Whether it has what `moxin verify` looks at."""
    return _fits(told, _WHOLE)


def says_how(told: dict[str, Any]) -> bool:
    """Whether a manifest says how it was made; those of other origins hold anything."""
    return (
        _fits(told, _HOW) and told["stage"] in stages() and parents(told.get("parents")) is not None
    )


def _fits(value: Any, shape: Any) -> bool:
    if shape is None or isinstance(shape, type):
        return value is None if shape is None else isinstance(value, shape)
    if isinstance(shape, tuple):
        return any(_fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(one, shape[0]) for one in value)
    if not isinstance(shape, dict):
        return bool(shape(value))
    if not isinstance(value, dict):
        return False
    if ... in shape:
        return all(_fits(one, shape[...]) for one in value.values())
    return all(_fits(value.get(name), inner) for name, inner in shape.items())


def parents(listed: Any) -> list[Parent] | None:
    """The pins of a manifest or an index; None where they are none."""
    try:
        pins = [Parent(**{name: str(value) for name, value in one.items()}) for one in listed or ()]
    except (TypeError, AttributeError):
        return None
    sound = all(pin.type in ("model", "dataset") and COMMIT.fullmatch(pin.commit) for pin in pins)
    return pins if sound else None
