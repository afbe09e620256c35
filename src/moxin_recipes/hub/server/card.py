"""The metadata at the head of a README.md, in the part of YAML that cards are written in."""

from __future__ import annotations

import re
from typing import Any

from dulwich.objects import ObjectID

from moxin_recipes.hub.server import tree
from moxin_recipes.hub.server.card_yaml import Unsupported, YamlError, parse
from moxin_recipes.hub.server.errors import HubError
from moxin_recipes.hub.server.repository import Repository

_HEAD = re.compile(r"\s*---[ \t]*\r?\n(.*?\n|)---[ \t]*(?:\r?\n|$)", re.DOTALL)
_LARGEST_HEAD = 1 << 20  # characters
# Metadata whose values are tags of the repository, and what stands before each.
_TAGGED = {
    "license": "license:",
    "datasets": "dataset:",
    "base_model": "base_model:",
    "language": "",
    "tags": "",
    "library_name": "",
    "pipeline_tag": "",
    "task_categories": "task_categories:",
    "size_categories": "size_categories:",
}


def metadata(repository: Repository, root: ObjectID) -> dict[str, Any]:
    """What the card of a tree says of itself; nothing without a card that we can read."""
    try:
        blob = tree.find(repository.objects, root, "README.md").oid
        text = repository.objects.blob(blob).decode(errors="replace")
        return _parse(text)
    except (HubError, KeyError, YamlError, Unsupported):
        return {}


def fault(text: str) -> str | None:
    """What is wrong with a card's metadata; None if nothing is, or if we cannot tell."""
    try:
        _parse(text)
    except YamlError as error:
        return str(error)
    except Unsupported:
        return None
    return None


def tags(data: dict[str, Any]) -> list[str]:
    """The tags that the metadata amounts to."""
    found: list[str] = []
    for name, prefix in _TAGGED.items():
        value = data.get(name)
        values = value if isinstance(value, list) else [value]
        found += [prefix + item for item in values if isinstance(item, str)]
    return list(dict.fromkeys(found))


def _parse(text: str) -> dict[str, Any]:
    match = _HEAD.match(text)
    if match is None or not match[1].strip():
        return {}
    if len(match[1]) > _LARGEST_HEAD:
        raise Unsupported
    data = parse(match[1])
    if not isinstance(data, dict):
        raise YamlError("the metadata of a card is a mapping of names to values")
    return data
