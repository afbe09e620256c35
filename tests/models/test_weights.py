"""What is pushed holds every parameter, or is an error."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.training.small import model

from moxin_recipes.models.weights import WeightsError, check_whole, parameter_shapes


def test_a_parameter_that_is_missing_or_cut_is_named(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path)
    check_whole(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    assert set(weights) == set(parameter_shapes(tmp_path))
    norm = weights.pop("model.norm.weight")
    save_file(weights, path)
    with pytest.raises(WeightsError, match=r"1 of 21 parameters.*model\.norm\.weight"):
        check_whole(tmp_path)
    save_file({**weights, "model.norm.weight": norm[:8].contiguous()}, path)
    with pytest.raises(WeightsError, match=r"model\.norm\.weight"):
        check_whole(tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match="21 of 21 parameters"):
        check_whole(tmp_path)
