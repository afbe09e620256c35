"""Stages of one process on a CPU share one launch, and each has its own end."""

from pathlib import Path

import psutil
import pytest
from tests.conftest import ROOT, write_ladder

from moxin_recipes.ladder.launches import Launches, StageFailed
from moxin_recipes.ladder.state import State
from moxin_recipes.recipe.reading import read

CPU = ROOT / "accelerate_configs" / "cpu.yaml"


def test_stages_are_forks_of_one_launch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stage = State(read(write_ladder(tmp_path / "ladder") / "10-init.yaml"), None)
    with Launches() as launches:
        for _ in range(2):  # its inputs are not there: it says so, and the next one is not touched
            with pytest.raises(StageFailed, match="10-init ended with exit code 1;"):
                launches.run(stage, CPU)
        said = capfd.readouterr().err
        assert said.count("error: ") == said.count("moxin-nano-tokens@data: no such") == 2
        (launcher,) = psutil.Process().children()
        (shared,) = launcher.children()
        assert shared.cmdline()[-2:] == ["-m", "moxin_recipes.stages"]
        shared.kill()
        with pytest.raises(StageFailed, match="10-init ended with exit code 1;"):
            launches.run(stage, CPU)
    assert not launcher.is_running()
    assert capfd.readouterr().err == ""


def test_what_still_runs_ends_with_us(tmp_path: Path) -> None:
    stage = State(read(write_ladder(tmp_path / "ladder") / "10-init.yaml"), None)
    started: list[psutil.Process] = []

    def interrupted() -> None:
        with Launches() as launches:
            with pytest.raises(StageFailed):
                launches.run(stage, CPU)
            started.extend(psutil.Process().children(recursive=True))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(started) == 2
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []
