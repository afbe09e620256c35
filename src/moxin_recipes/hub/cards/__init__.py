"""All text of cards: the README.md of a push is `card.md`, filled from its manifest.

A release has `release.md` around it.
"""

import json
import math
import shlex
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader

from moxin_recipes import environment
from moxin_recipes.hub.cards import gguf, metadata, rows, usage
from moxin_recipes.hub.cards.tables import cell, cost, span
from moxin_recipes.hub.pull import GGUF
from moxin_recipes.recipe.strict import parse

_PAGES = Environment(  # noqa: S701 (it is Markdown)
    loader=FileSystemLoader(Path(__file__).parent),
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals |= {"long": 12, "cell": cell, "cost": cost, "span": span}


def render(
    repo: str, repo_type: str, manifest: dict[str, Any], folder: Path, revision: str = "main"
) -> str:
    """The whole card, front matter included, as Markdown; `revision` is where it will stand."""
    if manifest["stage"] == GGUF:
        return gguf.render(repo, manifest)
    page = "release.md" if manifest["stage"] == "release" else "card.md"
    model = repo_type == "model"
    return _PAGES.get_template(page).render(
        repo=repo,
        repo_type=repo_type,
        at=repo if revision == "main" else f"{repo}@{revision}",
        m=manifest,
        tables=rows.of(manifest),
        summary=manifest["summary"],
        use=usage.of(repo, manifest, folder, revision) if model else None,
        limits=usage.limits(manifest, folder) if model else [],
        is_local=environment.is_local(),
        flags=flags(manifest["flags"]),
        launcher=_dumped(manifest["launcher"]),
        metadata=_dumped(metadata.of(repo, repo_type, manifest, folder)),
        recipe=_dumped(manifest["recipe"]),
    )


def _dumped(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).strip()


def flags(values: dict[str, Any]) -> str:
    """The command line's keys of a stage as they are written there, each behind a space."""
    written = {key: _plain(value) for key, value in values.items()}
    return "".join(
        f" --{key}{'=' if value.startswith('-') else ' '}{shlex.quote(value)}"
        for key, value in written.items()
    )


def _plain(value: Any) -> str:
    """A value as one line of YAML, which reads as the same value."""
    line = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True
    )
    line = line.removesuffix("...\n").strip()
    return line if parse(line) == value else json.dumps(value, ensure_ascii=False)
