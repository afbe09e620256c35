"""The keys of `evaluate`: tasks and suites of tasks on several models."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from moxin_recipes.recipe import benchmarks
from moxin_recipes.recipe.base import StageKeys
from moxin_recipes.recipe.bounds import AtLeastZero, Count, Positive, PositiveShare
from moxin_recipes.recipe.fields import (
    DATASET_INPUT,
    DATASET_OUTPUT,
    MEASURE,
    MODEL_INPUT,
    ROUNDING,
    Reference,
)
from moxin_recipes.recipe.strict import RecipeError, build, near, parse

SUITES = Path(__file__).parent.parent.parent / "scores" / "suites"


@dataclass(kw_only=True)
class Generation:
    """How a model writes; what is absent is as the task has it."""

    temperature: AtLeastZero | None = None  # 0: the likeliest token, always
    top_p: PositiveShare | None = None
    max_tokens: Positive | None = None  # of one answer, its thoughts included
    until: list[str] | None = None  # stops beside EOS; none counts within thoughts


@dataclass(kw_only=True)
class Asked:
    """How a task is asked."""

    task: str | None = None  # of this package or lm-eval, a group, a tag, or a YAML file's path
    num_fewshot: Count | None = None  # the task's own if it is not given
    chat: bool = False  # ask in the model's chat template
    system: str | None = None
    samples: Positive = 1  # answers to each problem; the score is their mean
    generation: Generation = field(default_factory=Generation)
    metric: str | None = None  # what tables show of it


@dataclass(kw_only=True)
class Evaluation(Asked):
    """One task, or one suite of tasks, on one model."""

    model: str  # an entry of `models`, as written there
    suite: str | None = None  # of scores/suites, or a YAML file's path


@dataclass(kw_only=True)
class Suite:
    """Tasks that are asked together, as a publication did."""

    source: str
    tasks: list[Asked]
    paper: dict[str, Any] = field(default_factory=dict)  # model → task → percent
    differs: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class EvaluateKeys(StageKeys):
    """Models and tasks; scores go to a dataset and to the models' cards."""

    parallel: ClassVar[bool] = True

    models: list[str] = field(metadata=MODEL_INPUT)  # REPOSITORY@*: all of its revisions
    evaluations: list[Evaluation]
    hub_scores_id: str = field(metadata=DATASET_OUTPUT)
    # Held-out items, for the tasks of scores/tasks.
    problems_name: str | None = field(default=None, metadata=DATASET_INPUT)
    # What the models read; there are scores also without items that were found in it.
    corpus_name: str | None = field(default=None, metadata={**DATASET_INPUT, **MEASURE})
    limit: Positive | None = None  # items of each task; all when it is not given
    eval_batch_size: Positive = field(default=32, metadata=ROUNDING)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: as it was saved
    # Whether prompts begin with BOS, once. null: as this project trains where it made the model,
    # else as the tokenizer does by itself.
    add_bos: bool | None = None

    def check(self) -> None:
        """Each evaluation names a model of `models` and a task or a suite; suites can be read."""
        super().check()
        if not self.evaluations:
            raise RecipeError("`evaluations` is empty: there is nothing to evaluate")
        for position, wanted in enumerate(self.evaluations):
            name = f"evaluations[{position}]"
            if wanted.model not in self.models:
                raise RecipeError(f"`{name}.model`: {wanted.model} is not one of `models`")
            if (wanted.task is None) == (wanted.suite is None):
                raise RecipeError(f"`{name}`: give `task` or `suite`, one of them")
        for asked in self.asked():
            if asked.samples > 1 and not _draws(asked):
                raise RecipeError(
                    f"`evaluations`: {asked.task}: `samples` {asked.samples} without a temperature "
                    "are the same answer; give `generation: {temperature: …}`"
                )
        self._check_problems()

    def _check_problems(self) -> None:
        ours = {path.stem for path in benchmarks.TASKS.glob("*.yaml")}
        if self.problems_name is None:
            for asked in self.asked():
                if asked.task in ours and any(
                    leaf.is_ours for leaf in benchmarks.find(asked.task).leaves
                ):
                    raise RecipeError(
                        f"`problems_name` is missing: {asked.task} needs held-out items"
                    )

    def asked(self) -> list[Evaluation]:
        """All evaluations, each suite as its tasks."""
        whole = []
        for position, wanted in enumerate(self.evaluations):
            if wanted.suite is None:
                whole.append(wanted)
                continue
            for one in suite(wanted.suite, f"evaluations[{position}].suite").tasks:
                whole.append(Evaluation(model=wanted.model, **_as_asked(wanted, one)))
        return whole

    def implied(self) -> list[Reference]:
        """The datasets of the tasks, each once; a task that nobody has names none."""
        repositories = set()
        for asked in self.asked():
            try:
                leaves = benchmarks.find(str(asked.task)).leaves
            except benchmarks.UnknownTask:
                continue
            repositories |= {leaf.repository for leaf in leaves if leaf.repository}
        return [
            Reference("evaluations", "dataset", repo, revision, benchmark=True)
            for repo, revision in sorted(repositories)
        ]


def _draws(asked: Asked) -> bool:
    """Whether two answers to one prompt may differ; a task that nobody has may."""
    try:
        leaves = benchmarks.find(str(asked.task)).leaves
    except benchmarks.UnknownTask:
        return True
    written = all(leaf.config.get("output_type") == "generate_until" for leaf in leaves)
    heat = asked.generation.temperature
    if heat is None:
        own = [leaf.config.get("generation_kwargs") or {} for leaf in leaves]
        heat = min((float(one.get("temperature") or 0) for one in own), default=1.0)
    return written and heat > 0


def _as_asked(wanted: Evaluation, one: Asked) -> dict[str, Any]:
    """A task of a suite; what the recipe says beside the suite's name holds for all of them."""
    whole = _over(one, wanted, Asked())
    whole["generation"] = Generation(**_over(one.generation, wanted.generation, Generation()))
    return whole


def _over(one: Any, wanted: Any, usual: Any) -> dict[str, Any]:
    """The values of `one`, with those of `wanted` that are not the usual ones on top."""
    names = [named.name for named in dataclasses.fields(usual)]
    return {
        name: getattr(one if getattr(wanted, name) == getattr(usual, name) else wanted, name)
        for name in names
    }


def suite(name: str, key: str = "suite") -> Suite:
    """A suite of this package by name, or of a YAML file by its path."""
    path = Path(name) if Path(name).suffix in benchmarks.FILES else SUITES / f"{name}.yaml"
    known = sorted(one.stem for one in SUITES.glob("*.yaml"))
    if not path.is_file():
        raise RecipeError(
            f"`{key}`: there is no suite {name}{near(name, known)} (there are {', '.join(known)})"
        )
    try:
        content = parse(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise RecipeError("no mapping")
        return build(Suite, content)
    except (RecipeError, OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"`{key}`: {path}: {error}") from error
