"""Muon on several processes, each with a part of every matrix or with all of it, is that of one."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.conftest import ROOT
from tests.tiny import tiny_mistral
from tests.training.pretraining import Pretraining
from tests.training.shared_muon import SHAPE

HYBRID = {"parallelism_config_dp_replicate_size": 2, "parallelism_config_dp_shard_size": 2}


def launcher(folder: Path, name: str, **changes: Any) -> Path:
    """A launcher's file of ours, in float32, with these changes."""
    content = yaml.safe_load((ROOT / "accelerate_configs" / f"{name}.yaml").read_text())
    file = folder / "launcher.yaml"
    file.write_text(yaml.safe_dump({**content, "mixed_precision": "no", **changes}))
    return file


def train(pretraining: Pretraining, folder: Path, file: Path, *words: str) -> dict[str, Any]:
    pretraining.warm.run(file, "tests.training.shared_muon", [str(folder), *words], folder / "log")
    return load_file(folder / "weights.safetensors")


@pytest.fixture(scope="module")
def alone(pretraining: Pretraining, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone")
    weights = train(pretraining, folder, launcher(folder, "cpu"))
    start = tiny_mistral(**SHAPE).state_dict()
    assert weights.keys() == start.keys()
    for name, tensor in weights.items():
        assert (tensor - start[name]).abs().max() > 1e-2
    return weights


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ddp", {}),
        ("fsdp", {"num_processes": 2}),
        pytest.param(
            "hsdp_multinode",
            {"num_processes": 4, "num_machines": 1, "parallelism_config": HYBRID},
            marks=pytest.mark.soak,
        ),
    ],
)
def test_it_is_that_of_one_process_and_goes_on_exactly(
    pretraining: Pretraining,
    tmp_path: Path,
    alone: dict[str, Any],
    name: str,
    changes: dict[str, Any],
) -> None:
    file = launcher(tmp_path, name, **changes)
    undisturbed = train(pretraining, tmp_path, file)
    assert undisturbed.keys() == alone.keys()
    for key, tensor in undisturbed.items():
        assert (tensor - alone[key]).abs().max() < 1e-5, key
    again = train(pretraining, tmp_path, file, "3")
    for key, tensor in undisturbed.items():
        assert torch.equal(tensor, again[key]), key
