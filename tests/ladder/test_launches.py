"""Stages of one process on a CPU share one launch, and each has its own end."""

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from tests.conftest import ROOT, write_ladder

from moxin_recipes.ladder.launches import Launches, StageFailed
from moxin_recipes.ladder.state import State
from moxin_recipes.recipe.reading import read

CPU = ROOT / "accelerate_configs" / "cpu.yaml"
# A stage that says what it is made of, and does what it is told.
STAGE = """
import json, os, random, subprocess, sys
import added
from moxin_recipes.hub.code import code
from moxin_recipes.hub.manifest import installed
from moxin_recipes.models import told

def draw():
    import datasets.fingerprint, numpy, torch
    drawn = [random.random(), numpy.random.random(), torch.rand(1).item()]
    return [*drawn, datasets.fingerprint.generate_random_fingerprint()]

if __name__ == "__main__":
    print(json.dumps({
        "says": told.SAYS,
        "patch": code()["patch"],
        "added": [added.VERSION, installed()["added"]],
        "precision": os.environ["ACCELERATE_MIXED_PRECISION"],
        "forked": "moxin_recipes.stages" in sys.orig_argv,
        "parent": os.getppid(),
        "left": subprocess.Popen(["sleep", "600"]).pid if told.DOES == "leave" else None,
        "drawn": draw() if told.DOES == "draw" else None,
    }))
elif told.DOES == "change":  # it is loaded, and does not run yet
    with open(told.__file__, "w") as file:
        file.write("SAYS, DOES = 'changed in that moment', ''\\n")
"""


class Checkout:
    """A checkout of this code, committed, whose stage `init` is the one above; and a package."""

    def __init__(self, folder: Path) -> None:
        self.source, self.packages = folder / "src", folder / "packages"
        self.install("1.0")
        shutil.copytree(ROOT / "src", self.source, ignore=shutil.ignore_patterns("__pycache__"))
        (self.source / "moxin_recipes" / "stages" / "init.py").write_text(STAGE)
        self.tell("as committed")
        git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@localhost"]
        shutil.copy(ROOT / ".gitignore", folder)  # Python may write what it has compiled
        for words in (["init", "-q"], ["add", "src", ".gitignore"], ["commit", "-qm", "All"]):
            subprocess.run([*git, *words], check=True)

    def tell(self, says: str, does: str = "") -> None:
        """Edits a module that the stage imports."""
        text = f"SAYS, DOES = {says!r}, {does!r}\n"
        (self.source / "moxin_recipes" / "models" / "told.py").write_text(text)

    def install(self, version: str) -> None:
        """Puts that version of a package in the place of the one before."""
        shutil.rmtree(self.packages, ignore_errors=True)
        (self.packages / f"added-{version}.dist-info").mkdir(parents=True)
        (self.packages / "added.py").write_text(f"VERSION = {version!r}\n")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path / "checkout")
    monkeypatch.setenv("PYTHONPATH", f"{made.source}{os.pathsep}{made.packages}")
    return made


@pytest.fixture
def stage(tmp_path: Path) -> State:
    return State(read(write_ladder(tmp_path / "ladder") / "10-init.yaml"), None)


Said = Callable[..., dict[str, Any]]


@pytest.fixture
def said(stage: State, capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs the checkout's stage; what it says."""

    def run(launches: Launches, file: Path = CPU) -> dict[str, Any]:
        launches.run(stage, file)
        return json.loads(capfd.readouterr().out)  # type: ignore[no-any-return]

    return run


def running(launches: Launches) -> list[psutil.Process]:
    """The launch that runs, and what it has started."""
    assert launches._process
    launcher = psutil.Process(launches._process.pid)
    return [launcher, *launcher.children(recursive=True)]


def test_stages_are_forks_of_one_launch(stage: State, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(Launches()) as launches:
        for _ in range(2):  # its inputs are not there: it says so, and the next one is not touched
            with pytest.raises(StageFailed, match="10-init ended with exit code 1;"):
                launches.run(stage, CPU)
        said = capfd.readouterr().err
        assert said.count("error: ") == said.count("moxin-nano-tokens@data: no such") == 2
        launcher, shared = running(launches)
        assert shared.cmdline()[-2:] == ["-m", "moxin_recipes.stages"]
        shared.kill()
        with pytest.raises(StageFailed, match="10-init ended with exit code 1;"):
            launches.run(stage, CPU)
    assert not launcher.is_running()
    assert capfd.readouterr().err == ""


def test_a_launch_begins_early_and_loads_what_stages_need(
    checkout: Checkout, said: Said, tmp_path: Path
) -> None:
    note = tmp_path / "loaded"
    text = f"import os, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid()))"
    (checkout.source / "moxin_recipes" / "stages" / "later.py").write_text(text)
    stages: Any = [SimpleNamespace(stage=name) for name in ("not_there", "later")]
    with closing(Launches()) as launches:
        launches.begin(CPU, stages)
        begun = running(launches)[0].pid
        first = said(launches)
        assert first["forked"]
        assert int(note.read_text()) == first["parent"]
        assert running(launches)[0].pid == begun


def test_a_stage_runs_the_code_that_its_result_records(checkout: Checkout, said: Said) -> None:
    """Edited, edited back, and with a patch that no result may record."""
    secret = checkout.source / "mine.py"
    with closing(Launches()) as launches:
        first = said(launches)
        assert (first["says"], first["patch"]) == ("as committed", None)
        assert first["forked"]
        checkout.tell("edited after the first stage")
        second = said(launches)
        assert second["says"] == "edited after the first stage"
        assert "+SAYS, DOES = 'edited after the first stage'" in second["patch"]
        checkout.tell("as committed")
        third = said(launches)
        assert (third["says"], third["patch"]) == ("as committed", None)
        checkout.tell("edited beside a secret")
        secret.write_text(f"token = 'hf_{'a1B2' * 9}'\n")
        with pytest.raises(StageFailed):
            said(launches)
        secret.unlink()
        assert said(launches)["says"] == "edited beside a secret"


def test_a_stage_runs_the_packages_that_its_result_records(checkout: Checkout, said: Said) -> None:
    with closing(Launches()) as launches:
        assert said(launches)["added"] == ["1.0", "1.0"]
        checkout.install("10.0")
        assert said(launches)["added"] == ["10.0", "10.0"]


def test_code_that_is_edited_while_a_stage_is_loaded_is_not_mixed(
    checkout: Checkout, said: Said
) -> None:
    checkout.tell("loaded", "change")
    with closing(Launches()) as launches:
        only = said(launches)
    assert only["says"] == "changed in that moment"
    assert "+SAYS, DOES = 'changed in that moment'" in only["patch"]


def test_forks_draw_numbers_of_their_own(checkout: Checkout, said: Said) -> None:
    checkout.tell("draws", "draw")
    with closing(Launches()) as launches:
        first, second = said(launches), said(launches)
    assert first["forked"]
    assert second["forked"]
    for one, other in zip(first["drawn"], second["drawn"], strict=True):
        assert one != other


def test_an_edited_file_of_the_launcher_is_another_launch(
    checkout: Checkout, said: Said, tmp_path: Path
) -> None:
    file, same = tmp_path / "own.yaml", tmp_path / "same.yaml"
    file.write_text(CPU.read_text())
    same.write_text(f"{CPU.read_text()}# of the same content\n")
    with closing(Launches()) as launches:
        first, second = said(launches, file), said(launches, same)
        assert first["parent"] == second["parent"]
        assert first["precision"] == "no"
        file.write_text(CPU.read_text().replace("mixed_precision: 'no'", "mixed_precision: bf16"))
        assert said(launches, file)["precision"] == "bf16"


def test_a_launch_of_one_stage_ends_with_all_that_it_started(
    checkout: Checkout, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is signalled is still ours: its number is no other process's."""
    checkout.tell("leaves a process behind", "leave")
    file = tmp_path / "no-cpu.yaml"  # not shared
    file.write_text(CPU.read_text().replace("use_cpu: true", "use_cpu: false"))
    killpg, ours = os.killpg, []

    def seen(group: int, number: int) -> None:
        ours.append(psutil.pid_exists(group))
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", seen)
    with closing(Launches()) as launches:
        left = [said(launches, file)["left"], said(launches, file)["left"]]
    assert len(ours) == 2
    assert all(ours)
    alive = [psutil.Process(pid) for pid in left if psutil.pid_exists(pid)]
    assert psutil.wait_procs(alive, timeout=60)[1] == []


def test_cores_are_shared_by_the_processes_of_this_machine_only(
    stage: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "two-machines.yaml"
    several = {"distributed_type": "MULTI_GPU", "num_machines": 2, "num_processes": 8}
    file.write_text(yaml.safe_dump(yaml.safe_load(CPU.read_text()) | several))
    begun: list[list[str]] = []

    def popen(command: list[str], **how: Any) -> "subprocess.Popen[bytes]":
        begun.append(command)
        return real(["true"], **how)

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    trains = dataclasses.replace(stage, recipe=read(ROOT / "recipes/moxin-nano/30-sft.yaml"))
    with closing(Launches()) as launches:
        launches.run(trains, file)
    [command] = begun
    assert command[command.index("--num_cpu_threads_per_process") + 1] == "4"


def test_what_still_runs_ends_with_us(stage: State) -> None:
    started: list[psutil.Process] = []

    def interrupted() -> None:
        with closing(Launches()) as launches:
            with pytest.raises(StageFailed):
                launches.run(stage, CPU)
            started.extend(running(launches))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(started) == 2
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []
