"""What a run shows while it goes, and what the trackers get; trackio stays on this machine."""

import logging
import os
import socket
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, TrainingArguments

from moxin_recipes.tokens.order import Location
from moxin_recipes.tokens.shards import Shard
from moxin_recipes.training import progress
from moxin_recipes.training.checkpoints import thinned
from moxin_recipes.training.progress import watch
from moxin_recipes.training.trainers import PretrainTrainer


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.full((16,), index)
        return {"input_ids": ids, "labels": ids, "position_ids": torch.arange(16)}

    def locate(self, index: int) -> Location:
        return Location("books", index // 4, Shard("books/train-00000-00000.bin", 64), index % 4)


def trainer(folder: Path, report_to: str) -> PretrainTrainer:
    shape = MistralConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        max_steps=4,
        logging_steps=2,
        save_strategy="no",
        use_cpu=True,
        report_to=report_to,
    )
    return PretrainTrainer(model=MistralForCausalLM(shape), args=args, train_dataset=Rows())


def run(**keys: Any) -> Any:
    values = {"global_batch_size": 2, "gpu_watts": None, "gpu_price": None} | keys
    return SimpleNamespace(
        keys=SimpleNamespace(**values),
        recipe=SimpleNamespace(name="20-pretrain-2k", ladder="mini"),
        is_main=True,
        processes=1,
        seconds=7200.0,
    )


def test_a_line_for_each_row_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = trainer(tmp_path, "none")
    watch(run(gpu_watts=700.0, gpu_price=2.5), ours, 16)
    with caplog.at_level(logging.INFO, progress.__name__):
        ours.train()
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("step 2/4, 0:00:0")
    for part in (" left", "loss ", "gradient ", "tokens/s", "1.4 kWh (estimated)", "5.00 spent"):
        assert part in first
    assert first.endswith("sequence 4, books in epoch 0")
    assert second.endswith("sequence 8, books in epoch 1")
    assert "MFU" not in first  # no peak is known for a CPU


def test_figures_of_the_clock_stay_out_of_the_manifest(tmp_path: Path) -> None:
    ours = trainer(tmp_path, "none")
    watch(run(gpu_watts=700.0), ours, 16)
    ours.train()
    rows = thinned(ours.state.log_history)
    expected = {"loss", "grad_norm", "learning_rate", "epoch", "step"}
    assert [set(row) for row in rows] == [expected, expected]


def test_trackio_gets_the_figures_and_connects_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*address: object) -> None:
        raise AssertionError(f"connects to {address}")

    ours = trainer(tmp_path, "trackio")
    watch(run(), ours, 16)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    ours.train()
    folder = Path(os.environ["TRACKIO_DIR"])
    assert folder.is_relative_to(os.environ["MOXIN_HOME"])
    with sqlite3.connect(folder / "mini.db") as database:
        rows = database.execute("select run_name, metrics from metrics order by step").fetchall()
    names = {name for name, _ in rows}
    text = " ".join(str(metrics) for _, metrics in rows)
    assert names == {"20-pretrain-2k"}
    for figure in ("tokens_per_second", "sequences", "eta_seconds", "grad_norm"):
        assert figure in text


def test_mfu_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours = trainer(tmp_path, "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 3 * 2**30)
    monkeypatch.setattr(type(ours.accelerator), "mixed_precision", "bf16")
    watcher = progress.ProgressDisplay(run(), ours, 16)
    figures = watcher._figures(10, seconds_a_step=0.001)
    # By hand: a layer multiplies q, o 16 × 16, k, v 16 × 8, three of 16 × 16, the head 16 × 64, and
    # attends to 16 / 2 positions twice; forward and backward are 3 × 2 operations each.
    products = 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 16 + 16 * 64 + 2 * 8 * 16
    speed = 2 * 16 / 0.001
    assert figures["tokens_per_second"] == pytest.approx(speed)
    assert figures["mfu"] == pytest.approx(100 * 6 * products * speed / 989e12)
    assert figures["gpu_memory_gib"] == 3
    assert figures["sequences"] == 20
