"""All text of cards: the README.md of a push is `card.md`, filled from its manifest."""

import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template

from moxin_recipes.hub import licences
from moxin_recipes.hub.cards import gguf
from moxin_recipes.hub.cards.tables import cell, interval
from moxin_recipes.hub.pull import GGUF
from moxin_recipes.recipe.strict import parse

_PAGE = Path(__file__).parent / "card.md"


def render(repo: str, repo_type: str, manifest: dict[str, Any], folder: Path) -> str:
    """The whole card, front matter included, as Markdown."""
    if manifest["stage"] == GGUF:
        return gguf.render(repo, manifest)
    template = Template(_PAGE.read_text(encoding="utf-8"), keep_trailing_newline=True)
    metadata = _metadata(repo_type, manifest, folder)
    page: str = template.render(
        repo=repo,
        repo_type=repo_type,
        m=manifest,
        cell=cell,
        interval=interval,
        parts=[licences.Part(**part) for part in manifest["licenses"]],
        summary=manifest["summary"],
        flags=flags(manifest["flags"]),
        launcher=yaml.safe_dump(manifest["launcher"], sort_keys=False).strip(),
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        recipe=yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True).strip(),
    )
    return page


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


def _metadata(repo_type: str, manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        **licences.metadata(manifest["licenses"]),
        "tags": ["moxin-recipes", manifest["stage"]],
    }
    parents = manifest["parents"]
    if repo_type == "model":
        metadata["library_name"] = "transformers"
        models = [p["repo"] for p in parents if p["key"] == "model_name_or_path"]
        if models:
            metadata["base_model"] = sorted(set(models))
        if (folder / "config.json").exists():
            metadata["pipeline_tag"] = "text-generation"
    else:
        metadata["configs"] = _configs(folder)
    datasets = sorted({p["repo"] for p in parents if p["type"] == "dataset"})
    if datasets and repo_type == "model":
        metadata["datasets"] = datasets
    return metadata


def _configs(folder: Path) -> list[dict[str, Any]]:
    """`CONFIG/SPLIT.parquet` (or `SPLIT.parquet` for the one default) as load_dataset wants it.

    A split may have several files, `SPLIT-00000.parquet` and on, which may be in sub-folders that
    are numbers. They get one pattern: clients look up each path of a list by itself.
    """
    configs: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        relative = path.relative_to(folder)
        first, rest = relative.parts[:-1][:1], relative.parts[1:-1]
        above = [*first, *(part for part in rest if not part.isdecimal())]
        split = re.sub(r"(-\d{5})+$", "", path.stem)
        numbered = [f"{split}-[0-9]*.parquet" if split != path.stem else path.name]
        inside = ["[0-9]*"] * (len(relative.parts) - 1 - len(above))
        paths = configs.setdefault("-".join(above) or "default", {}).setdefault(split, [])
        if (pattern := "/".join([*above, *inside, *numbered])) not in paths:
            paths.append(pattern)
    return [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": paths} for split, paths in splits.items()],
        }
        for name, splits in configs.items()
    ]
