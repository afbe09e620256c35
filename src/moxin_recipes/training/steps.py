"""Which optimizer steps are taken: a loss that is no number, or a spike, is passed over."""

import logging
import math
import statistics
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)

# As OLMo-core's optimizers that skip steps: a spike is so many standard deviations above the mean
# of the last losses, and is looked for once half of them are known.
WINDOW, SIGMAS = 128, 6.0


class StepGuard(TrainerCallback, ExportableState):
    """Judges the loss and the gradient norm of each step, counts the steps passed over.

    All ranks give it the same numbers, so all of them take a step or none does. What it remembers
    is in `trainer_state.json` of each checkpoint: a resumed run judges as an undisturbed one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._recent: list[float] = []
        self.skipped: list[int] = []

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"args": {}, "attributes": {"recent": self._recent, "skipped": self.skipped}}

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature of a callback)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Takes up what the checkpoint remembers; at a fresh start that is nothing."""
        known = state.stateful_callbacks[type(self).__name__]["attributes"]
        self._recent, self.skipped = list(known["recent"]), list(known["skipped"])

    def allows(self, step: int, loss: float, norm: float) -> bool:
        """Whether optimizer step `step` (from 1) may be taken; RecipeError past the limit.

        A spike stays in the window, so that a lasting change of the loss is soon no spike.
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
