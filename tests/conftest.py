"""A miniature of the nano ladder, run once for the session by the commands that users type."""

import contextlib
import dataclasses
import functools
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from xdist.scheduler import LoadScopeScheduling

from tests.warm import Warm

ROOT = Path(__file__).parent.parent
STAGES = ROOT / "src" / "moxin_recipes" / "stages"
# Before anything of the package is imported: nothing of a test lies in the checkout, and none of
# the caller's tokens or endpoints are seen.
_HOME = tempfile.mkdtemp(prefix="moxin-tests-")
_CALLERS = "HF_ENDPOINT HF_HUB_OFFLINE TRANSFORMERS_OFFLINE MOXIN_NAMESPACE TRACKIO_DIR"
for _name in _CALLERS.split():
    os.environ.pop(_name, None)
os.environ.update(
    {"MOXIN_HOME": _HOME, "MOXIN_HUB": "local", "OMP_NUM_THREADS": "1", "HF_TOKEN": "hf_not_real"}
)

from moxin_hub import launcher  # noqa: E402 (the package reads the variables)
from moxin_recipes import environment  # noqa: E402

environment.choose()  # as the command line does, before a Hugging Face library is imported

# What makes each recipe of moxin-nano small enough for a few seconds.
SMALL: dict[str, dict[str, Any]] = {
    "00-data": {
        "vocab_size": 512,
        "tokenizer_bytes": 100_000,
        "maths_documents": 300,
        "chat_rows": 200,
        "preference_rows": 64,
        "problem_rows": 120,
        "rl_rows": 60,
        "test_rows": 40,
        "heldout_bytes": 4000,
    },
    "10-init": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "parameters": None,
    },
    "pretrain": {"max_steps": 6, "save_steps": 3, "warmup_steps": 2, "logging_steps": 1},
    "sft": {"num_train_epochs": 1, "save_steps": 3, "logging_steps": 1},
    "dpo": {"save_steps": 1, "logging_steps": 1},
    "grpo": {
        "max_steps": 3,
        "save_steps": 1,
        "global_batch_size": 16,
        "per_device_train_batch_size": 8,
        "max_completion_length": 16,
        "beta": 0.001,  # with the reference model, as moxin-7b
        # No sum is right yet, and GRPO wants a signal.
        "rewards": ["tests.rewards.even:even", "format"],
    },
}
MEASURE = {"eval_rows": 12, "eval_samples": 2, "eval_max_new_tokens": 12}


def write_ladder(folder: Path) -> Path:
    """The recipes of moxin-nano with small numbers, and its targets, in `folder`."""
    folder.mkdir(parents=True)
    for path in sorted((ROOT / "recipes" / "moxin-nano").glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        if isinstance(values, dict):
            values |= SMALL.get(values["stage"], {}) | SMALL.get(path.stem, {})
            values |= {key: MEASURE[key] for key in MEASURE if key in values}
            for source in values.get("sources", []):
                source["max_bytes"] = 150_000
        (folder / path.name).write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


@dataclass(frozen=True)
class Workplace:
    """A home with its own Hub, and a ladder to run there.

    Where `warm` is there, commands and stages are forked from a process that has imported all.
    """

    home: Path
    ladder: Path
    warm: Warm | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """Variables of a child process: nothing but this home's Hub."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MOXIN_"))}
        # A token lies about, as on many machines: it must not lead anywhere.
        return keep | {
            "MOXIN_HOME": str(self.home),
            "HF_TOKEN": "hf_not_real",
            "PYTHONPATH": str(ROOT / "tests" / "watch"),
            "MOXIN_TEST_CONNECTIONS": str(self.home / "connections.log"),
            "COLUMNS": "200",
            **more,
        }

    def command(self, *words: str) -> list[str]:
        """`moxin …` of this interpreter."""
        return [str(Path(sys.executable).parent / "moxin"), *words]

    def moxin(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs `moxin …` to its end, output captured."""
        return self._completed(self.command(*words), self.environment(**variables))

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`moxin run LADDER --hub local …`."""
        return self.moxin("run", str(self.ladder), "--hub", "local", *words, **variables)

    def launch(
        self, stage: str, recipe: str, *words: str, config: str = "cpu", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """`accelerate launch … -m moxin_recipes.stages.STAGE --config RECIPE …`."""
        launcher = [sys.executable, "-m", "accelerate.commands.launch"]
        command = [
            *(*launcher, "--quiet"),
            *("--config_file", f"accelerate_configs/{config}.yaml"),
            *("-m", f"moxin_recipes.stages.{stage}"),
            *("--config", str(self.ladder / f"{recipe}.yaml"), *words),
        ]
        return self._completed(command, self.environment(**{"MOXIN_HUB": "local", **variables}))

    def _completed(
        self, command: list[str], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        if self.warm:
            words = command[2:] if command[1] == "-m" else command
            return self.warm.completed(words, environment)
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=540
        )

    def cold(self) -> "Workplace":
        """The same place, whose commands start as a user's.

        For a command that names another Hub (what is imported has read its address), and where two
        runs are to hash text differently, which forks of one process do not.
        """
        return dataclasses.replace(self, warm=None)

    @contextlib.contextmanager
    def warmed(self, folder: Path = ROOT) -> Iterator["Workplace"]:
        """The same place, whose commands and stages start at once, with `folder` as the current."""
        stages = [f"moxin_recipes.stages.{path.stem}" for path in STAGES.glob("[a-z]*.py")]
        late = ["matplotlib.pyplot", "trl.scripts.utils"]
        launch = ["accelerate.commands.launch", "moxin_recipes.stages"]
        modules = [*launch, "moxin_recipes.cli", *stages, *late]
        with Warm(modules, self.environment(MOXIN_HUB="local"), folder) as warm:
            yield dataclasses.replace(self, warm=warm)


# Fixtures that take long to make, the longest share of the tests first.
COSTLY = ("finished: Workplace", "pretraining: Pretraining", "bench: Workplace")


class Shares(LoadScopeScheduling):
    """Tests of a file go to one process, and so do those of all files with one costly fixture."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        costly = _costly(file)
        return COSTLY[costly] if costly < len(COSTLY) else file


@functools.cache
def _costly(file: str) -> int:
    """The place in `COSTLY` of the fixture that the file uses, behind all where it uses none."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((place for place, use in enumerate(COSTLY) if use in text), len(COSTLY))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    """Two processes share the tests (`make test`); what shares a costly fixture comes first."""
    config.option.loadscopereorder = False
    return Shares(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _costly(item.nodeid.partition("::")[0]))


def pytest_collection_finish() -> None:
    """What the libraries left is kept for good: each garbage collection would go through it."""
    gc.freeze()


@contextlib.contextmanager
def serving(place: Workplace) -> Iterator[None]:
    """`moxin hub serve` for as long as the block runs."""
    hub = subprocess.Popen(
        place.command("hub", "serve"), env=place.environment(), stderr=subprocess.DEVNULL
    )
    while not launcher.answers(launcher.identity(place.home / "hub")):
        assert hub.poll() is None, "the Hub ended"
        time.sleep(0.05)
    try:
        yield
    finally:
        hub.terminate()
        hub.wait()


def new_workplace(folder: Path) -> Workplace:
    """An empty home and a fresh miniature ladder."""
    return Workplace(folder / "home", write_ladder(folder / "recipes" / "mini"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The miniature ladder after one undisturbed run, its Hub kept running for the session.

    Its first stage is run by the command as users start it; then all by one that starts at once.
    """
    place = new_workplace(tmp_path_factory.mktemp("finished"))
    with serving(place), place.warmed() as warmed:
        for step in (place.run("--only", "00-data"), warmed.run()):
            assert step.returncode == 0, step.stderr[-3000:]
        (place.home / "first-run.txt").write_text(step.stdout + step.stderr)
        yield warmed
