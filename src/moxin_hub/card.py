"""The metadata at the head of a README.md, in the part of YAML that cards are written in."""

from __future__ import annotations

import re
from typing import Any

from dulwich.objects import ObjectID

from moxin_hub import tree
from moxin_hub.card_yaml import Unsupported, YamlError, parse
from moxin_hub.errors import HubError
from moxin_hub.repository import Repository

_HEAD = re.compile(r"\s*---[ \t]*\r?\n(.*?\n|)---[ \t]*(?:\r?\n|$)", re.DOTALL)
_LARGEST_HEAD = 1 << 18  # characters
# The names that the public Hub has for licences (huggingface.co/docs/hub/repositories-licenses).
_LICENSES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 "
    "bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause "
    "bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 "
    "cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 "
    "cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 "
    "eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research "
    "intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 "
    "openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr "
    "deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 "
    "llama3.3 llama4 grok2-community gemma unknown other"
)
LICENSES = frozenset(_LICENSES.split())
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
        data = _parse(text)
    except YamlError as error:
        return str(error)
    except Unsupported:
        return None
    licenses = data.get("license")
    for name in licenses if isinstance(licenses, list) else [licenses]:
        if name is not None and str(name) not in LICENSES:
            return f'"license" must be one of [{", ".join(sorted(LICENSES))}]'
    if not isinstance(data.get("model-index", []), list):
        return '"model-index" must be an array'
    return None


def is_bare(text: str) -> bool:
    """Whether a card has no metadata, or none between its dashes."""
    match = _HEAD.match(text)
    return match is None or not match[1].strip()


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
