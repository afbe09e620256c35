"""Scores of all revisions of a repository, by the tokens that each had been trained on."""

import re
from collections.abc import Sequence
from typing import Any

from moxin_recipes.hub.pull import Parent, read_manifest
from moxin_recipes.scores.units import Line

Row = dict[str, Any]
_STEP = re.compile(r"step-(\d+)$")  # ends the name of a checkpoint's branch
_SHOWN = ("task", "metric", "value", "low", "high")


def points(lines: Sequence[Line], headlines: Sequence[Row]) -> list[Row]:
    """The headlines of `REPOSITORY@*`, each with its revision and tokens, in their order.

    `tokens` is None where no manifest says how many: then the curve is by the revisions' names.
    """
    parents = {line.model: line.parent for line in lines if line.asked.model.endswith("@*")}
    found = [
        {
            **{name: row[name] for name in _SHOWN},
            "repo": parents[row["model"]].repo,
            "revision": parents[row["model"]].revision,
            "tokens": tokens_seen(parents[row["model"]]),
        }
        for row in headlines
        if row["model"] in parents and row["value"] is not None
    ]
    return sorted(found, key=lambda row: (row["task"], row["tokens"] or 0, row["revision"]))


def tokens_seen(parent: Parent) -> int | None:
    """Tokens that a model was pretrained on, the stages before it included."""
    manifest = read_manifest(parent.repo, parent.type, parent.commit)
    if manifest is None:
        return None
    recipe, step = manifest["recipe"], _STEP.search(parent.revision)
    own = manifest.get("tokens") or 0
    if step:
        if "context_length" not in recipe:
            return None
        own = int(step[1]) * recipe["global_batch_size"] * recipe["context_length"]
    for before in manifest["parents"]:
        if before["key"] == "model_name_or_path":
            earlier = tokens_seen(Parent(**before))
            return None if earlier is None else earlier + own
    return own
