"""`torch_compile` under FSDP2 with selective checkpointing trains as eager does, up to rounding."""

import json
from pathlib import Path

import pytest
import yaml
from tests.conftest import ROOT
from tests.training.pretraining import Pretraining


@pytest.mark.soak  # compiling takes the longest part of a minute
def test_two_compiled_processes_equal_two_eager_ones(
    pretraining: Pretraining, tmp_path: Path
) -> None:
    config = yaml.safe_load((ROOT / "accelerate_configs" / "fsdp.yaml").read_text())
    file = tmp_path / "fsdp.yaml"
    file.write_text(yaml.safe_dump({**config, "num_processes": 2, "mixed_precision": "no"}))
    numbers = {}
    for compiles in ("no", "yes"):
        folder = tmp_path / compiles
        folder.mkdir()
        words = [str(folder), compiles]
        pretraining.warm.run(file, "tests.training.compiled", words, folder / "log")
        numbers[compiles] = json.loads((folder / "losses.json").read_text())
    assert len(numbers["no"]["loss"]) == 3
    for key, eager in numbers["no"].items():
        assert numbers["yes"][key] == pytest.approx(eager, rel=1e-5)
