"""The metadata of a card: what a Hub files, filters and links a repository by."""

import re
from pathlib import Path
from typing import Any

from moxin_recipes.hub import licences

# The stages that train the weights of `model_name_or_path` further.
_TRAIN = ("pretrain", "sft", "dpo", "grpo")


def of(repo: str, repo_type: str, manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A card's front matter; `folder` holds the files that are pushed with it."""
    found: dict[str, Any] = {
        **licences.metadata(manifest["licenses"]),
        "tags": ["moxin-recipes", manifest["stage"]],
    }
    if repo_type != "model":
        return {**found, "configs": configs(folder)}
    found |= {"library_name": "transformers", **_base_model(repo, manifest, folder)}
    if (folder / "config.json").exists():
        found["pipeline_tag"] = "text-generation"
    datasets = {p["repo"] for p in manifest["parents"] if p["type"] == "dataset"}
    return {**found, **({"datasets": sorted(datasets)} if datasets else {})}


def _base_model(repo: str, manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`base_model`, and its relation where the Hub has a word for it.

    It has four: finetune, adapter, merge and quantized
    (https://huggingface.co/docs/hub/model-cards#specifying-a-base-model). A release holds the
    weights of another repository as they are, so it has that one's.
    """
    of_weights = (manifest.get("release") or {}).get("weights") or manifest
    bases = {
        parent["repo"]
        for parent in of_weights["parents"]
        if parent["key"] in ("model_name_or_path", *(["models"] * (of_weights["stage"] == "init")))
    } - {repo}
    if not bases:
        return {}
    relation = None
    if (folder / "adapter_config.json").exists():
        relation = "adapter"
    elif of_weights["stage"] in _TRAIN:
        relation = "finetune"
    elif (of_weights.get("recipe") or {}).get("method") == "average":
        relation = "merge"
    return {"base_model": sorted(bases), **({"base_model_relation": relation} if relation else {})}


def configs(folder: Path) -> list[dict[str, Any]]:
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
