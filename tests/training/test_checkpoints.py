"""Checkpoints: only a whole one of this very key is gone on from."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.training import small
from tests.training.conftest import quiet, weights
from transformers import Trainer, TrainingArguments

from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.ranks import Ranks
from moxin_recipes.training import checkpoints, intact, states
from moxin_recipes.training import steps as steps_module


def seal(folder: Path, step: int, key: str = "k") -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(bytes(range(100)))
    (checkpoint / "optimizer.pt").write_bytes(b"state")
    files = {path.name: sha256_file(path) for path in checkpoint.iterdir()}
    seal_file = {"key": key, "seconds": float(step), "files": files}
    (checkpoint / "moxin.json").write_text(json.dumps(seal_file))
    return checkpoint


def run(folder: Path) -> Any:
    identity = SimpleNamespace(key="k", old_key="before")
    return SimpleNamespace(state=folder, identity=identity, ranks=Ranks(), is_main=True)


def test_the_newest_whole_one_is_used_and_no_older_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, last = seal(tmp_path, 9), seal(tmp_path, 100)
    read: list[Path] = []
    monkeypatch.setattr(intact, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    assert intact.last_intact(run(tmp_path)) == last
    assert {path.parent for path in read} == {last}
    assert intact.on_disk(run(tmp_path)) == [before, last]


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (lambda c: (c / "moxin.json").unlink(), "not written to its end"),
        (lambda c: (c / "optimizer.pt").write_bytes(b"stAte"), "optimizer.pt is not what"),
        (lambda c: (c / "model.safetensors").unlink(), "model.safetensors is not what"),
    ],
)
def test_a_broken_one_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Any, word: str
) -> None:
    before, last = seal(tmp_path, 9), seal(tmp_path, 100)
    harm(last)
    with caplog.at_level(logging.WARNING):
        assert intact.last_intact(run(tmp_path)) == before
    assert word in caplog.text


def test_one_of_another_key_is_not_used(tmp_path: Path) -> None:
    seal(tmp_path, 5, key="other")
    assert intact.last_intact(run(tmp_path)) is None
    of_the_first_form = seal(tmp_path, 6, key="before")
    assert intact.last_intact(run(tmp_path)) == of_the_first_form


def test_what_was_sent_is_not_put_together_again(tmp_path: Path) -> None:
    keys = SimpleNamespace(
        push_to_hub=True, push_checkpoints=True, keep_checkpoints=None, push_training_state=False
    )
    recipe = SimpleNamespace(stage="sft")
    sft: Any = SimpleNamespace(state=tmp_path, is_main=True, keys=keys, recipe=recipe)
    trainer: Any = SimpleNamespace(model=None)
    sharded = tmp_path / "checkpoint-8"
    (sharded / "pytorch_model_fsdp_0").mkdir(parents=True)  # empty: to merge it is an error
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "step-000008.sent").touch()
    again = checkpoints.Checkpoints(sft, trainer)
    again.push_again(sharded)
    again._wait()  # raises what happened there


def test_torch_files_stay_at_home(tmp_path: Path) -> None:
    names = [path.name for path in states.model_files(seal(tmp_path, 1))]
    assert names == ["model.safetensors"]


@pytest.mark.parametrize(("steps", "at"), [(3, 3), (3, 2), (9, 6)])
def test_a_run_that_was_killed_at_any_step_takes_no_step_more(
    tmp_path: Path, steps: int, at: int
) -> None:
    """Of 6 steps of data: the Trainer alone would take a fourth after the third."""
    options = quiet(tmp_path, max_steps=steps, save_strategy="steps", save_steps=1)
    args = TrainingArguments(**options, per_device_train_batch_size=2)

    def ended(**resume: Any) -> Trainer:
        made = Trainer(model=small.model(), args=args, train_dataset=small.Rows(12))
        steps_module.end_at_the_last(made)
        made.train(**resume)
        return made

    calm, again = ended(), ended(resume_from_checkpoint=str(tmp_path / f"checkpoint-{at}"))
    assert again.state.global_step == steps
    for name, weight in weights(calm.model).items():
        assert torch.equal(weight, weights(again.model)[name])


def test_the_log_is_thinned_and_has_no_clock() -> None:
    history = [{"loss": 1.0, "step": i, "step_time": 2.0, "eval_runtime": 3.0} for i in range(950)]
    rows = checkpoints.thinned(history)
    assert 150 < len(rows) <= 200
    assert set(rows[0]) == {"loss", "step"}
