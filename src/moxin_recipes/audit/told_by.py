"""The shape of a manifest that anybody may have written: whole, and with what a replay needs."""

import re
from typing import Any

from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.keys import stages

_MAPPINGS = ("distributions", "metrics", "counts", "checkpoints", "release")
COMMIT = re.compile(r"[0-9a-f]{40}")


def is_whole(told: dict[str, Any]) -> bool:
    """Whether it has what `moxin verify` looks at."""
    files, came = told.get("files"), told.get("distributions") or {}
    release = told.get("release") or {}
    tables: list[Any] = [told.get("scores"), isinstance(release, dict) and release.get("scores")]
    return (
        all(isinstance(told.get(name) or {}, dict) for name in _MAPPINGS)
        and all(isinstance(table or [], list) for table in tables)
        and all(isinstance(row, dict) for table in tables for row in table or ())
        and all(isinstance(names, list) for names in came.values())
        and isinstance(told.get("payload"), str)
        and isinstance(told.get("key"), str)
        and isinstance(files, dict)
        and all(isinstance(one, dict) and {"sha256", "size"} <= set(one) for one in files.values())
    )


def says_how(told: dict[str, Any]) -> bool:
    """Whether a manifest says how it was made; those of other origins hold anything."""
    mappings = ("recipe", "launcher", "hardware", "code", "installed", "files")
    return (
        all(isinstance(told.get(name), dict) for name in mappings)
        and all(isinstance(told.get(name), str) for name in ("stage", "recipe_file"))
        and told["stage"] in stages()
        and {"processes", "threads"} <= told["hardware"].keys()
        and parents(told.get("parents")) is not None
    )


def parents(listed: Any) -> list[Parent] | None:
    """The pins of a manifest or an index; None where they are none."""
    try:
        pins = [Parent(**{name: str(value) for name, value in one.items()}) for one in listed or ()]
    except (TypeError, AttributeError):
        return None
    sound = all(pin.type in ("model", "dataset") and COMMIT.fullmatch(pin.commit) for pin in pins)
    return pins if sound else None
