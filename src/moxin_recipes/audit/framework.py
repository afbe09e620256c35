"""The Model Openness Framework as data: its classes, its components, the licences it takes."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_DATA = Path(__file__).parent / "openness.yaml"
REPORT, PAPER = "Technical report", "Research paper"  # the paper stands for the report, too
# By SPDX: what the Hub calls some licences (huggingface.co/docs/hub/repositories-licenses), and how
# packages name some that have one meaning (a `BSD License` has none).
_NAMES = {
    "apache 2.0 license": "Apache-2.0",
    "the mit license (mit)": "MIT",
    "c-uda": "C-UDA-1.0",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "openmdw": "OpenMDW-1.0",
    "pddl": "PDDL-1.0",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v2 (lgplv2)": "LGPL-2.0-only",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
}


@dataclass(frozen=True)
class Component:
    """One of the seventeen; `at`, `each`, `files` and `says` tell where it is looked for."""

    name: str
    kind: str  # code, data or document
    of_class: int  # 3, 2 or 1; each class wants what the classes of higher numbers want, too
    required: bool
    at: tuple[str, ...]
    each: bool
    files: re.Pattern[str]
    says: re.Pattern[str]


@functools.cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(_DATA.read_text(encoding="utf-8"))
    return data


def version() -> dict[str, str]:
    """Name, version and date (ISO) of the framework, as the tool's files state them."""
    return dict(_data()["framework"])


def classes() -> dict[int, str]:
    """Number → name, from the one that wants least (3) to the one that wants most (1)."""
    return dict(_data()["classes"])


@functools.cache
def components() -> tuple[Component, ...]:
    """All components, in the order of the tool's files."""
    return tuple(
        Component(
            name=one["name"],
            kind=one["kind"],
            of_class=one["class"],
            required=one["required"],
            at=tuple(one["at"]),
            each=one.get("each", False),
            files=re.compile(one["files"], re.IGNORECASE),
            says=re.compile(one["says"], re.IGNORECASE | re.MULTILINE),
        )
        for one in _data()["components"]
    )


def spdx(name: str) -> str:
    """A licence's name as the framework's lists write it; what is in none stays as it is."""
    return _known().get(name.lower(), name)


@functools.cache
def _known() -> dict[str, str]:
    lists, _ = _licenses()
    return _NAMES | {each.lower(): each for ids in lists.values() for each in ids}


@functools.cache
def accepts(license: str, kind: str) -> bool | None:
    """Whether an open licence covers a component: True, None where it is made for another kind.

    `license` is an identifier, or identifiers joined by AND (each has to be open) or by OR (the
    best one counts). Parentheses are not followed, which never makes more of it. What the framework
    does not know is False.
    """
    if spdx(license) != license:  # a classifier's name has an " or " of its own
        license = spdx(license)
    if " AND " in license.upper():
        parts = [accepts(part, kind) for part in _split(license, "AND")]
        return False if False in parts else None if None in parts else True
    if " OR " in license.upper():
        parts = [accepts(part, kind) for part in _split(license, "OR")]
        return True if True in parts else None if None in parts else False
    everything, kinds = _licenses()
    name = spdx(license.strip("() "))
    if name in kinds[kind]:
        return True
    return None if any(name in ids for ids in everything.values()) else False


def _split(license: str, word: str) -> list[str]:
    return re.split(rf"\s+{word}\s+", license.strip("() "), flags=re.IGNORECASE)


@functools.cache
def _licenses() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """The lists by their names, and what is made for each kind."""
    lists = {
        name: frozenset(ids.split() if isinstance(ids, str) else ids)
        for name, ids in _data()["licenses"].items()
    }
    kinds = {
        "code": lists["osi"] | lists["any"],
        "data": lists["data"] | lists["open_data"] | lists["any"],
        "document": lists["document"] | lists["any"],
    }
    return lists, kinds
