"""A launch that cannot work is an error of one line before anything is launched."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from moxin_recipes.ladder import launching, order
from moxin_recipes.recipe import door
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from tests.conftest import ROOT, Workplace

FILE = ROOT / "accelerate_configs" / "fsdp_multinode.yaml"


def config(folder: Path, **changes: Any) -> Path:
    path = folder / "launcher.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(FILE.read_text()), **changes}))
    return path


def missing(path: Path) -> str | None:
    return launching.missing_here(path, Launcher.of_file(path))


def test_machines_and_gpus_are_compared_with_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "gpus", lambda: 8)
    said = missing(FILE)
    assert said is not None
    assert "fsdp_multinode.yaml starts 64 processes on 8 machines of 8 GPUs" in said
    assert "--accelerate-config" in said
    assert "slurm/launch.slurm" in said
    assert missing(config(tmp_path, num_machines=1, num_processes=8)) is None
    # Each machine of a cluster may run the same command with the first one's address.
    assert missing(config(tmp_path, main_process_ip="node1")) is None
    monkeypatch.setattr(launching, "gpus", lambda: 4)
    assert "this is 1 machine with 4 GPUs" in str(missing(ROOT / "accelerate_configs/fsdp.yaml"))
    assert missing(ROOT / "accelerate_configs/ddp.yaml") is None  # two processes on a CPU
    monkeypatch.setattr(launching, "gpus", lambda: 0)
    assert "this is 1 machine with 0 GPUs" in str(missing(ROOT / "accelerate_configs/fsdp.yaml"))
    assert missing(ROOT / "accelerate_configs/cpu.yaml") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distributed_type": "DEEPSPEED"}, "`distributed_type` must be NO or MULTI_GPU or FSDP"),
        ({"distributed_type": "TPU"}, "`distributed_type` must be NO or MULTI_GPU or FSDP"),
        ({"distributed_type": "NO"}, "`distributed_type: NO` starts one process, not 64"),
        ({"num_processes": "two"}, "`num_processes` must be int, not 'two'"),
        ({"num_processes": 0}, "`num_processes` must be at least 1, not 0"),
        ({"num_processes": 2.7}, "`num_processes` must be int, not 2.7"),
        ({"num_machines": None}, "`num_machines` must be int, not None"),
        ({"mixed_precision": "bogus"}, "`mixed_precision` must be no or bf16 or fp16 or fp8"),
        ({"use_cpu": "false"}, "`use_cpu` must be bool, not 'false'"),
        ({"fp8_config": {"backend": "TE"}}, "`fp8_config`: the recipes know nothing of it"),
        ({"deepspeed_config": {"zero_stage": 3}}, "`deepspeed_config`: the recipes know nothing"),
        ({"some_new_field": 1}, "`some_new_field`: the recipes know nothing of it"),
    ],
)
def test_a_launcher_that_no_recipe_can_use_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        Launcher.of_file(config(tmp_path, **changes))
    assert f"`accelerate_config`: {tmp_path / 'launcher.yaml'}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1", b"- a", b""])
def test_a_broken_launcher_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "launcher.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match="`accelerate_config`: ") as caught:
        Launcher.of_file(path)
    assert "\n" not in str(caught.value)


def test_a_ladder_is_checked_for_all_of_its_processes(tmp_path: Path) -> None:
    """TRL does its arithmetic of groups with the number of processes that it finds."""
    changes = {"global_batch_size": 64, "num_generations": 16, "per_device_train_batch_size": 8}
    base = ROOT / "recipes" / "moxin-nano" / "42-grpo.yaml"
    path = tmp_path / "42-grpo.yaml"
    path.write_text(yaml.safe_dump({"extends": str(base), **changes}))
    eight = Launcher(processes=8)
    door.check(read(path), eight, on_hardware=False)
    path.write_text(yaml.safe_dump({"extends": str(base), **changes, "generation_batch_size": 96}))
    with pytest.raises(RecipeError, match="must be divisible by the global batch size"):
        door.check(read(path), eight, on_hardware=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hub_model_id": "moxin-nano-sft"}, "sets the tag moxin-nano-sft@sft"),
        ({"model_name_or_path": "mine@sft", "hub_model_id": "mine"}, "mine@sft is what this stage"),
        ({"model_name_or_path": "mine", "hub_model_id": "mine"}, "mine@main is what this stage"),
    ],
)
def test_ladders_that_would_never_be_done_are_refused(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    base = {"extends": str(ROOT / "recipes" / "moxin-nano" / "30-sft.yaml")}
    (tmp_path / "30-sft.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "31-sft.yaml").write_text(yaml.safe_dump({**base, **changes}))
    with pytest.raises(RecipeError) as caught:
        order.outside_inputs(order.read(tmp_path))
    assert message in str(caught.value)
    assert "31-sft.yaml" in str(caught.value)


def test_a_stage_of_eight_machines_does_not_wait_for_them(tmp_path: Path) -> None:
    """The command of a user with one machine: an error in seconds where it waited for minutes."""
    place = Workplace(tmp_path / "home", ROOT / "recipes" / "moxin-7b")
    done = place.run("--only", "30-sft")
    assert done.returncode == 1
    (line,) = (row for row in done.stderr.splitlines() if row.startswith("error: "))
    assert "30-sft.yaml: `dataset_name`: allenai/tulu-3-sft-mixture@main: no such" in line
    assert "`model_name_or_path`: local/moxin-7b-base@pretrain-enhance: no such" in line
    assert "22-pretrain-enhance makes it" in line
    assert "`accelerate_config`: fsdp_multinode.yaml starts 64 processes on 8 machines" in line
    assert "--accelerate-config" in line
    assert "slurm/launch.slurm" in line
    assert not (place.home / "runs").exists()


def test_an_input_that_nobody_makes_is_named(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "home", tmp_path / "ladder")
    place.ladder.mkdir()
    base = ROOT / "recipes" / "moxin-nano" / "31-dpo.yaml"
    (place.ladder / "31-dpo.yaml").write_text(yaml.safe_dump({"extends": str(base)}))
    done = place.run()
    assert done.returncode == 1
    assert "31-dpo.yaml: `dataset_name`: local/moxin-nano-preferences@data: no such" in done.stderr
    assert "Traceback" not in done.stderr
    assert "starts" not in done.stderr


def test_the_command_is_a_module_too(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "home", ROOT / "recipes" / "moxin-nano")
    done = subprocess.run(
        [sys.executable, "-m", "moxin_recipes.cli", "status", str(place.ladder), "--json"],
        env=place.environment(MOXIN_HUB="local"),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in json.loads(done.stdout)] == ["to do"] + ["waiting"] * 11
