"""Torch's files as safetensors and JSON: what comes back is what was there, to the bit."""

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import tiny_mistral
from tests.training.conftest import weights
from tests.training.small import Rows, model, trainer
from transformers import get_scheduler
from transformers.trainer_pt_utils import safe_globals

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training import plain, states
from moxin_recipes.training.optimizers import Muon


def there_and_back(folder: Path, name: str, content: Any) -> Any:
    source = folder / "here" / name
    source.parent.mkdir(exist_ok=True)
    torch.save(content, source)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    for path in plain.write(source, out):
        assert path.suffix in (".json", ".safetensors")
    plain.restore(out)
    assert [path.name for path in out.iterdir()] == [name]
    with safe_globals():
        return torch.load(out / name, weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Types, values and bits; the order of dicts, too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def stepped(kind: type[torch.optim.Optimizer], **options: Any) -> torch.optim.Optimizer:
    """An optimizer with a state, after two steps on a small model."""
    model = tiny_mistral(vocab_size=64, hidden_size=16, intermediate_size=24)
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim == 2], **options},
        {"params": [p for p in parameters if p.ndim != 2]},
    ]
    optimizer = kind(groups, lr=1 / 3)  # type: ignore[call-arg]
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.AdamW, {"amsgrad": True}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.SGD, {}),
        (Muon, {"momentum": 0.95}),
    ],
)
def test_optimizers(tmp_path: Path, kind: type[torch.optim.Optimizer], options: Any) -> None:
    state = stepped(kind, **options).state_dict()
    assert same(there_and_back(tmp_path, "optimizer.pt", state), state)


@pytest.mark.parametrize("name", ["cosine_with_min_lr", "linear", "warmup_stable_decay"])
def test_schedulers(tmp_path: Path, name: str) -> None:
    more = {"min_lr_rate": 0.1} if name.startswith("cosine") else {}
    more = {"num_decay_steps": 3} if name.startswith("warmup") else more
    scheduler = get_scheduler(
        name,
        stepped(torch.optim.AdamW),
        num_warmup_steps=2,
        num_training_steps=9,
        scheduler_specific_kwargs=more,
    )
    state = scheduler.state_dict()
    assert same(there_and_back(tmp_path, "scheduler.pt", state), state)


@pytest.mark.parametrize("name", ["rng_state.pth", "rng_state_0.pth", "rng_state_15.pth"])
def test_random_states(tmp_path: Path, name: str) -> None:
    random.gauss(0, 1)  # the second number of a pair is a part of the state
    state = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.get_rng_state(),
        "cuda": [torch.get_rng_state()] * 2,
    }
    assert same(there_and_back(tmp_path, name, state), state)


def test_odd_values(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    state = {
        "scale": math.inf,
        "no number": [math.nan, -math.inf, -0.0, 0.1 + 0.2, 5e-324],
        "$tensor": "no tensor",
        (1, "a"): {1: True, "1": None},
        "bits": torch.tensor([math.nan, -0.0]).to(torch.bfloat16).view(torch.int16),
        "empty": [torch.empty(0), (), {}, []],
        "two": [shared, shared],
        "columns": torch.arange(6).reshape(2, 3).T,
    }
    back = there_and_back(tmp_path, "scaler.pt", state)
    assert same({**back, "columns": 0}, {**state, "columns": 0})
    assert torch.equal(back["columns"], state["columns"])
    assert back["two"][0].data_ptr() == back["two"][1].data_ptr()


def test_json_is_plain(tmp_path: Path) -> None:
    torch.save({"last": [1 / 3, math.inf], 7: (1, torch.ones(2))}, tmp_path / "scheduler.pt")
    path, _ = plain.write(tmp_path / "scheduler.pt", tmp_path)

    def refused(word: str) -> None:
        raise AssertionError(word)

    assert json.loads(path.read_text(), parse_constant=refused) == {
        "$items": [["last", [1 / 3, {"$float": "inf"}]], [7, {"$tuple": [1, {"$tensor": "0"}]}]]
    }


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    torch.save({"ids": {1, 2}}, tmp_path / "scheduler.pt")
    line = "`push_training_state`: scheduler.pt holds an object of the type set, and no pickle"
    with pytest.raises(RecipeError, match=line):
        plain.write(tmp_path / "scheduler.pt", tmp_path)


def test_a_file_with_another_name_is_never_made_torchs(tmp_path: Path) -> None:
    for name in ("config.json", "training_args.json", "rng_state_x.json"):
        (tmp_path / name).write_text("{}")
    plain.restore(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_a_restored_checkpoint_goes_on_with_the_same_random_numbers(tmp_path: Path) -> None:
    """Dropout draws; a run that goes on without the random state ends with other weights."""

    def trained(folder: Path, checkpoint: Path | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        options = {"save_strategy": "steps", "save_steps": 3, "seed": 5}
        made = trainer(folder, Rows(12), model(dropout=0.5), **options)
        made.start_step = 3 if checkpoint else 0
        made.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return weights(made.model)

    calm = trained(tmp_path / "calm")
    saved = tmp_path / "calm" / "checkpoint-3"
    states.begin(saved)
    for name, without in (("whole", ()), ("part", ("rng_state.json", "rng_state.safetensors"))):
        checkpoint = tmp_path / name / "checkpoint-3"
        checkpoint.mkdir(parents=True)
        for path in states.write(saved, tmp_path / "written"):
            if path.name not in without:
                shutil.copy(path, checkpoint)
        plain.restore(checkpoint)
        ended = trained(tmp_path / name, checkpoint)
        same_weights = all(torch.equal(ended[key], calm[key]) for key in calm)
        assert same_weights == (name == "whole")
