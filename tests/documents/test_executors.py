"""Executors: workers that die with their parent, and Slurm's commands as a cluster answers them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from tests.conftest import ROOT
from tests.documents import slurm

from moxin_recipes.documents.columns import Kept, Removed
from moxin_recipes.documents.executors import executor
from moxin_recipes.documents.filters.short import Short
from moxin_recipes.documents.local import LocalReader
from moxin_recipes.documents.pipeline import rows
from moxin_recipes.recipe.keys.data import DocumentKeys
from moxin_recipes.recipe.strict import RecipeError


def blocks(folder: Path) -> list[PipelineStep]:
    """Two tasks' worth of sums, of which the short ones are taken out."""
    return [
        LocalReader("maths-text", None, 0, 40),
        Short(30, exclusion_writer=Removed(str(folder / "removed"), "short")),
        Kept(str(folder / "kept")),
    ]


def kept(folder: Path) -> list[str]:
    return [row["text"] for file in sorted(folder.glob("kept/*.parquet")) for row in rows(file)]


def test_slurm_runs_each_task_once_and_names_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = executor(DocumentKeys(sources=[]), tmp_path / "here")
    here("step", blocks(tmp_path / "local"), 2)
    own = DocumentKeys(sources=[], executor="slurm", workers=2)
    with pytest.raises(RecipeError, match="`slurm_partition`: name the partition"):
        executor(own, tmp_path)("step", blocks(tmp_path), 2)
    own.slurm_partition = "cpu"
    with pytest.raises(RecipeError, match="there is no sbatch here"):
        executor(own, tmp_path)("step", blocks(tmp_path), 2)
    commands = slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    executor(own, tmp_path / "there")("step", blocks(tmp_path / "slurm"), 2)
    assert kept(tmp_path / "slurm") == kept(tmp_path / "local") != []
    script = (tmp_path / "there" / "step" / "launch_script.slurm").read_text()
    assert "#SBATCH --partition=cpu" in script
    (commands / "srun").write_text("#!/bin/bash\nexit 1\n")
    with pytest.raises(RecipeError, match="2 of 2 tasks of the step other failed"):
        executor(own, tmp_path / "there")("other", blocks(tmp_path / "failed"), 2)


class Sleep(PipelineStep):
    """A task that takes longer than anybody waits."""

    def run(self, data: object, rank: int = 0, world_size: int = 1) -> list[Document]:
        time.sleep(600)
        return []


def wait_in_workers(folder: str) -> None:
    """Called in a process of its own."""
    executor(DocumentKeys(sources=[], workers=2), Path(folder))("step", [Sleep()], 2)


def test_workers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = f"from tests.documents.test_executors import wait_in_workers as w; w({str(tmp_path)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    logs = tmp_path / "step" / "logs"
    while len(list(logs.glob("*.log"))) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
