"""What a repository's moxin.json says of its making, for the page; the file is anybody's."""

from __future__ import annotations

import json
import re
from typing import Any

_ARTIFACT = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?/tree/[\w.-]{1,200}", re.ASCII)
_PREFIXES = {"model": "/", "dataset": "/datasets/"}
_FACTS = {"stage": "stage", "recipe_name": "recipe", "seconds": "seconds", "tokens": "tokens"}
_MOST = 40  # parents that are shown
_LONGEST = 120  # characters of one value


def read(text: str) -> dict[str, Any]:
    """`facts`, texts by name, and `parents`; {} where no manifest can be read."""
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(manifest, dict) or not isinstance(manifest.get("stage"), str):
        return {}
    parents = manifest.get("parents")
    return {
        "facts": {
            shown: _text(value)
            for name, shown in _FACTS.items()
            if isinstance(value := manifest.get(name), str | int | float)
        },
        "parents": [
            _parent(parent)
            for parent in (parents if isinstance(parents, list) else [])[:_MOST]
            if isinstance(parent, dict)
        ],
    }


def _parent(parent: dict[str, Any]) -> dict[str, str]:
    """An artifact that this one was made from; "" for its address if that cannot be trusted."""
    repo, commit, kind = (str(parent.get(name)) for name in ("repo", "commit", "type"))
    path = f"{repo}/tree/{commit}"
    address = _PREFIXES[kind] + path if kind in _PREFIXES and _ARTIFACT.fullmatch(path) else ""
    key = _text(parent.get("key", ""))
    return {"repo": repo[:_LONGEST], "commit": commit[:8], "key": key, "address": address}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        return f"{value:,}"
    return str(value)[:_LONGEST]
