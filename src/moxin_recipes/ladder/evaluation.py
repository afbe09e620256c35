"""`moxin evaluate`: tasks on any model of a Hub, as a ladder of one stage that grows by use."""

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

from moxin_recipes import environment
from moxin_recipes.ladder import run
from moxin_recipes.recipe.strict import RecipeError

_FILE = "50-evaluate.yaml"
_HEAD = "# Written by `moxin evaluate`; it is a recipe as any other.\n"


def evaluate(model: str, lines: list[dict[str, Any]], keys: dict[str, Any]) -> Path:
    """Scores `lines` (evaluations without their model) on a model; the folder of the recipe.

    The recipe lies below MOXIN_HOME, one for each model. Lines of earlier calls with the same
    `keys` stay in it, so their scores stay in its repository; a call that fails adds nothing.
    """
    if not lines:
        raise RecipeError("`--tasks` or `--suite` is missing: there is nothing to evaluate")
    name = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-")
    name += "-" + hashlib.sha256(model.encode()).hexdigest()[:6]  # or two models had one folder
    folder = environment.home() / "evaluations" / name
    path = folder / _FILE
    before = path.read_text(encoding="utf-8") if path.exists() else None
    whole = {
        "stage": "evaluate",
        "models": [model],
        "evaluations": _with_earlier(before, [line | {"model": model} for line in lines], keys),
        "hub_scores_id": f"{name}-scores",
        **keys,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_HEAD + yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    try:
        run.run(folder)
    except BaseException:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")
        raise
    return folder


def _with_earlier(
    before: str | None, lines: list[dict[str, Any]], keys: dict[str, Any]
) -> list[dict[str, Any]]:
    """The lines of an earlier recipe with the same keys, then those that are new."""
    earlier = yaml.safe_load(before) if before else {}
    same = all(earlier.get(key) == keys.get(key) for key in ("limit", "dtype"))
    kept: list[dict[str, Any]] = earlier.get("evaluations", []) if same else []
    return kept + [line for line in lines if line not in kept]
