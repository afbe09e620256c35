"""What a card's metadata say of a repository: its tags, and what is wrong with them."""

from __future__ import annotations

from typing import Any

from dulwich.objects import ObjectID

from moxin_hub import front_matter, tree
from moxin_hub.front_matter import FrontMatterError, NotReadHere
from moxin_hub.repository import Repository

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
    text = tree.read(repository.objects, root, "README.md").decode(errors="replace")
    try:
        return front_matter.read(text)
    except FrontMatterError:
        return {}


def fault(text: str) -> str | None:
    """What is wrong with a card's metadata; None if nothing is, or if we cannot tell."""
    try:
        data = front_matter.read(text)
    except NotReadHere:
        return None
    except FrontMatterError as error:
        return str(error)
    licenses = data.get("license")
    for name in licenses if isinstance(licenses, list) else [licenses]:
        if name is not None and str(name) not in LICENSES:
            return f'"license" must be one of [{", ".join(sorted(LICENSES))}]'
    if not isinstance(data.get("model-index", []), list):
        return '"model-index" must be an array'
    return None


def warning(text: str) -> str | None:
    """What the maker of a card may want to know of its metadata, which are not wrong."""
    try:
        front_matter.read(text)
    except NotReadHere as error:
        return f"the local Hub does not read these metadata: {error}"
    except FrontMatterError:
        return None
    is_bare = not front_matter.split(text)[0].strip()
    return "empty or missing yaml metadata in repo card" if is_bare else None


def tags(data: dict[str, Any]) -> list[str]:
    """The tags that the metadata amounts to."""
    tags: dict[str, None] = {}  # in order, each once
    for name, prefix in _TAGGED.items():
        value = data.get(name)
        values = value if isinstance(value, list) else [value]
        tags |= {prefix + item: None for item in values if isinstance(item, str)}
    return list(tags)
