"""The keys of `evaluate`: lm-eval tasks on several models."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from moxin_recipes.recipe.base import StageKeys
from moxin_recipes.recipe.bounds import Count, Positive
from moxin_recipes.recipe.fields import DATASET_INPUT, DATASET_OUTPUT, MODEL_INPUT, ROUNDING
from moxin_recipes.recipe.strict import RecipeError, near

TASKS = Path(__file__).parent.parent.parent / "scores" / "tasks"


@dataclass(kw_only=True)
class Evaluation:
    """One task on one model."""

    task: str  # of scores/tasks, or of lm-eval
    model: str  # an entry of `models`, as written there
    num_fewshot: Count = 0
    chat: bool = False  # ask in the model's chat template


@dataclass(kw_only=True)
class EvaluateKeys(StageKeys):
    """Models and tasks; scores go to a dataset and to the models' cards."""

    models: list[str] = field(metadata=MODEL_INPUT)
    evaluations: list[Evaluation]
    hub_scores_id: str = field(metadata=DATASET_OUTPUT)
    # Held-out items, for the tasks of scores/tasks.
    problems_name: str | None = field(default=None, metadata=DATASET_INPUT)
    # What the models read; there are scores also without items that were found in it.
    corpus_name: str | None = field(default=None, metadata=DATASET_INPUT)
    limit: Positive | None = None  # items of each task; all when it is not given
    eval_batch_size: Positive = field(default=32, metadata=ROUNDING)

    def check(self) -> None:
        """Each evaluation names a model of `models` and a task that is there."""
        super().check()
        if not self.evaluations:
            raise RecipeError("`evaluations` is empty: there is nothing to evaluate")
        for position, wanted in enumerate(self.evaluations):
            if wanted.model not in self.models:
                raise RecipeError(
                    f"`evaluations[{position}].model`: {wanted.model} is not one of `models`"
                )
        ours = {path.stem for path in TASKS.glob("*.yaml")}
        if self.problems_name is None and any(one.task in ours for one in self.evaluations):
            raise RecipeError(
                "`problems_name` is missing: tasks of this package need held-out items"
            )
        self._check_tasks(ours)

    def _check_tasks(self, ours: set[str]) -> None:
        """Lists lm-eval's tasks, which takes seconds, only where a task is not of this package."""
        others = [(i, one.task) for i, one in enumerate(self.evaluations) if one.task not in ours]
        if not others:
            return
        theirs = _lm_eval_tasks()
        for position, task in others:
            if task not in theirs:
                raise RecipeError(
                    f"`evaluations[{position}].task`: neither this package nor lm-eval has a task "
                    f"{task}{near(task, ours | theirs)}"
                )


@cache
def _lm_eval_tasks() -> set[str]:
    from lm_eval.tasks import TaskManager

    return set(TaskManager().all_tasks)
