"""Two data-parallel processes train as one does: samples, losses, gradients, steps passed over."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import ROOT
from tests.training.pretraining import Pretraining
from tests.warm import Warm


def launch(warm: Warm, folder: Path, config: str, *words: str) -> list[dict[str, Any]]:
    """What each rank wrote."""
    file = ROOT / "accelerate_configs" / f"{config}.yaml"
    warm.run(file, "tests.training.on_ranks", [str(folder), *words], folder / "log")
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


def test_two_processes_equal_one_and_go_on_for_it(pretraining: Pretraining, tmp_path: Path) -> None:
    warm = pretraining.warm
    (tmp_path / "one").mkdir()
    (alone,) = launch(warm, tmp_path / "one", "cpu")
    (tmp_path / "two").mkdir()
    first, second = launch(warm, tmp_path / "two", "ddp")
    assert alone["read"] == list(range(20))
    assert first["read"] == [i for i in range(20) if i % 4 < 2]  # the first half of each step
    assert second["read"] == [i for i in range(20) if i % 4 >= 2]
    for rank in (first, second):
        assert rank["skipped"] == alone["skipped"] == [3]
    taken = [i for i in range(5) if i != 2]
    for step in taken:
        assert first["loss"][step] == pytest.approx(alone["loss"][step], rel=1e-5)
    for name, gradient in alone["gradients"].items():
        for rank in (first, second):
            np.testing.assert_allclose(rank["gradients"][name], gradient, rtol=0, atol=1e-5)
    assert _equal(first["weights"], second["weights"])
    # A checkpoint of one process, gone on from by two: the same rows, the same loss.
    (tmp_path / "both").mkdir()
    (tmp_path / "one" / "checkpoint-4").rename(tmp_path / "both" / "checkpoint-4")
    first, second = launch(warm, tmp_path / "both", "ddp", "4")
    assert (first["read"], second["read"]) == ([16, 17], [18, 19])
    assert first["loss"][4:] == pytest.approx(alone["loss"][4:], rel=1e-5)
    assert first["skipped"] == [3]


def _equal(weights: dict[str, list[float]], other_weights: dict[str, list[float]]) -> bool:
    return all(np.array_equal(weights[n], other_weights[n], equal_nan=True) for n in weights)
