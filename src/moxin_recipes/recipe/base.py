"""The keys that stages share, and what every stage's keys can answer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from moxin_recipes.recipe.bounds import AtLeastZero, Positive
from moxin_recipes.recipe.fields import DATASET_INPUT, HARMLESS, MODEL_INPUT, MODEL_OUTPUT
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
    # Whether sampling turns another order of sums into other samples: then it decides the result.
    rounding_decides: ClassVar[bool] = False

    stage: str
    # The file of `accelerate launch`; what it resolves to has classes of its own (launcher.py).
    accelerate_config: str = field(default="accelerate_configs/cpu.yaml", metadata=HARMLESS)
    output_dir: str | None = field(default=None, metadata=HARMLESS)
    seed: int = 42
    push_to_hub: bool = field(default=True, metadata=HARMLESS)
    hub_private_repo: bool = field(default=True, metadata=HARMLESS)

    def check(self) -> None:
        """Raises RecipeError for values that cannot work, as far as our own keys tell."""

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
    # How many of these branches stay on the Hub; None: all.
    keep_checkpoints: Positive | None = field(default=None, metadata=HARMLESS)
    # Watts of one GPU under load, for the estimate of energy so far.
    gpu_watts: AtLeastZero | None = field(default=None, metadata=HARMLESS)
    # Price of one GPU for an hour, for the price so far.
    gpu_price: AtLeastZero | None = field(default=None, metadata=HARMLESS)

    def check_libraries(self, args: Any) -> None:
        """A kill while a checkpoint is written has to leave another one."""
        if args.save_total_limit == 1:
            raise RecipeError(
                "`save_total_limit` must be 2 or more: a kill while one is written leaves the other"
            )


@dataclass(kw_only=True)
class PostTrainingKeys(TrainingKeys):
    """Keys of `sft`, `dpo` and `grpo`; `problems_name` scores the result on held-out problems."""

    model_name_or_path: str = field(metadata=MODEL_INPUT)
    dataset_config: str | None = None
    dataset_train_split: str = "train"
    problems_name: str | None = field(default=None, metadata=DATASET_INPUT)
    problems_config: str | None = "problems"  # null: the only one of its repository
    prompt_suffix: str = ""  # after each problem, in GRPO's prompts and in held-out ones
    # plain: 27+5=32, or just 32; chain: <think>…</think>\boxed{}
    answer_format: Literal["plain", "chain"] = "plain"
    eval_split: str = "test"
    longer_split: str | None = None  # of longer chains; its scores begin with `longer_`
    eval_rows: Positive = 400
    eval_samples: Positive = 1  # above 1: sampled pass@1 at temperature 1
    eval_max_new_tokens: Positive = 64


def need(keys: StageKeys, wanted: tuple[str, ...], because: str) -> None:
    """Raises RecipeError for the first wanted key without a value; `because` says who wants it."""
    for key in wanted:
        if not getattr(keys, key):
            raise RecipeError(f"`{key}` is missing: {because}")
