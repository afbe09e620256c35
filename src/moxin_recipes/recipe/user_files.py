"""Files of the user's own that a recipe names, and that decide its result as its keys do."""

import hashlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

from moxin_recipes.recipe import benchmarks
from moxin_recipes.recipe.base import TEMPLATES
from moxin_recipes.recipe.strict import RecipeError, parse


def digests(values: dict[str, Any]) -> dict[str, str]:
    """What the recipe says → sha256 (hex) of the file: a chat template, a reward's module.

    What is part of this package has no entry, nor has what is not there: its stage says so. What a
    module imports is not followed.
    """
    found: dict[str, str] = {}
    template = values.get("chat_template")
    if template and not is_ours(template) and Path(template).is_file():
        found[template] = _digest(Path(template))
    for reward in values.get("rewards") or []:
        module, own, _ = reward.partition(":")
        path = _module_file(module) if own and not module.startswith("moxin_recipes.") else None
        if path:
            found[reward] = _digest(path)
    return found | _of_evaluations(values.get("evaluations") or [])


def _of_evaluations(lines: list[dict[str, Any]]) -> dict[str, str]:
    """The task files that lines name, with all they read, and the suites that are files."""
    found: dict[str, str] = {}
    for line in lines:
        named = line.get("suite")
        tasks = [line["task"]] if line.get("task") else []
        if named and Path(named).suffix in benchmarks.FILES and Path(named).is_file():
            found[named] = _digest(Path(named))
            tasks = _tasks_of(Path(named))
        for task in tasks:
            if Path(task).suffix in benchmarks.FILES and Path(task).is_file():
                found[task] = benchmarks.find(task).digest()
    return found


def _tasks_of(suite: Path) -> list[str]:
    """The tasks of a suite's file, as far as it can be read; its recipe's rules say the rest."""
    try:
        content = parse(suite.read_text(encoding="utf-8"))
        return [str(one["task"]) for one in content["tasks"]]
    except (RecipeError, UnicodeDecodeError, KeyError, TypeError):
        return []


def is_ours(template: str) -> bool:
    """Whether a chat template is named as one of this package's files."""
    return template in [path.name for path in TEMPLATES.glob("*.jinja")]


def check_rewards(names: list[str]) -> None:
    """Raises RecipeError where `rewards` names none, or one that is no function.

    The package's own rewards are known by an import path, as those of a user are.
    """
    pkgutil.resolve_name("moxin_recipes.rewards:check")(names)


def _module_file(name: str) -> Path | None:
    """The source of a module, without importing it; the current folder comes first."""
    inner = name.replace(".", "/")
    for folder in (Path.cwd(), *map(Path, sys.path)):
        for path in (folder / f"{inner}.py", folder / inner / "__init__.py"):
            if path.is_file():
                return path
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
