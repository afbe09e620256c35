"""Evaluation tasks by name, read from their files alone: what each asks, and of which dataset.

A name is a task of this package (`scores/tasks`), a task, group or tag of lm-eval, or the path of a
YAML file of the user's own. Nothing of lm-eval is imported here, so inputs are known at once.
"""

import glob
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from moxin_recipes import environment
from moxin_recipes.recipe.strict import RecipeError, near

TASKS = Path(__file__).parent.parent / "scores" / "tasks"
# What `datasets` reads from files; any other `dataset_path` is a repository, or a folder.
_PACKAGED = ("json", "csv", "parquet", "arrow", "text", "pandas", "webdataset")
FILES = (".yaml", ".yml")  # how the name of a file of the user's own ends
_STRUCTURE = ("tag", "group", "task_list", "include")
Config = dict[str, Any]


class UnknownTask(RecipeError):
    """A name that is no task, group or tag, or a file that is none."""


@dataclass(frozen=True)
class Leaf:
    """One task: its file, and what it changes of it (`config` has both; functions are paths)."""

    name: str
    path: Path | None
    changes: Config
    config: Config

    @property
    def repository(self) -> tuple[str, str] | None:
        """(repository, revision) of its dataset; None for files, folders and Python tasks."""
        path = self.config.get("dataset_path")
        if not isinstance(path, str) or path in _PACKAGED or Path(path).exists():
            return None
        revision = (self.config.get("dataset_kwargs") or {}).get("revision")
        return path, str(revision or "main")

    @property
    def is_ours(self) -> bool:
        """Whether its items are the recipe's `problems_name`: a task of this package on none."""
        metadata = self.config.get("metadata")
        named = isinstance(metadata, dict) and {"config", "split"} <= metadata.keys()
        return named and self.config.get("dataset_path") == "json"

    def digest(self) -> str:
        """sha256 (hex) of what it asks: all values, its functions' modules, its data files."""
        values = {name: value for name, value in self.config.items() if name not in _STRUCTURE}
        more = values.get("dataset_kwargs") or {}
        files = _data_files([more.get("data_files"), more.get("data_dir")])
        if self.repository is None:
            files += _data_files(values.get("dataset_path"))
        text = json.dumps([_portable(values), files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Group:
    """A name that stands for several tasks; `aggregates` is empty for a tag."""

    name: str
    aggregates: list[Config] = field(default_factory=list)
    leaves: list[str] = field(default_factory=list)


@dataclass
class Found:
    """The tasks that a name stands for, and the groups that score them together."""

    leaves: list[Leaf] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def digest(self) -> str:
        """sha256 (hex) of what all of its tasks ask."""
        return hashlib.sha256("".join(leaf.digest() for leaf in self.leaves).encode()).hexdigest()


def find(name: str) -> Found:
    """What a name stands for; UnknownTask where it is nothing."""
    found = Found()
    if Path(name).suffix in FILES:
        _add(found, name, _from_file(Path(name)), Path(name), {})
    elif "/" not in name and (TASKS / f"{name}.yaml").exists():
        path = TASKS / f"{name}.yaml"
        _add(found, name, _load(path), path, {})
    else:
        _add_named(found, name, {})
    return found


def named() -> set[str]:
    """All names that need no path."""
    return {path.stem for path in TASKS.glob("*.yaml")} | set(_lm_eval())


def _from_file(path: Path) -> Config:
    try:
        config = _load(path.expanduser().resolve())
    except (OSError, yaml.YAMLError) as error:
        raise UnknownTask(f"{path} is no task file: {' '.join(str(error).split())}") from error
    if not isinstance(config.get("task") or config.get("group"), str | list):
        raise UnknownTask(f"{path} is no task file: it has neither `task` nor `group`")
    return config


def _add_named(found: Found, name: str, changes: Config) -> None:
    entry = _lm_eval().get(name)
    if entry is None:
        raise UnknownTask(
            f"neither this package nor lm-eval has a task {name}{near(name, named())}"
        )
    if "tag" in entry:
        before = len(found.leaves)
        for task in entry["tag"]:
            _add_named(found, task, changes)
        found.groups.append(Group(name, [], [leaf.name for leaf in found.leaves[before:]]))
    else:
        path = _lm_eval_tasks() / entry["file"]
        _add(found, name, _shipped(path), path, changes)


def _add(found: Found, name: str, config: Config, path: Path | None, changes: Config) -> None:
    """One task, or a group with all below it."""
    if "group" not in config or "class" in config:
        whole = config | changes
        if isinstance(whole.get("task"), str):
            name = whole["task"]
        found.leaves.append(Leaf(name, path, changes, whole))
        return
    before = len(found.leaves)
    shared = {key: v for key, v in config.items() if key not in _GROUP_KEYS} | changes
    members = config.get("task") or []
    for member in [members] if isinstance(members, str) else members:
        _add_member(found, config["group"], member, shared)
    aggregates = config.get("aggregate_metric_list") or []
    aggregates = [aggregates] if isinstance(aggregates, dict) else aggregates
    below = [leaf.name for leaf in found.leaves[before:]]
    found.groups.append(Group(config["group"], aggregates, below))


_GROUP_KEYS = (
    "group",
    "group_alias",
    "task",
    "aggregate_metric_list",
    "metadata",
    "include",
    "tag",
)


def _add_member(found: Found, group: str, member: Any, changes: Config) -> None:
    """A member of a group is a name, a name with changes, or a group written in place."""
    if isinstance(member, str):
        _add_named(found, member, changes)
    elif "group" in member:
        rest = {key: value for key, value in member.items() if key != "group"}
        if member["group"] in _lm_eval():
            _add_named(found, member["group"], changes | rest)
        else:
            inline = member | {"group": f"{group}::{member['group']}"}
            _add(found, inline["group"], inline, None, changes)
    elif member["task"] in _lm_eval():
        _add_named(found, member["task"], changes | member)
    else:
        whole = changes | member | {"task": f"{group}::{member['task']}"}
        found.leaves.append(Leaf(whole["task"], None, whole, whole))


class Function(str):
    """The file and name that `!function` points to, as `FOLDER/module.function`."""

    __slots__ = ()


@cache
def _loader(folder: Path) -> type[yaml.SafeLoader]:
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: type[yaml.SafeLoader] = type("Loader", (base,), {})

    def function(reader: yaml.SafeLoader, node: yaml.ScalarNode) -> Function:
        return Function(f"{folder}/{reader.construct_scalar(node)}")

    loader.add_constructor("!function", function)
    return loader


@cache
def _shipped(path: Path) -> Config:
    """A file of lm-eval, which nobody changes."""
    return _load(path)


def _load(path: Path, read: Callable[[Path], Config] | None = None) -> Config:
    """The values of a task's file on those of the files it includes, as lm-eval merges them."""
    read = read or _load
    content = yaml.load(path.read_text(encoding="utf-8"), _loader(path.parent))  # noqa: S506
    if not isinstance(content, dict):
        raise UnknownTask(f"{path} is no task file: it holds no mapping")
    includes = content.get("include") or []
    merged: Config = {}
    for name in [includes] if isinstance(includes, str) else includes:
        merged |= {k: v for k, v in read(path.parent / name).items() if k != "task_list"}
    return merged | {key: value for key, value in content.items() if key != "include"}


def _portable(value: Any) -> Any:
    """A task's value as plain data, with digests in place of the modules of its functions."""
    if isinstance(value, dict):
        return {str(key): _portable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    if isinstance(value, Function):
        folder, _, name = value.rpartition("/")
        module = Path(folder, *name.split(".")[:-1]).with_suffix(".py")
        return [name, _sha256(module) if module.exists() else None]
    return value if isinstance(value, int | float | str | None) else str(value)


def _data_files(value: Any) -> list[str]:
    """The digests of the local files that a path, a pattern or a folder of a dataset names."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [digest for one in inner for digest in _data_files(one)]
    if not isinstance(value, str) or "://" in value:
        return []
    pattern = f"{value}/**" if Path(value).is_dir() else value
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path takes no absolute pattern)
    return [_sha256(path) for path in map(Path, sorted(found)) if path.is_file()]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _lm_eval_tasks() -> Path:
    spec = importlib.util.find_spec("lm_eval")  # does not import it
    if spec is None or spec.origin is None:
        raise RecipeError("lm-eval is not installed: pip install --requirement requirements.txt")
    return Path(spec.origin).parent / "tasks"


@cache
def _lm_eval() -> dict[str, Config]:
    """Name → `file` of a task or group of lm-eval, or the tasks of a `tag`; read once a version."""
    version = importlib.metadata.version("lm_eval")
    path = environment.home() / "cache" / f"lm-eval-{version}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_scanned(_lm_eval_tasks()))
        temporary = path.with_suffix(f".{hashlib.sha256(text.encode()).hexdigest()[:8]}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    index: dict[str, Config] = json.loads(path.read_text(encoding="utf-8"))
    return index


def _scanned(root: Path) -> dict[str, Config]:
    """The first file of each name counts, in the order of the files' paths."""
    index: dict[str, Config] = {}
    tags: dict[str, set[str]] = {}
    read = cache(_load)  # most files include one of a few
    for path in sorted(root.glob("**/*.yaml"), key=Path.as_posix):
        try:
            config = _load(path, read)
        except (OSError, ValueError, yaml.YAMLError):
            continue  # a file that lm-eval cannot read either
        name = config.get("task") if "class" in config else config.get("group", config.get("task"))
        if not isinstance(name, str) or name in index:
            continue
        index[name] = {"file": path.relative_to(root).as_posix()}
        if "group" not in config or "class" in config:
            for tag in [t] if isinstance(t := config.get("tag") or [], str) else t:
                tags.setdefault(tag, set()).add(name)
    for tag, tasks in tags.items():
        index.setdefault(tag, {"tag": sorted(tasks)})
    return index
