"""A home with a tiny model and its tokens on its own Hub, and processes that pretrain there."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT, Workplace, serving
from tests.warm import Process, Warm

from moxin_hub import launcher

RECIPE: dict[str, Any] = {
    "stage": "pretrain",
    "model_name_or_path": "tiny-base@init",
    "dataset_name": "tiny-tokens@data",
    "mixture": [{"source": "words", "weight": 1.0}],
    "context_length": 32,
    "eval_context_length": 32,
    "global_batch_size": 4,
    "per_device_train_batch_size": 2,
    "max_steps": 60,
    "learning_rate": 3e-3,
    "warmup_steps": 3,
    "lr_scheduler_type": "cosine_with_min_lr",
    "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
    "optim": "adamw_torch",
    "logging_steps": 1,
    "save_steps": 10,
    "save_total_limit": 2,
    "report_to": "none",
    "disable_tqdm": True,
}


@dataclass(frozen=True)
class Pretraining:
    """The home, the processes that start at once, and the Hub, which is up between tests."""

    place: Workplace
    warm: Warm
    hub: contextlib.ExitStack

    def take_hub_down(self) -> None:
        """Ends the Hub; it is really down when this returns."""
        self.hub.close()
        while launcher.answers(launcher.identity(self.place.home / "hub")):
            time.sleep(0.05)

    def bring_hub_up(self) -> None:
        """Starts the Hub again."""
        self.hub.enter_context(serving(self.place))

    def recipe(self, repo: str, **changes: Any) -> Path:
        """A recipe that pushes to `repo`, with its files below `folder_of(repo)`."""
        path = self.place.ladder / repo / "20-phase.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {**RECIPE, "hub_model_id": repo, "output_dir": str(self.folder(repo)), **changes}
        path.write_text(yaml.safe_dump(values))
        return path

    def folder(self, repo: str) -> Path:
        """The stage's local files."""
        return self.place.home / "runs" / repo

    def checkpoint(self, repo: str, step: int) -> Path:
        """Where the checkpoint of a step is, or will be."""
        (state,) = self.folder(repo).glob("state-*")
        return state / f"checkpoint-{step}"

    def start(self, recipe: Path, config: Path | None = None) -> list[Process]:
        """Starts the stage, one process a rank."""
        return self.warm.start(self._config(config), *self._stage(recipe))

    def run(self, recipe: Path, config: Path | None = None) -> str:
        """Runs the stage to its end; rank 0's log."""
        return self.warm.run(self._config(config), *self._stage(recipe))

    def _config(self, config: Path | None) -> Path:
        return config or ROOT / "accelerate_configs" / "cpu.yaml"

    def _stage(self, recipe: Path) -> tuple[str, list[str], Path]:
        log = self.place.home / recipe.parent.name
        return "moxin_recipes.stages.pretrain", ["--config", str(recipe)], log

    def ask(self, code: str, *words: str) -> str:
        """What a line of Python prints that may use the Hub's clients."""
        script = self.place.home / "ask.py"
        script.write_text(code)
        log = self.place.home / "ask"
        return self.warm.run(self._config(None), str(script), [*words], log)


@pytest.fixture(scope="session")
def pretraining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pretraining]:
    """One for the session; each test uses a repository of its own."""
    base = tmp_path_factory.mktemp("pretraining")
    place = Workplace(base / "home", base / "recipes")
    place.home.mkdir()
    modules = ["moxin_recipes.stages.pretrain", "tests.training.small"]
    environment = place.environment(MOXIN_HUB="local", OMP_NUM_THREADS="1")
    with Warm(modules, environment) as warm, contextlib.ExitStack() as hub:
        home = Pretraining(place, warm, hub)
        home.bring_hub_up()
        log = place.home / "fill"
        warm.run(home._config(None), "tests.training.fill_hub", [str(base / "made")], log)
        yield home
