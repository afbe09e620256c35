"""Shows a training run while it goes: speed, MFU, remaining time, position and cost."""

import logging
import sys
import time
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.utils import adjusted_mfu, compute_flops_per_token, compute_mfu, get_peak_flops

from moxin_recipes.recipe.base import cost
from moxin_recipes.training.job import Job

log = logging.getLogger(__name__)
_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
_FORMATS = {  # how a value is shown; other values go only to the trackers
    "loss": "loss {:.4f}",
    "grad_norm": "gradient {:.3g}",
    "learning_rate": "lr {:.3g}",
    "tokens_per_second": "{:,.0f} tokens/s",
    "mfu": "MFU {:.1f} %",
    "gpu_memory_gib": "{:.1f} GiB",
    "energy_kwh": "{:.3g} kWh (estimated)",
    "price": "{:.2f} spent",
    "sequences": "sequence {:,}",
    "reward": "reward {:.3f}",
}


def watch(run: Job, trainer: Trainer, sequence_length: int | None = None) -> None:
    """Shows the progress of `trainer`, and adds its figures to the rows that trackers get.

    `sequence_length` is the number of tokens of each sequence. Without it there are no tokens a
    second and no MFU. The Trainer's progress bar is removed. Trackers name the run after ladder and
    stage, unless the recipe names it. Call this before `trainer.train`.
    """
    args = trainer.args
    args.run_name = args.run_name or run.recipe.name
    if args.project == "huggingface":  # the Trainer's default
        args.project = run.recipe.ladder
    for kind in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(kind)
    if run.is_main:
        # It comes first, so that the row has the figures when the trackers get it.
        trainer.callback_handler.callbacks.insert(0, ProgressDisplay(run, trainer, sequence_length))


class ProgressDisplay(TrainerCallback):
    """Shows a bar on a terminal, and otherwise a line for each row of the training log; on rank 0.

    It reads the clock, the allocator's counter and the row, so nothing waits for the device.
    """

    def __init__(self, run: Job, trainer: Trainer, sequence_length: int | None) -> None:
        self._run, self._keys = run, run.keys
        self._length = sequence_length
        self._data = trainer.train_dataset
        self._flops = self._peak = None
        if sequence_length and torch.cuda.is_available():
            precision = _DTYPES.get(trainer.accelerator.mixed_precision, "float32")
            self._peak = get_peak_flops(torch.cuda.get_device_name(), precision)
            self._shape = trainer.accelerator.unwrap_model(trainer.model).config
            self._flops = compute_flops_per_token(self._shape, sequence_length)
        self._bar: tqdm[Any] | None = None
        self._terminal = sys.stderr.isatty() and not trainer.args.disable_tqdm

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature of a callback)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Starts the clock, at step 0 or at the step of the checkpoint."""
        self._start = self._last_row = (time.monotonic(), state.global_step)
        if self._terminal:
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=self._run.recipe.name,
                dynamic_ncols=True,
            )

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Adds the figures to a row of the training log, and shows the row."""
        if logs is None or "loss" not in logs or state.global_step == self._last_row[1]:
            return
        moment = (time.monotonic(), state.global_step)
        pace = (moment[0] - self._last_row[0]) / (moment[1] - self._last_row[1])
        average = (moment[0] - self._start[0]) / (moment[1] - self._start[1])
        self._last_row = moment
        logs |= self._figures(state.global_step, pace)
        seconds_left = average * (state.max_steps - state.global_step)
        logs["eta_seconds"] = round(seconds_left)
        shown = [
            value_format.format(logs[key]) for key, value_format in _FORMATS.items() if key in logs
        ]
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(shown))
        else:
            steps = f"step {state.global_step}/{state.max_steps}"
            position = self._position(state.global_step)
            log.info("%s", ", ".join([steps, f"{_clock(seconds_left)} left", *shown, *position]))

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Closes the bar and leaves it on the screen."""
        if self._bar is not None:
            self._bar.close()

    def _figures(self, step: int, seconds_a_step: float) -> dict[str, float]:
        """Returns the figures after `step`; `seconds_a_step` is the pace since the last row."""
        keys, processes = self._keys, self._run.processes
        figures: dict[str, float] = {"sequences": step * keys.global_batch_size}
        if self._length:
            tokens_per_second = keys.global_batch_size * self._length / seconds_a_step
            figures["tokens_per_second"] = tokens_per_second
            if self._flops and self._peak:
                mfu = compute_mfu(self._flops, tokens_per_second, processes, self._peak)
                figures["mfu"] = adjusted_mfu(mfu, self._shape, self._length)
        if torch.cuda.is_available():
            figures["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return figures | cost(keys, processes, self._run.seconds)

    def _position(self, step: int) -> list[str]:
        """Returns the source and epoch of the last sequence, if the dataset can locate it."""
        if not hasattr(self._data, "locate"):
            return []
        location = self._data.locate(step * self._keys.global_batch_size - 1)
        return [f"{location.source} in epoch {location.epoch}"]


def _clock(seconds: float) -> str:
    """Returns hours, minutes and seconds: `12:05:09`."""
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{remainder:02}"
