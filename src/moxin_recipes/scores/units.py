"""What is scored at once: one task on one model. Its key, and where finished ones are kept.

A unit's key is of all that decides its items, and of nothing else: so a list of evaluations may
grow, shrink or change its order, and each unit is scored once. Finished units lie in the stage's
folder, and in the scores repository on the Hub.
"""

import dataclasses
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moxin_recipes.hub.files import write_json
from moxin_recipes.hub.pull import Parent, commit_of, download, fetch
from moxin_recipes.hub.session import qualified
from moxin_recipes.recipe import benchmarks
from moxin_recipes.recipe.benchmarks import Leaf
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys, Evaluation
from moxin_recipes.scores import graders, records

log = logging.getLogger(__name__)
Record = dict[str, Any]
UNIT = "unit.json"
ITEMS = "items.parquet"


@dataclass(frozen=True)
class Unit:
    """One task as it is asked, on one model; `model` is what tables call it."""

    model: str
    parent: Parent
    asked: Evaluation
    leaf: Leaf
    settings: Record

    @property
    def key(self) -> str:
        """sha256 (hex) of the model's payload, the task and the settings."""
        return records.key_of(self.parent.payload, self.leaf.name, self.settings)

    def record(self, **more: Any) -> Record:
        """What `units.json` says of it."""
        return {
            "key": self.key,
            "model": self.model,
            "repo": self.parent.repo,
            "revision": self.parent.revision,
            "commit": self.parent.commit,
            "payload": self.parent.payload,
            "task": self.leaf.name,
            "settings": self.settings,
            "failed": None,
            **more,
        }


@dataclass(frozen=True)
class Line:
    """A line of the recipe on one model: its units, and the groups it asks for.

    `failed` says why there are none.
    """

    model: str
    parent: Parent
    asked: Evaluation
    units: list[Unit]
    groups: list[benchmarks.Group]
    failed: str | None = None


def plan(keys: EvaluateKeys, parents: Sequence[Parent]) -> list[Line]:
    """All lines of the recipe, model after model; `parents` are the stage's pinned inputs."""
    lines = []
    for entry in keys.models:
        for parent in _of_entry(entry, parents):
            name = entry if not entry.endswith("@*") else f"{entry[:-1]}{parent.revision}"
            for asked in keys.asked():
                if asked.model == entry:
                    lines.append(_line(name, parent, asked, keys, parents))
    return lines


def _of_entry(entry: str, parents: Sequence[Parent]) -> list[Parent]:
    """The pinned models of an entry of `models`."""
    repo, _, revision = entry.partition("@")
    wanted = revision or "main"
    named = {(parent.repo, parent.revision): parent for parent in parents if parent.key == "models"}
    return [
        parent
        for (there, name), parent in named.items()
        if there == qualified(repo) and (name == wanted or (wanted == "*" and name != "main"))
    ]


def _line(
    name: str, parent: Parent, asked: Evaluation, keys: EvaluateKeys, parents: Sequence[Parent]
) -> Line:
    try:
        found = benchmarks.find(str(asked.task))
        units = [
            Unit(name, parent, asked, leaf, _settings(leaf, asked, keys, parents))
            for leaf in found.leaves
        ]
    except benchmarks.UnknownTask as error:
        return Line(name, parent, asked, [], [], str(error))
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:  # of its file
        why = f"{asked.task}: {type(error).__name__}: {' '.join(str(error).split())}"
        return Line(name, parent, asked, [], [], why)
    return Line(name, parent, asked, units, found.groups)


def _settings(
    leaf: Leaf, asked: Evaluation, keys: EvaluateKeys, parents: Sequence[Parent]
) -> Record:
    """Everything but the model that decides the items of a task."""
    own = leaf.config.get("num_fewshot")
    generation = {k: v for k, v in dataclasses.asdict(asked.generation).items() if v is not None}
    metadata = leaf.config.get("metadata")
    graded = isinstance(metadata, dict) and "grader" in metadata
    return {
        "shots": asked.num_fewshot if asked.num_fewshot is not None and own != 0 else own or 0,
        "chat": asked.chat,
        "system": asked.system,
        "samples": asked.samples,
        "seed": keys.seed,
        "limit": keys.limit,
        "generation": generation,
        "dtype": keys.dtype,
        "backend": "transformers",
        "add_bos": keys.add_bos,
        "dataset": _dataset(leaf, parents),
        "corpus": _payload("corpus_name", parents),
        "task_digest": leaf.digest(),
        "grader": graders.VERSION if graded else None,
        "lm_eval": importlib.metadata.version("lm_eval"),
    }


def _dataset(leaf: Leaf, parents: Sequence[Parent]) -> Record:
    """What a task's items are read from; no commit where no Hub has it, or where they are files."""
    config = leaf.config
    split = config.get("test_split") or config.get("validation_split")
    pinned: Parent | None
    if leaf.is_ours:
        pinned = next((p for p in parents if p.key == "problems_name"), None)
        where = config["metadata"]
        named = {"path": pinned.repo if pinned else None, "config": where["config"]}
        split = where["split"]
    else:
        pinned = dataset_of(leaf, parents)
        named = {"path": config.get("dataset_path"), "config": config.get("dataset_name")}
    return {
        **named,
        "split": split,
        "commit": pinned.commit if pinned else None,
        "payload": pinned.payload if pinned else None,
        "benchmark": pinned is not None and not leaf.is_ours,
    }


def dataset_of(leaf: Leaf, parents: Sequence[Parent]) -> Parent | None:
    """The pinned dataset of a task on a benchmark; None where no Hub has it."""
    wanted = leaf.repository
    fits = [p for p in parents if p.key == "evaluations" and (p.repo, p.revision) == wanted]
    return fits[0] if fits else None


def _payload(key: str, parents: Sequence[Parent]) -> str | None:
    fits = [parent.payload for parent in parents if parent.key == key]
    return fits[0] if fits else None


class Store:
    """Finished units by key: in a folder here, and those on the main of a scores repository."""

    def __init__(self, folder: Path, repo: str | None) -> None:
        self._folder = folder
        if repo is not None:
            self._adopt(qualified(repo))

    def place(self, key: str) -> Path:
        """Where a unit's files are; what is unfinished lies below it."""
        return self._folder / key[:16]

    def get(self, key: str) -> Record | None:
        """The record of a finished unit."""
        path = self.place(key) / UNIT
        if not path.exists():
            return None
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        return record if record["key"] == key else None

    def put(self, record: Record, rows: list[Record]) -> None:
        """Keeps a finished unit; what was there while it was not may go."""
        place = self.place(record["key"])
        place.mkdir(parents=True, exist_ok=True)
        records.write_items(place / ITEMS, rows)
        write_json(place / UNIT, record)
        for path in place.iterdir():
            if path.is_dir():
                shutil.rmtree(path)

    def items(self, key: str) -> Path:
        """The items of a finished unit."""
        return self.place(key) / ITEMS

    def _adopt(self, repo: str) -> None:
        """Takes the units of a repository's main that are whole and not here yet."""
        commit = commit_of(repo, "dataset", "main")
        if commit is None:
            return
        pushed = Parent("hub_scores_id", "dataset", repo, "main", commit, "")
        folder = download(pushed, ["units.json"])
        if not (folder / "units.json").exists():
            return
        there = [r for r in records.read_units(folder) if not r["failed"] and r.get("items")]
        missing = [record for record in there if self.get(record["key"]) is None]
        if not missing:
            return
        folder = fetch(pushed, [record["items"] for record in missing])
        for record in missing:
            edits = list(records.edited(folder, [record]))
            if edits:
                log.warning("%s: %s; it is scored again", repo, edits[0])
            else:
                rows = records.read_items(folder / record["items"])
                self.put({**record, "items": None}, rows)
