"""The keys of `distill`: a teacher's worked solutions, kept where a verifier agrees."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from moxin_recipes.recipe.base import StageKeys, need
from moxin_recipes.recipe.bounds import AboveZero, AtLeastZero, Positive, PositiveShare
from moxin_recipes.recipe.fields import (
    DATASET_INPUT,
    DATASET_OUTPUT,
    HARMLESS,
    MODEL_INPUT,
    ROUNDING,
)
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.recipe.user_files import check_rewards


@dataclass(kw_only=True)
class Traces:
    """Recorded solutions on the Hub; `layout` says which columns they have (teachers/traces.py)."""

    dataset: str = field(metadata=DATASET_INPUT)
    layout: Literal["openr1", "openthoughts"]
    config: str | None = None
    split: str = "train"


# What each teacher needs beside the keys that have defaults.
_NEEDS = {
    "program": ("dataset_name",),
    "recorded": ("traces",),
    "endpoint": ("dataset_name", "base_url", "teacher_model"),
    "transformers": ("dataset_name", "model_name_or_path"),
    "vllm": ("dataset_name", "model_name_or_path"),
}


@dataclass(kw_only=True)
class DistillKeys(StageKeys):
    """Who is asked, for what, and which answers are kept.

    Teachers: `program` (generated problems only), `recorded` (of `traces`), `endpoint` (any
    OpenAI-compatible one; its token comes from MOXIN_TEACHER_TOKEN), and a model of the Hub in
    `transformers` or in `vllm`.
    """

    scores: ClassVar[tuple[str, ...]] = ("accepted",)

    hub_dataset_id: str = field(metadata=DATASET_OUTPUT)
    teacher: Literal["program", "recorded", "endpoint", "transformers", "vllm"] = "program"
    samples: Positive = 1  # solutions wanted of each problem
    rewards: list[str] = field(default_factory=lambda: ["math"])  # all must be above 0
    # Problems (`problem`, `answer`); `recorded` has its own.
    dataset_name: str | None = field(default=None, metadata=DATASET_INPUT)
    dataset_config: str | None = None
    dataset_split: str = "train"
    problem_column: str = "problem"
    answer_column: str = "answer"
    traces: list[Traces] = field(default_factory=list)
    model_name_or_path: str | None = field(default=None, metadata=MODEL_INPUT)
    # Of an endpoint: http://127.0.0.1:8000/v1. It may move; `teacher_model` says who answers.
    base_url: str | None = field(default=None, metadata=HARMLESS)
    teacher_model: str | None = None  # its name there
    system_prompt: str | None = None  # before each problem when it is asked; not in the dataset
    prompt_suffix: str = ""  # after each problem when it is asked; not in the dataset
    temperature: AtLeastZero = 0.6
    top_p: PositiveShare = 0.95
    max_new_tokens: Positive = 1024  # an answer that it cuts is refused
    # Answers on their way at a time. Each has a seed of its own; a model here pads them together.
    concurrency: Positive = field(default=16, metadata=ROUNDING)
    # Seconds that an endpoint may take for one answer.
    request_seconds: AboveZero = field(default=600.0, metadata=HARMLESS)

    def positions(self, args: Any) -> dict[str, int]:  # noqa: ARG002 (as in others)
        """An answer of a model that is asked here."""
        return {"max_new_tokens": self.max_new_tokens if self.model_name_or_path else 0}

    def check(self) -> None:
        """The teacher has what it needs, and the rewards are there."""
        super().check()
        need(self, _NEEDS[self.teacher], f"`teacher: {self.teacher}` needs it")
        if self.base_url and not self.base_url.startswith(("https://", "http://")):
            raise RecipeError("`base_url`: it must begin with https:// or http://")
        asks = self.teacher not in ("program", "recorded")
        if asks and self.samples > 1 and not self.temperature:
            raise RecipeError(
                f"`temperature`: at 0 the {self.samples} `samples` are the same answer; raise it"
            )
        check_rewards(self.rewards)
