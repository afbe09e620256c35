"""The whole preparation, killed in a step and run again, or on a cluster: the same bytes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.documents import prepare_and_die, slurm
from tests.warm import Warm

PREPARE = prepare_and_die.__name__


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """Preparations start at once: the libraries are imported."""
    modules = ["moxin_recipes.documents.pipeline", "transformers.models.auto.tokenization_auto"]
    with Warm(modules, dict(os.environ)) as made:
        yield made


def prepare(
    warm: Warm, folder: Path, *kill: str, workers: str = "1"
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MOXIN_TEST_WORKERS": workers}
    return warm.completed([PREPARE, str(folder), *kill], environment)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of a preparation in a Python of its own, whose hashes of text are other ones."""
    command = [sys.executable, "-m", PREPARE, str(tmp_path_factory.mktemp("undisturbed"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout)
    reasons = {name.split("/")[2] for name in digests if "/removed/" in name}
    assert {"exact", "bloom", "minhash", "decontaminate"} <= reasons  # each step has work to do
    shards = [name for name in digests if name.endswith(".bin")]
    assert {int(name[:-4].rpartition("-")[2]) for name in shards} >= {0, 1}  # more than one a task
    return digests


def killed_and_run_again(warm: Warm, folder: Path, step: str, when: str) -> dict[str, str]:
    killed = prepare(warm, folder, step, when)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = prepare(warm, folder)
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout)
    return digests


@pytest.mark.parametrize("step", ["minhash-1-signatures", "tokens-maths-text"])
def test_killed_in_a_step_it_ends_with_the_same_bytes(
    warm: Warm, undisturbed: dict[str, str], tmp_path: Path, step: str
) -> None:
    assert killed_and_run_again(warm, tmp_path, step, "begin") == undisturbed


def test_slurm_prepares_the_same_bytes(
    warm: Warm,
    undisturbed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = replace(prepare_and_die.OWN, executor="slurm", slurm_partition="cpu")
    with slurm.forking(tmp_path / "cluster", warm) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert prepare_and_die.prepare(tmp_path / "prepared", keys) == undisturbed
    jobs = list((tmp_path / "prepared").rglob("launch_script.slurm"))
    assert len(jobs) == len(prepare_and_die.STEPS) + 2  # and those of pydoc-topics, maths-text


@pytest.mark.soak
def test_two_workers_write_the_same_bytes_as_one(
    warm: Warm, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    assert json.loads(prepare(warm, tmp_path, workers="2").stdout) == undisturbed


@pytest.mark.soak
@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize("step", prepare_and_die.STEPS)
def test_killed_in_any_step_it_ends_with_the_same_bytes(
    warm: Warm, undisturbed: dict[str, str], tmp_path: Path, step: str, when: str
) -> None:
    assert killed_and_run_again(warm, tmp_path, step, when) == undisturbed
