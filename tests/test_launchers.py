"""The launcher files as far as a machine without GPUs can tell, and the Slurm script's logic."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from accelerate.parallelism_config import ParallelismConfig
from accelerate.utils import FullyShardedDataParallelPlugin

from tests.conftest import ROOT
from tests.warm import launcher_environment

CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
SHARDED = ["fsdp", "fsdp_multinode", "hsdp_multinode"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_launcher_takes_every_file(path: Path) -> None:
    environment, processes = launcher_environment(path, "module")
    values = yaml.safe_load(path.read_text())
    assert processes == values["num_processes"]
    assert (environment.get("ACCELERATE_USE_FSDP") == "true") == (path.stem in SHARDED)


@pytest.mark.parametrize("name", SHARDED)
def test_sharded_files_mean_fsdp2_in_bf16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, _ = launcher_environment(ROOT / "accelerate_configs" / f"{name}.yaml", "module")
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert "SHARDED_STATE_DICT" in str(plugin.state_dict_type)
    assert plugin.activation_checkpointing
    assert plugin.transformer_cls_names_to_wrap == ["MistralDecoderLayer"]
    assert plugin.reshard_after_forward is True


def test_hybrid_sharding_fills_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ROOT / "accelerate_configs" / "hsdp_multinode.yaml"
    environment, processes = launcher_environment(file, "module")
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    sizes = ParallelismConfig()
    assert (sizes.dp_replicate_size, sizes.dp_shard_size) == (8, 8)
    assert sizes.total_size == processes == 64
    assert not sizes.cp_enabled


STAND_INS = {
    # One node; the stage is a program that waits for TERM, as a training is.
    "srun": 'echo "srun $*" >> "$CALLS"; exec sleep 60',
    "scontrol": 'echo "scontrol $*" >> "$CALLS"; [ "$1" = show ] && echo node1; exit 0',
}


NANO_PHASE = "recipes/moxin-nano/20-pretrain-2k.yaml"


def slurm(
    folder: Path, *words: str, recipe: str = NANO_PHASE, nodes: int = 1, **stand_ins: str
) -> tuple[subprocess.Popen[str], Path]:
    """The script as Slurm starts it on one node, with stand-ins for its commands."""
    for name, text in (STAND_INS | stand_ins).items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    calls = folder / "calls"
    process = subprocess.Popen(
        ["/bin/bash", "slurm/launch.slurm", recipe, *words],
        cwd=ROOT,
        env={
            "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CALLS": str(calls),
            "TMPDIR": "/scratch",
            "HF_TOKEN": "hf_not_real",
            "SLURM_JOB_ID": "77",
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_JOB_NODELIST": "node1",
            "MOXIN_PYTHON": sys.executable,
            "MOXIN_HOME": str(folder / "home"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, calls


def test_near_the_time_limit_slurm_puts_the_job_back(tmp_path: Path) -> None:
    process, calls = slurm(tmp_path)
    while not calls.exists() or "srun" not in calls.read_text():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "it goes on from its last checkpoint" in output
    assert "scontrol requeue 77" in calls.read_text()
    assert "-m moxin_recipes.stages." not in output  # the launch line is srun's
    assert "accelerate_configs/cpu.yaml" in calls.read_text()
    header = (ROOT / "slurm" / "launch.slurm").read_text()
    assert "#SBATCH --requeue" in header
    assert "#SBATCH --signal=B:USR1@300" in header


def test_a_stage_that_fails_is_not_put_back(tmp_path: Path) -> None:
    process, calls = slurm(tmp_path, srun='echo "srun $*" >> "$CALLS"; exit 7')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 7, output
    assert "requeue" not in calls.read_text()


@pytest.mark.parametrize("given", [None, "/local"])
def test_tokens_are_kept_on_a_disk_of_the_node(tmp_path: Path, given: str | None) -> None:
    words = ["--token_cache_dir", given] if given else []
    process, calls = slurm(tmp_path, *words, srun='echo "srun $*" >> "$CALLS"')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    folder = given or f"/scratch/moxin-tokens-{os.getuid()}"
    assert f"--token_cache_dir {folder}\n" in calls.read_text()


def test_a_variant_is_launched_as_what_it_extends(tmp_path: Path) -> None:
    variant = "recipes/moxin-7b-expanded/20-pretrain-2k.yaml"
    process, calls = slurm(tmp_path, recipe=variant, srun='echo "srun $*" >> "$CALLS"')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "--config_file accelerate_configs/fsdp_multinode.yaml" in calls.read_text()
    assert f"pretrain {variant}" in calls.read_text()


def test_a_stage_of_one_process_gets_one_node(tmp_path: Path) -> None:
    process, _ = slurm(tmp_path, recipe="recipes/moxin-7b/40-distill.yaml", nodes=2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "is for one process; use a file for several, or --nodes 1" in output
