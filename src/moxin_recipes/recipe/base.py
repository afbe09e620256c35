"""The keys that stages share, and what every stage's keys can answer."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from moxin_recipes.recipe import limits
from moxin_recipes.recipe.bounds import AtLeastZero, Positive
from moxin_recipes.recipe.evaluation_sets import EvaluationSet, check_published
from moxin_recipes.recipe.fields import (
    DATASET_INPUT,
    HARMLESS,
    MEASURE,
    MODEL_INPUT,
    MODEL_OUTPUT,
    Reference,
    is_path,
    outputs,
    references,
)
from moxin_recipes.recipe.strict import RecipeError

TEMPLATES = Path(__file__).parent.parent / "templates"


@dataclass(kw_only=True)
class StageKeys:
    """Keys that every stage has."""

    # Import paths of the libraries' dataclasses whose fields are keys too; the last one is the
    # trainer's. `MODULE:CLASS`, imported late.
    libraries: ClassVar[tuple[str, ...]] = ()
    scores: ClassVar[tuple[str, ...]] = ()  # the metrics that `moxin status` shows
    curves: ClassVar[dict[str, str]] = {}  # column of the training log → label of its axis
    bf16_by_default: ClassVar[bool] = False  # what the trainer makes of a recipe without `bf16`
    parallel: ClassVar[bool] = False  # whether it works on several processes though nothing trains

    stage: str
    # The file of `accelerate launch`; what it resolves to has classes of its own (launcher.py).
    accelerate_config: str = field(default="accelerate_configs/cpu.yaml", metadata=HARMLESS)
    output_dir: str | None = field(default=None, metadata=HARMLESS)
    seed: int = 42
    push_to_hub: bool = field(default=True, metadata=HARMLESS)
    hub_private_repo: bool = field(default=True, metadata=HARMLESS)

    def rounding_decides(self, values: dict[str, Any]) -> bool:
        """Whether micro-batches and processes draw random numbers of their own.

        Then another order of sums is another result. `values` are all keys of the recipe.
        """
        dropout = values.get("use_peft") and values.get("lora_dropout", 0.05) > 0  # TRL's default
        return bool(dropout or values.get("neftune_noise_alpha"))

    def deciding(self, values: dict[str, Any]) -> frozenset[str]:
        """Keys of the libraries that decide the result of this recipe, though not of others."""
        chooses = ("save_steps", "save_strategy") if values.get("load_best_model_at_end") else ()
        return frozenset(chooses)

    def check(self) -> None:
        """Raises RecipeError for values that cannot work, as far as our own keys tell."""
        for named in dataclasses.fields(self):
            if named.metadata.keys() & {"input", "output"} and getattr(self, named.name) == "":
                raise RecipeError(f"`{named.name}` is empty; name a repository")
        for key, (repo, _) in outputs(self).items():
            limits.check_name(key, repo)
        for reference in references(self):
            if reference.type == "model" and is_path(reference.repo):
                raise RecipeError(
                    f"`{reference.key}`: {reference.repo} is a path, and models are read from a "
                    "Hub; `moxin hub add FOLDER --as NAMESPACE/REPO` puts one into the embedded Hub"
                )
        made = [repo for repo, _ in outputs(self).values()]
        for repo in made:
            if made.count(repo) > 1:
                raise RecipeError(
                    f"{repo} stands under two of the `hub_…_id` keys; each needs its own"
                )

    def implied(self) -> list[Reference]:
        """Inputs that no key names."""
        return []

    def positions(self, args: Any) -> dict[str, int]:  # noqa: ARG002 (others use it)
        """Keys → tokens that the model of `model_name_or_path` must have positions for.

        `args` is the trainer's dataclass, None where nothing trains.
        """
        return {}

    def check_launch(self, sharded: bool) -> None:
        """The same for the launcher's file: `sharded` says whether FSDP shards the model."""

    def check_libraries(self, args: Any) -> None:
        """The same for the libraries' keys, filled in: `args` is the trainer's dataclass."""


@dataclass(kw_only=True)
class TrainingKeys(StageKeys):
    """Keys that the stages share that train."""

    hub_model_id: str = field(metadata=MODEL_OUTPUT)
    global_batch_size: Positive  # sequences a step; completions in GRPO
    dataset_name: str = field(metadata=DATASET_INPUT)
    # Each local checkpoint becomes the branch `step-000100`.
    push_checkpoints: bool = field(default=True, metadata=HARMLESS)
    # Each becomes the branch `state-step-000100` as well, with all that a run goes on from.
    push_training_state: bool = field(default=False, metadata=HARMLESS)
    # How many of these branches stay on the Hub, of either kind; None: all.
    keep_checkpoints: Positive | None = field(default=None, metadata=HARMLESS)
    # Watts of one GPU under load, for the estimate of energy so far.
    gpu_watts: AtLeastZero | None = field(default=None, metadata=HARMLESS)
    # Price of one GPU for an hour, for the price so far.
    gpu_price: AtLeastZero | None = field(default=None, metadata=HARMLESS)

    @property
    def evaluates(self) -> bool:
        """Whether `eval_strategy` has anything to evaluate on."""
        return False

    def check(self) -> None:
        """The state of a training goes with the checkpoints that are pushed."""
        super().check()
        if self.push_training_state and not self.push_checkpoints:
            raise RecipeError(
                "`push_training_state`: it goes with each pushed checkpoint, and "
                "`push_checkpoints` is false; take one of them out"
            )

    def check_launch(self, sharded: bool) -> None:
        """FSDP saves its shares of the optimizer as pickles, which do not leave the machine."""
        if self.push_training_state and sharded:
            raise RecipeError(
                "`push_training_state`: FSDP saves the optimizer as pickles, which stay at home; "
                "leave it out, or take an `accelerate_config` without FSDP"
            )

    def check_libraries(self, args: Any) -> None:
        """A kill while a checkpoint is written leaves another one; evaluation has its rows."""
        if self.push_training_state and args.load_best_model_at_end:
            raise RecipeError(
                "`push_training_state`: the best checkpoint of `load_best_model_at_end` lies on "
                "this machine, and another one would not find it; leave one of them out"
            )
        if args.bf16 and args.fp16:
            raise RecipeError("`fp16` and `bf16` are both on; take one of them")
        if args.eval_strategy != "no" and not self.evaluates:
            raise RecipeError(
                "`eval_strategy`: this stage scores its result at the end, on held-out items; "
                "leave it out"
            )
        if args.max_steps == 0 or args.max_steps < -1:
            raise RecipeError(
                f"`max_steps` must be at least 1, not {args.max_steps}; leave it out to train for "
                "`num_train_epochs`"
            )
        if args.save_total_limit == 1:
            raise RecipeError(
                "`save_total_limit` must be 2 or more: a kill while one is written leaves the other"
            )


@dataclass(kw_only=True)
class PostTrainingKeys(TrainingKeys):
    """Keys of `sft`, `dpo` and `grpo`; `problems_name` scores the result on held-out problems."""

    bf16_by_default: ClassVar[bool] = True

    model_name_or_path: str = field(metadata=MODEL_INPUT)
    dataset_config: str | None = None
    dataset_train_split: str = "train"
    # Rows to train on that hold an item of these sets are left out. Or the recipe of a data stage
    # with such a list, a path from this file: its list, but for the held-out documents.
    decontaminate: list[EvaluationSet] = field(default_factory=list, metadata=MEASURE)
    problems_name: str | None = field(default=None, metadata={**DATASET_INPUT, **MEASURE})
    problems_config: str | None = "problems"  # null: the only one of its repository
    eval_problem_column: str = "problem"  # of `problems_name`
    eval_answer_column: str = "answer"
    # Before problems that are asked, and before chats and pairs without a system turn of their own.
    system_prompt: str | None = None
    # After problems that are asked, and after each turn of the user that a chat or a pair answers
    # (not twice). A mixture of chats may not want it.
    prompt_suffix: str = ""
    # plain: 27+5=32, or just 32; chain: <think>…</think>\boxed{}
    answer_format: Literal["plain", "chain"] = "plain"
    eval_split: str = "test"
    longer_split: str | None = None  # of longer chains; its scores begin with `longer_`
    eval_rows: Positive = 400
    eval_samples: Positive = 1  # above 1: sampled pass@1 at temperature 1
    eval_max_new_tokens: Positive = 64

    def check(self) -> None:
        """The evaluation sets are datasets, each with its own name."""
        super().check()
        check_published(self.decontaminate)

    def positions(self, args: Any) -> dict[str, int]:
        """A sequence of training, and an answer that is scored."""
        answer = self.eval_max_new_tokens if self.problems_name else 0
        return {"max_length": getattr(args, "max_length", None) or 0, "eval_max_new_tokens": answer}


def need(keys: StageKeys, wanted: tuple[str, ...], because: str) -> None:
    """Raises RecipeError for the first wanted key without a value; `because` says who wants it."""
    for key in wanted:
        if not getattr(keys, key):
            raise RecipeError(f"`{key}` is missing: {because}")


def cost(keys: Any, processes: int, seconds: float) -> dict[str, float]:
    """Energy in kWh (`gpu_watts`) and price (`gpu_price`) of so many seconds, where keys say."""
    gpu_hours = seconds * processes / 3600
    watts, price = getattr(keys, "gpu_watts", None), getattr(keys, "gpu_price", None)
    given = {"energy_kwh": watts and watts / 1000, "price": price}
    return {name: rate * gpu_hours for name, rate in given.items() if rate}
