"""What can be seen of a training run while it goes: speed, MFU, time left, position, cost."""

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

from moxin_recipes.run import Run

log = logging.getLogger(__name__)
_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
_WORDS = {  # how a value is shown; what is not here goes to the trackers only
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


def watch(run: Run[Any, Any], trainer: Trainer, sequence_length: int | None = None) -> None:
    """Shows the progress of `trainer` and adds its figures to what trackers get.

    `sequence_length`: tokens of each sequence; without it no tokens a second and no MFU are given.
    The Trainer's own bar goes. Trackers name the run after ladder and stage, if the recipe does
    not. To be called before `trainer.train`.
    """
    args = trainer.args
    args.run_name = args.run_name or run.recipe.name
    if args.project == "huggingface":  # the Trainer's default
        args.project = run.recipe.ladder
    for kind in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(kind)
    if run.is_main:
        # First of all, so that the trackers find the figures in the row that they are given.
        trainer.callback_handler.callbacks.insert(0, Progress(run, trainer, sequence_length))


class Progress(TrainerCallback):
    """On rank 0: a bar on a terminal, else a line for each row of the training log.

    Reads the clock, the allocator's counter and the row itself: nothing waits for the device.
    """

    def __init__(self, run: Run[Any, Any], trainer: Trainer, sequence_length: int | None) -> None:
        self._run, self._own = run, run.keys
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
        """Where the clock starts: at step 0, or at that of the checkpoint."""
        self._start = self._last = (time.monotonic(), state.global_step)
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
        """Adds the figures to a row of the training log, and shows it."""
        if logs is None or "loss" not in logs or state.global_step == self._last[1]:
            return
        now = (time.monotonic(), state.global_step)
        pace = (now[0] - self._last[0]) / (now[1] - self._last[1])
        average = (now[0] - self._start[0]) / (now[1] - self._start[1])
        self._last = now
        logs |= self._figures(state.global_step, pace)
        left = average * (state.max_steps - state.global_step)
        logs["eta_seconds"] = round(left)
        shown = [words.format(logs[key]) for key, words in _WORDS.items() if key in logs]
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(shown))
        else:
            done = f"step {state.global_step}/{state.max_steps}"
            where = self._position(state.global_step)
            log.info("%s", ", ".join([done, f"{_clock(left)} left", *shown, *where]))

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _figures(self, step: int, seconds_a_step: float) -> dict[str, float]:
        """The figures after `step`, at the pace since the row before."""
        own, processes = self._own, self._run.processes
        figures: dict[str, float] = {"sequences": step * own.global_batch_size}
        if self._length:
            speed = own.global_batch_size * self._length / seconds_a_step
            figures["tokens_per_second"] = speed
            if self._flops and self._peak:
                mfu = compute_mfu(self._flops, speed, processes, self._peak)
                figures["mfu"] = adjusted_mfu(mfu, self._shape, self._length)
        if torch.cuda.is_available():
            figures["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        gpu_hours = self._run.seconds * processes / 3600
        if own.gpu_watts:
            figures["energy_kwh"] = own.gpu_watts * gpu_hours / 1000
        if own.gpu_price:
            figures["price"] = own.gpu_price * gpu_hours
        return figures

    def _position(self, step: int) -> list[str]:
        """Which source and epoch the last sequence came from, where the data can tell."""
        if not hasattr(self._data, "locate"):
            return []
        sample = self._data.locate(step * self._own.global_batch_size - 1)
        return [f"{sample.source} in epoch {sample.epoch}"]


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds: `12:05:09`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
