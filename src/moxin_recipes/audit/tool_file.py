"""A release as a file of the model openness tool.

The form is that of github.com/lfai/model_openness_tool, schema/mof_schema.json @f0b0c13b. The tool
takes each component that a file names as included, so only what is on the Hub is named; a
component without a stated licence is `unlicensed` there.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import RepoCard

from moxin_recipes import environment
from moxin_recipes.audit import framework
from moxin_recipes.audit.openness import Finding, Place
from moxin_recipes.audit.released import Release
from moxin_recipes.hub.licences import UNKNOWN
from moxin_recipes.hub.manifest import CARD
from moxin_recipes.hub.pull import Parent
from moxin_recipes.hub.session import api, errors


def write(release: Release, found: list[Finding]) -> Path:
    """Writes it below MOXIN_HOME; returns its path."""
    folder = environment.home() / "report"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{release.own.parent.repo.rpartition('/')[2]}.mof.yml"
    text = yaml.safe_dump(content(release, found), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    return path


def content(release: Release, found: list[Finding]) -> dict[str, Any]:
    """All of it. Dates are ISO; the version is the first 12 of the commit."""
    own = release.own.parent
    namespace, _, name = own.repo.rpartition("/")
    stated = RepoCard(release.own.card, ignore_metadata_errors=True).data.to_dict()
    base = stated.get("base_model") or ""
    with errors(own.repo):
        commits = api().list_repo_commits(own.repo, revision=own.commit)
    return {
        "framework": framework.version(),
        "release": {
            "name": name,
            "version": own.commit[:12],
            "date": commits[0].created_at.date().isoformat(),
            "type": "language" if stated.get("pipeline_tag") == "text-generation" else "",
            "architecture": "",
            "origin": ", ".join(map(str, base)) if isinstance(base, list) else str(base),
            "producer": namespace,
            "contact": "",
            "repository": "",
            "huggingface": f"{_hub()}/{own.repo}",
            "license": {},
            "components": [_component(one) for one in found if one.places],
        },
    }


def _component(one: Finding) -> dict[str, str]:
    place = one.places[0]
    unstated = any(part.license == UNKNOWN for part in one.parts) or not one.parts
    return {
        "name": one.component.name,
        "component_path": _address(place.artifact.parent, place.path),
        "license": "unlicensed" if unstated else one.license,
        "license_path": _license_path(place),
    }


def _license_path(place: Place) -> str:
    """The repository's licence file, else its card."""
    files = place.artifact.files
    path = next((p for p in files if p.upper().startswith("LICEN")), CARD)
    return _address(place.artifact.parent, path) if path in files else ""


def _address(parent: Parent, path: str) -> str:
    kind = "datasets/" if parent.type == "dataset" else ""
    return f"{_hub()}/{kind}{parent.repo}/blob/{parent.commit}/{path}"


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", environment.PUBLIC_ENDPOINT).rstrip("/")
