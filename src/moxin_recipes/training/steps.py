"""Which steps are taken: none that is not finite or a spike, and none after the last one."""

import logging
import math
import statistics
from typing import Any

from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)

# From OLMo-core's optimizers that skip steps: a spike is SIGMAS standard deviations above the mean
# of the last WINDOW losses. The search for spikes begins when half of the window is filled.
WINDOW, SIGMAS = 128, 6.0


def end_at_the_last(trainer: Trainer) -> None:
    """Makes a trainer that goes on from its last step end there.

    transformers' own looks at `max_steps` after a step only, so with data left it takes one more:
    a run that was killed after its last checkpoint would end with other weights.
    """
    run_epoch = trainer._run_epoch

    def run_rest(**options: Any) -> None:
        if trainer.state.global_step < trainer.state.max_steps:
            run_epoch(**options)
        else:
            trainer.control.should_training_stop = True

    trainer._run_epoch = run_rest


class StepGuard(TrainerCallback, ExportableState):
    """Judges the loss and the gradient norm of each step, and lists the steps that are skipped.

    All ranks pass the same numbers, so either all of them take a step or none does. Its state is in
    `trainer_state.json` of each checkpoint, so a resumed run judges like an undisturbed one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._recent: list[float] = []
        self.skipped: list[int] = []

    def state(self) -> dict[str, Any]:
        """Returns the state for the checkpoint."""
        return {"args": {}, "attributes": {"recent": self._recent, "skipped": self.skipped}}

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature of a callback)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Restores the state of the checkpoint; at a fresh start it is empty."""
        remembered = state.stateful_callbacks[type(self).__name__]["attributes"]
        self._recent, self.skipped = list(remembered["recent"]), list(remembered["skipped"])

    def allows(self, step: int, loss: float, norm: float) -> bool:
        """Returns whether optimizer step `step` (from 1) may be taken.

        Raises RecipeError if more steps than the limit are skipped. A spike stays in the window, so
        a lasting change of the loss soon counts as normal.
        """
        reason = self._reason(loss, norm)
        if math.isfinite(loss):
            self._recent = [*self._recent[1 - WINDOW :], loss]
        if reason is None:
            return True
        self.skipped.append(step)
        log.warning("step %d is passed over: %s (%d so far)", step, reason, len(self.skipped))
        if len(self.skipped) > self._limit:
            raise RecipeError(
                f"step {step}: {reason}; {len(self.skipped)} steps were passed over and "
                f"`max_skipped_steps` is {self._limit}. Lower `learning_rate`, or look at what "
                f"steps {', '.join(map(str, self.skipped[-3:]))} read; with a higher "
                "`max_skipped_steps` the stage goes on from its last checkpoint"
            )
        return False

    def _reason(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        if len(self._recent) >= WINDOW // 2:
            mean, deviation = statistics.fmean(self._recent), statistics.stdev(self._recent)
            if loss > mean + SIGMAS * deviation:
                return f"the loss {loss:.4f} is a spike above {mean:.4f} ± {deviation:.4f}"
        return None
