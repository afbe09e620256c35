"""What all stages share: start, inputs, resume, training, the final push."""

import errno
import functools
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from moxin_recipes import ending, environment, ranks
from moxin_recipes.cpu.memory import keep_freed_memory
from moxin_recipes.hub import configs, licences, own, releases, session, targets
from moxin_recipes.hub import manifest as manifests
from moxin_recipes.hub.cards import render
from moxin_recipes.hub.code import code
from moxin_recipes.hub.pull import Parent, download, resolve_all
from moxin_recipes.hub.push import PATIENCE, patiently, push
from moxin_recipes.recipe import door, positions, resume
from moxin_recipes.recipe.base import StageKeys, cost
from moxin_recipes.recipe.fields import measures
from moxin_recipes.recipe.identity import identity
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe, read
from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from trl import ModelConfig

log = logging.getLogger(__name__)
K = TypeVar("K", bound=StageKeys)
A = TypeVar("A")
# What Python, Rust's libraries and torch say of a full disk; torch only that a write failed, and by
# the time that it says so a thread may have made room again.
_NO_ROOM = ("No space left on device", "os error 28", "iostream error", "StreamWriter failed")
# What tells a process that it is one of several.
_DISTRIBUTED = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)


class Run(Generic[K, A]):
    """One launch of one recipe in this process.

    `keys` are the stage's own, `args` the trainer's dataclass (None where nothing is trained) and
    `model_config` TRL's. `parents` are the pinned inputs; `identity` decides skip and resume.
    """

    args: A

    def __init__(self, recipe: Recipe[K]) -> None:
        self.recipe, self.keys = recipe, recipe.keys
        self.ranks = ranks.of_environment()
        launcher = self._launcher = Launcher.of_environment()
        self.processes = launcher.processes
        self.libraries = door.check(recipe, launcher)
        self.parents = self.ranks.once("the inputs on the Hub", self._inputs)
        payloads = [(parent.key, parent.payload) for parent in self.parents]
        self.identity = identity(recipe, payloads, launcher)
        self.key = self.identity.key
        self.folder = recipe.output_dir
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = resume.state_folder(self.folder, self.key)
        self.ranks.once("the stage's folder", self._take_folder)
        if self.libraries:
            # Checkpoints of another recipe or other inputs are never looked at.
            self.libraries[-1].output_dir = str(self.state)
            self.args = self.libraries[-1]
        self.seconds_before = 0.0
        self._began = time.monotonic()
        if self.keys.push_to_hub:
            self.ranks.once("the right to write the outputs", self._prove_targets)

    def _prove_targets(self) -> None:
        """What every stage needs at its end: a card of each output, and a target that takes it."""
        done = f"done-{self.key[:12]}"
        releases.prove_unpinned(self.recipe.typed_outputs, self.recipe.tag, done)
        for hub_key, repo in self.recipe.outputs.items():
            kind = self.recipe.output_type(hub_key)
            render(repo, kind, self.manifest(summary=""), self.folder)
            targets.prove(hub_key, repo, kind, self.keys.hub_private_repo)

    def _inputs(self) -> list[Parent]:
        session.start()
        own.bring(own.all_of(self.recipe.references))
        parents = resolve_all(self.recipe.references)
        self._check_positions(parents)
        return parents

    def _take_folder(self) -> None:
        self._lock = resume.lock(self.folder)  # it lasts as long as this object
        resume.adopt(self.folder, self.identity)
        where = os.environ.get("HF_ENDPOINT", environment.PUBLIC_ENDPOINT)
        log.info("Hub %s, namespace %s, key %s", where, session.namespace(), self.key[:12])

    def _check_positions(self, parents: list[Parent]) -> None:
        """The model to start from is as long as the recipe's sequences."""
        needs = positions.needed(self.recipe, self.libraries)
        for parent in parents if needs else []:
            if parent.key == positions.MODEL:
                model = f"{parent.repo}@{parent.revision}"
                positions.check(self.recipe, needs, model, configs.positions(parent))

    @property
    def model_config(self) -> "ModelConfig":
        """How TRL's stages load the model."""
        (config, _) = self.libraries
        return config

    @property
    def seconds(self) -> float:
        """Seconds of work on this key, those before an interruption included."""
        return self.seconds_before + time.monotonic() - self._began

    @property
    def is_main(self) -> bool:
        """Whether this process is rank 0, the one that writes and pushes."""
        return self.ranks.rank == 0

    def parent(self, key: str, position: int = 0) -> Parent:
        """The pinned input of a recipe key."""
        return [parent for parent in self.parents if parent.key == key][position]

    def pull(self, key: str, patterns: list[str] | None = None) -> Path:
        """Folder with the files of an input; the first process of a node downloads them."""
        return self.fetch(self.parent(key), patterns)

    def fetch(self, parent: Parent, patterns: list[str] | None = None) -> Path:
        """As `pull`, of any pinned input."""
        of = f" ({', '.join(patterns)})" if patterns else ""
        what = f"the download of {parent.repo}@{parent.commit[:12]}{of}"
        return self.ranks.once_a_node(what, lambda: download(parent, patterns))

    def manifest(self, **facts: Any) -> dict[str, Any]:
        """The manifest without its payload; `facts` are metrics, counts, items, tokens, notes.

        `licenses` among them are those of an output that is not made of all of the inputs.
        """
        hardware = manifests.hardware(self.processes)
        return {
            "format": 1,
            "stage": self.recipe.stage,
            "recipe_name": self.recipe.name,
            "recipe_file": f"recipes/{self.recipe.ladder}/{self.recipe.path.name}",
            "namespace": session.namespace(),
            "key": self.key,
            "recipe": {k: v for k, v in self.recipe.resolved.items() if k != "output_dir"},
            "flags": {k: v for k, v in self.recipe.flags.items() if k != "output_dir"},
            "trainer": self._trainer_values(),
            "parents": [parent.as_dict() for parent in self.parents],
            "licenses": licences.listed(self._parts),
            "code": code(),
            "libraries": manifests.libraries(),
            "installed": manifests.installed(),
            "launcher": self._launcher.content(on_cpu=not hardware["gpus"]),
            "hardware": hardware,
            "seconds": round(self.seconds, 1),
            **cost(self.keys, self.processes, self.seconds),
            **facts,
        }

    @functools.cached_property
    def _parts(self) -> list[licences.Part]:
        """What the inputs are made of, but for those that only measure."""
        apart = measures(self.keys)
        made_of = [one for one in self.parents if one.key.partition("[")[0] not in apart]
        return [part for parent in made_of for part in licences.of_parent(parent)]

    def _trainer_values(self) -> dict[str, Any]:
        """What transformers and TRL made of the recipe, defaults of this version included."""
        elsewhere = ("_", "hub_", "push_", "output_", "logging_dir", "run_name")
        values: dict[str, Any] = {}
        for filled in self.libraries:
            values |= {
                name: value
                for name, value in vars(filled).items()
                if isinstance(value, str | int | float | bool | list | dict | None)
                and not name.startswith(elsewhere)
            }
        return json.loads(json.dumps(values, default=str))  # type: ignore[no-any-return]

    def finish(self, outputs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
        """Pushes the outputs (hub key → folder, facts); then the local state may go.

        The first one is made from none of the others and goes last. Each gets the stage's tag and,
        as the last act, `done-KEY12`.
        """
        if not self.is_main:
            return
        if not self.keys.push_to_hub:
            log.info("not pushed (push_to_hub: false); the result is in %s", self.folder)
            return
        tags = (self.recipe.tag, f"done-{self.key[:12]}")
        for hub_key, (folder, facts) in reversed(outputs.items()):
            self.share(hub_key, folder, facts, tags)
        shutil.rmtree(self.state)

    def share(
        self, hub_key: str, folder: Path, facts: dict[str, Any], tags: tuple[str, ...] = ()
    ) -> None:
        """Pushes one output; without tags it is there, and the stage is not done."""
        send = functools.partial(
            push,
            folder,
            self.recipe.values[hub_key],
            self.recipe.output_type(hub_key),
            self.manifest(**facts),
            private=self.keys.hub_private_repo,
            tags=tags,
        )
        patiently(send, PATIENCE)


def launch(main: Callable[[Run[K, Any]], None], kind: type[K]) -> None:
    """The command line of a stage module: `--config RECIPE [--key value …]`.

    `kind` are the keys of the stage. Bad input ends with one line on standard error and exit code
    1. Stages that do not train are one process: other ranks leave before any collective.
    """
    environment.log_to_stderr()
    folder = environment.home()
    try:
        recipe = _recipe_of_command_line(sys.argv[1:])
        if not isinstance(recipe.keys, kind):
            raise RecipeError(
                f"{recipe.path}: `stage: {recipe.stage}`: another module runs it, "
                f"moxin_recipes.stages.{recipe.stage}"
            )
        folder = recipe.output_dir
        if recipe.trains:
            keep_freed_memory()
        elif recipe.keys.parallel:
            pass  # it shares its work out itself
        elif os.environ.get("RANK", "0") != "0":
            return
        else:
            for name in _DISTRIBUTED:  # or lm-eval waits for ranks that have left
                os.environ.pop(name, None)
        main(Run(cast(Recipe[K], recipe)))
    except (RecipeError, session.HubError, ranks.RankError) as error:
        _end(f"error: {error}")
    except Exception as error:
        if not _disk_is_full(error, folder):
            raise
        _end(
            f"error: the disk of {folder} is full; free some space and give the same command again "
            "(the stage goes on from its last whole checkpoint)"
        )
    ending.with_code(0)


def _end(line: str) -> NoReturn:
    """Exit code 1; the line is printed by one process of those that end with it."""
    ending.with_code(1)
    sys.exit(line if ranks.of_environment().says(line) else 1)


def _disk_is_full(error: BaseException | None, folder: Path) -> bool:
    """Whether an exception comes from a full disk; each library words that differently."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        if any(words in str(error) for words in _NO_ROOM):
            return True
        error = error.__cause__ or error.__context__
    exists = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(exists).free < 4096


def _recipe_of_command_line(words: list[str]) -> Recipe[StageKeys]:
    words = [part for word in words for part in _split_config(word)]
    if "--config" not in words or words.index("--config") + 1 == len(words):
        raise RecipeError("give the recipe: --config recipes/LADDER/STAGE.yaml [--key value …]")
    at = words.index("--config")
    return read(Path(words[at + 1]), words[:at] + words[at + 2 :])


def _split_config(word: str) -> list[str]:
    return ["--config", word.removeprefix("--config=")] if word.startswith("--config=") else [word]
