"""The pretraining trainer: schedules, z-loss, accumulation, steps passed over, exact resume."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.training.small import POISON, Rows, logged, model, trainer
from transformers import MistralForCausalLM

from moxin_recipes.recipe import trainers
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training.steps import StepGuard
from moxin_recipes.training.trainers import PretrainTrainer, stack

COSINE = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}}
WSD = {
    "lr_scheduler_type": "warmup_stable_decay",
    "lr_scheduler_kwargs": {"num_decay_steps": 10, "decay_type": "linear"},
}


def cosine(step: int) -> float:
    done = (step - 5) / 35
    return 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (COSINE, cosine),
        (WSD, lambda step: min(1.0, (40 - step) / 10)),
        ({"lr_scheduler_type": "linear"}, lambda step: (40 - step) / 35),
    ],
    ids=["cosine to 10 %", "WSD", "linear to 0"],
)
def test_the_keys_of_a_recipe_give_the_schedule(
    keys: dict[str, Any], expected: Any, tmp_path: Path
) -> None:
    path = tmp_path / "20-pretrain.yaml"
    values = {
        "stage": "pretrain",
        "model_name_or_path": "m",
        "dataset_name": "d",
        "hub_model_id": "o",
        "context_length": 32,
        "mixture": [{"source": "s", "weight": 1.0}],
        "global_batch_size": 2,
        "max_steps": 40,
        "learning_rate": 0.01,
        "warmup_steps": 5,
        **keys,
    }
    path.write_text(yaml.safe_dump(values))
    (args,) = trainers.fill(read(path), Launcher(), on_hardware=True)
    names = ("learning_rate", "warmup_steps", "lr_scheduler_type", "lr_scheduler_kwargs")
    scheduler_options = {name: getattr(args, name) for name in names}
    pretrainer = trainer(tmp_path, Rows(80), model(), **scheduler_options)
    pretrainer.train()
    rates = [rate / 0.01 for rate in logged(pretrainer, "learning_rate")]  # after steps 0 to 39
    assert rates[:5] == pytest.approx([step / 5 for step in range(5)])
    assert rates[5:] == pytest.approx([expected(step) for step in range(5, 40)], abs=1e-9)


def gradients(net: MistralForCausalLM) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def one_step(folder: Path, rows: int, micro: int, **options: Any) -> tuple[float, Any]:
    """Loss of the one step over `rows` rows, and the gradients it was taken with."""
    net, step_gradients = model(), {}
    pretrainer = trainer(
        folder,
        Rows(rows),
        net,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=rows // micro,
        max_grad_norm=0.0,
        **options,
    )
    allows = pretrainer.guard.allows

    def watching(step: int, loss: float, norm: float) -> bool:
        step_gradients.update(gradients(net))
        return allows(step, loss, norm)

    pretrainer.guard.allows = watching  # type: ignore[method-assign]
    pretrainer.train()
    return logged(pretrainer, "loss")[0], step_gradients


@pytest.mark.parametrize("weight", [0.0, 1e-2])
def test_four_times_one_equals_one_times_four(weight: float, tmp_path: Path) -> None:
    options = {"z_loss": weight} if weight else {}
    one_batch, gradients_one_batch = one_step(tmp_path, 4, 4, **options)
    micro_batches, gradients_micro_batches = one_step(tmp_path, 4, 1, **options)
    assert micro_batches == pytest.approx(one_batch, rel=1e-5)
    for name, gradient in gradients_one_batch.items():
        torch.testing.assert_close(gradients_micro_batches[name], gradient, rtol=0, atol=1e-5)


def test_z_loss_is_what_it_says(tmp_path: Path) -> None:
    plain, _ = one_step(tmp_path, 2, 2)
    with_z, _ = one_step(tmp_path, 2, 2, z_loss=0.01)
    batch = stack([Rows(2)[i] for i in range(2)])
    with torch.no_grad():
        logits = model()(**batch, use_cache=False).logits[:, :-1]
    squares = logits.logsumexp(-1)[batch["labels"][:, 1:] != -100] ** 2
    assert with_z - plain == pytest.approx(0.01 * float(squares.mean()), rel=1e-3)


def poisonous() -> MistralForCausalLM:
    """A model that gives NaN where the poisoned token is read."""
    net = model()
    with torch.no_grad():
        net.model.embed_tokens.weight[POISON] = float("nan")
    return net


def test_a_loss_that_is_no_number_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = poisonous()
    pretrainer = trainer(tmp_path, Rows(20, poisoned=(9,)), net, lr_scheduler_type="constant")
    states: list[Any] = []
    allows = pretrainer.guard.allows

    def watching(step: int, loss: float, norm: float) -> bool:
        weights = {name: p.detach().clone() for name, p in net.named_parameters()}
        moments = [state["exp_avg"].clone() for state in pretrainer.optimizer.state.values()]
        states.append((weights, moments))
        return allows(step, loss, norm)

    pretrainer.guard.allows = watching  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        pretrainer.train()
    assert pretrainer.guard.skipped == [5]  # rows 8 and 9
    assert "step 5 is passed over: the loss is nan" in caplog.text

    def unchanged(before: int, after: int) -> bool:
        (old, old_moments), (new, new_moments) = states[before], states[after]
        same = all(torch.equal(old[n].nan_to_num(), new[n].nan_to_num()) for n in old)
        moments = zip(old_moments, new_moments, strict=True)
        return same and all(torch.equal(a, b) for a, b in moments)

    assert unchanged(4, 5)  # before step 5, and after it
    assert not unchanged(5, 6)
    assert not pretrainer.args.logging_nan_inf_filter  # which waits for the device, again and again
    assert all(map(math.isfinite, logged(pretrainer, "loss")))


def test_after_too_many_the_run_stops_with_one_error(tmp_path: Path) -> None:
    pretrainer = trainer(tmp_path, Rows(20, poisoned=(1, 3, 9)), poisonous(), max_skipped_steps=2)
    with pytest.raises(RecipeError) as caught:
        pretrainer.train()
    assert "step 5: the loss is nan; 3 steps were passed over" in str(caught.value)
    assert "`max_skipped_steps` is 2" in str(caught.value)
    assert "steps 1, 2, 5 read" in str(caught.value)


def test_a_batch_without_anything_to_predict_is_passed_over(tmp_path: Path) -> None:
    class Empty(Rows):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            row = super().__getitem__(index)
            return {**row, "labels": torch.full_like(row["labels"], -100)} if index < 2 else row

    pretrainer = trainer(tmp_path, Empty(8), model())
    pretrainer.train()
    assert pretrainer.guard.skipped == [1]


def test_a_spike_is_passed_over_and_a_lasting_change_is_not(tmp_path: Path) -> None:
    class Spiking(Rows):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return Rows(0)[index] if index // 2 == 89 else super().__getitem__(index)

    net = model()
    trainer(tmp_path, Rows(60, easy=True), net, learning_rate=3e-2).train()
    pretrainer = trainer(tmp_path, Spiking(200, easy=True), net, learning_rate=1e-4)
    pretrainer.train()
    assert pretrainer.guard.skipped == [90]
    guard = StepGuard(limit=100)
    calm = [1.0 + 0.01 * (i % 7) for i in range(100)]
    taken = [guard.allows(i, loss, 1.0) for i, loss in enumerate([*calm, *[2.0] * 50])]
    assert not taken[100]
    assert all(taken[110:])
    assert not guard.allows(150, 1.0, float("inf"))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resume_is_exact_and_reads_nothing_twice(accumulation: int, tmp_path: Path) -> None:
    options = {
        "gradient_accumulation_steps": accumulation,
        "save_strategy": "steps",
        "save_steps": 5,
        "learning_rate": 3e-3,
        **COSINE,
    }
    rows_per_step = 2 * accumulation

    def make(folder: Path) -> tuple[Any, Rows, MistralForCausalLM]:
        net = model(dropout=0.1)  # draws random numbers at every step
        with torch.no_grad():
            net.model.embed_tokens.weight[POISON] = float("nan")
        rows = Rows(10 * rows_per_step, poisoned=(3 * rows_per_step,))
        return trainer(folder, rows, net, **options), rows, net

    undisturbed, all_rows, net = make(tmp_path)
    undisturbed.train()
    again, rows, other = make(tmp_path)
    again.start_step = 5
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert all_rows.read == list(range(10 * rows_per_step))
    assert rows.read == list(range(5 * rows_per_step, 10 * rows_per_step))
    for name, weight in net.state_dict().items():
        assert torch.equal(weight.nan_to_num(), other.state_dict()[name].nan_to_num()), name
    for key in ("loss", "epoch", "learning_rate"):
        assert logged(again, key) == logged(undisturbed, key)
    assert again.guard.skipped == [4]
    saved = json.loads((tmp_path / "checkpoint-10/trainer_state.json").read_text())
    assert saved["epoch"] == 1.0
    assert len(saved["stateful_callbacks"]["StepGuard"]["attributes"]["recent"]) == 9


def test_context_parallelism_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PretrainTrainer, "get_cp_size", lambda self: 2)
    with pytest.raises(RecipeError, match="context parallelism attends across documents"):
        trainer(tmp_path, Rows(2), model())
