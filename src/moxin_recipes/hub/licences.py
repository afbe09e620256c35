"""Licences of what is pushed: those of the text and models it was made of. None is invented.

An output is made of *parts*: what its stage brings itself (texts of a source, generated rows), and
the parts of each parent. A repository that these recipes did not make is one part, under the
licence that its card states. What a stage only measures with is no part of its result.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import yaml
from huggingface_hub import RepoCard

from moxin_recipes.hub.manifest import CARD
from moxin_recipes.hub.pull import Parent, read_manifest, read_text

UNKNOWN = "unknown"
OURS = "Apache-2.0"  # of what the recipes themselves generate
# Names under which packages and cards declare licences that SPDX has an identifier for.
_NAMES = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-3-clause license": "BSD-3-Clause",
    "isc": "ISC",
    "isc license (iscl)": "ISC",
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psf-2.0": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
# Those that a card may name as its `license` (huggingface.co/docs/hub/repositories-licenses).
_HUBS = """
apache-2.0 mit bsd-2-clause bsd-3-clause isc mpl-2.0 unlicense odc-by cc0-1.0 cc-by-3.0 cc-by-4.0
cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 agpl-3.0
unknown
"""
_OF_THE_HUB = frozenset(_HUBS.split())
_NO_NAMES = """
unknown|other|none|null|n/a|unlicensed|license|licence|?|tbd|noassertion|no license|no licence|not
specified|unspecified|true|false
"""
_NOTHING = frozenset(["", *_NO_NAMES.replace("\n", " ").strip().split("|")])
_NON_COMMERCIAL = re.compile(
    r"\bNC(?:\b|\d)|\bBY[- ]?NC|non-?\s?commercial|personal use|academic"
    r"|research[- ](?:only|purposes?)|evaluation[- ]only",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"^other\b|proprietary|all rights reserved|^private\b|confidential|see license"
    r"|licenseref-unknown",
    re.IGNORECASE,
)


@dataclass(frozen=True, order=True)
class Part:
    """A licence, and what it is of: a repository's commit, or a source of the stage."""

    license: str
    of: str

    @property
    def barrier(self) -> str:
        """Why it may not be published without a word: `non-commercial`, `not known`, or ""."""
        if _NON_COMMERCIAL.search(self.license.replace("_", " ")):
            return "non-commercial"
        return "not known" if UNKNOWN in self.license.split(" AND ") else ""

    def __str__(self) -> str:
        """As errors name it, and as a recipe accepts it."""
        return f"{self.of} ({self.license})"


def named(declared: Any) -> str:
    """The SPDX identifier of a declared licence, else the declaration itself, or `unknown`.

    `declared` is what a card, a package or a row says: a text, a list of them, or nothing.
    """
    if isinstance(declared, list | tuple):
        names = sorted({named(one) for one in declared})
        return " AND ".join(names) if names else UNKNOWN
    text = "" if isinstance(declared, dict) else " ".join(str(declared or "").split())
    if text.lower() in _NOTHING or _OTHER.search(text):
        return UNKNOWN
    return _NAMES.get(text.lower(), text)


def of_parent(parent: Parent) -> list[Part]:
    """The parts of an input: those of its manifest, else the one that its card states."""
    manifest = read_manifest(parent.repo, parent.type, parent.commit)
    card = ""
    if manifest is None:
        card = read_text(parent.repo, parent.type, parent.commit, CARD) or ""
    return parts_of(f"{parent.repo}@{parent.commit[:12]}", manifest, card)


def parts_of(place: str, manifest: dict[str, Any] | None, card: str) -> list[Part]:
    """The parts of what is at `place` (`repo@commit`), by its manifest or else by its card."""
    if manifest is not None:  # one that says nothing is of a time when cards invented a licence
        return [
            Part(**part) for part in manifest.get("licenses", [{"license": UNKNOWN, "of": place}])
        ]
    stated, _ = read_card(card)
    declared, link = stated.get("license"), str(stated.get("license_link") or "")
    if str(declared).strip().lower() == "other":
        declared = stated.get("license_name")
        if _NON_COMMERCIAL.search(link.replace("_", " ")):
            declared = f"{declared} ({link})" if declared else link
    return [Part(named(declared), place)]


def read_card(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card; all is text where its metadata cannot be read."""
    try:
        read = RepoCard(card)
    except (ValueError, yaml.YAMLError):
        return {}, card
    return read.data.to_dict(), str(read.text)


def listed(parts: Iterable[Part]) -> list[dict[str, str]]:
    """Parts as the manifest has them: each once, in order."""
    return [asdict(part) for part in sorted(set(parts))]


def is_listed(found: Any) -> bool:
    """Whether a manifest's licences are as `listed` writes them."""
    return isinstance(found, list) and all(
        isinstance(one, dict)
        and one.keys() == {"license", "of"}
        and all(isinstance(text, str) for text in one.values())
        for one in found
    )


def metadata(parts: list[dict[str, str]]) -> dict[str, str]:
    """A card's `license`: that of all parts, where the Hub knows it; else `other`, and where."""
    names = {part["license"] for part in parts} or {UNKNOWN}
    if len(names) == 1 and min(names).lower() in _OF_THE_HUB:
        return {"license": min(names).lower()}
    name = "several" if len(names) > 1 else "as-stated"
    return {"license": "other", "license_name": name, "license_link": "#licences"}
