"""The keys of each stage beside those of transformers' and TRL's own dataclasses."""

from dataclasses import dataclass, field
from typing import Literal

from moxin_recipes.recipe.data_arguments import DocumentArguments
from moxin_recipes.recipe.strict import RecipeError


@dataclass(kw_only=True)
class StageArguments:
    """Keys that every stage has.

    References (`model_name_or_path`, `dataset_name`, …) read `REPOSITORY[@REVISION]`; a repository
    without a namespace is in the current one. Keys `hub_…_id` name what a stage pushes.
    """

    stage: str
    accelerate_config: str = "accelerate_configs/cpu.yaml"
    output_dir: str | None = None
    seed: int = 42
    push_to_hub: bool = True
    hub_private_repo: bool = True


@dataclass(kw_only=True)
class DataArguments(StageArguments, DocumentArguments):
    """`data`: raw documents and generated problems → corpus, tokenizer, tokens, chat sets.

    Without `sources` it makes the generated sets alone.
    """

    hub_corpus_id: str | None = None
    hub_tokens_id: str | None = None
    hub_tokenizer_id: str | None = None  # trained here; or else tokenizer_name_or_path
    hub_chat_id: str | None = None
    hub_preferences_id: str | None = None
    hub_problems_id: str | None = None
    tokenizer_name_or_path: str | None = None
    tokenizer: Literal["train", "mistral"] = "train"  # what hub_tokenizer_id gets
    vocab_size: int = 32000  # of one that is trained
    heldout_bytes: int = 20_000  # of each source, in the set that bits per byte is measured on
    tokenizer_bytes: int = 1_000_000  # of each source, that a new tokenizer is trained on
    shard_tokens: int = 100_000_000
    maths_documents: int = 0
    problem_kind: Literal["sums", "stories"] = "sums"  # stories: grade-school word problems
    chat_rows: int = 0
    chat_steps: list[int] = field(default_factory=list)  # operations of worked chains in chats
    preference_rows: int = 0
    problem_rows: int = 0  # to distill
    rl_rows: int = 0
    test_rows: int = 0  # of each held-out split
    chain_steps: list[int] = field(default_factory=lambda: [2, 3, 4])  # operations, to distill
    rl_steps: list[int] = field(default_factory=lambda: [2, 3, 4])  # for GRPO
    longer_steps: list[int] = field(default_factory=list)  # held out apart from `test`, as `longer`

    def __post_init__(self) -> None:
        """Raises RecipeError for an output that is wanted and has no name, or none at all."""
        if set(self.rl_steps) <= set(self.longer_steps):
            raise RecipeError("`longer_steps` takes all of `rl_steps`, and leaves none for `test`")
        for key in ("hub_corpus_id", "hub_tokens_id") if self.sources else ():
            if not getattr(self, key):
                raise RecipeError(f"`{key}` is missing: documents of `sources` go there")
        for key in () if self.sources else ("hub_corpus_id", "hub_tokens_id", "hub_tokenizer_id"):
            if getattr(self, key):
                raise RecipeError(f"`{key}`: it is made of documents, and `sources` is missing")
        if not (
            self.sources or self.hub_chat_id or self.hub_preferences_id or self.hub_problems_id
        ):
            raise RecipeError("`sources` is missing, and no generated set has a name either")


@dataclass(kw_only=True)
class InitArguments(StageArguments):
    """`init`: the weights that training starts from.

    `scratch` draws them at random in the given shape; `expand` (LLaMA Pro's identity blocks) and
    `upscale` (SOLAR) deepen `model_name_or_path` to `num_hidden_layers`; `average` takes the mean
    of `models`, e.g. of annealing runs with several seeds; `gguf` takes a trained model from the
    one .gguf file of an installed `package`, dequantised.
    """

    hub_model_id: str
    method: Literal["scratch", "expand", "upscale", "average", "gguf"] = "scratch"
    tokenizer_name_or_path: str | None = None  # for scratch; else the model's own
    model_name_or_path: str | None = None
    models: list[str] | None = None
    package: str | None = None  # NAME==VERSION
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    max_position_embeddings: int | None = None
    sliding_window: int | None = None
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    initialization: Literal["normal", "muon"] = "normal"  # muon: as training/optimizers.py has it
    tie_word_embeddings: bool = False
    dtype: str = "float32"
    parameters: int | None = None  # expected number of parameters; another one is an error
    # As in pretrain: bits per byte before training, on the same held-out set.
    dataset_name: str | None = None
    eval_context_length: int = 256

    def __post_init__(self) -> None:
        """Raises RecipeError for a key that the method wants and does not have."""
        for key in INIT_KEYS[self.method]:
            if not getattr(self, key):
                raise RecipeError(f"`{key}` is missing: `method: {self.method}` needs it")


_SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
# What each method of `init` needs beside the name of its output.
INIT_KEYS: dict[str, tuple[str, ...]] = {
    "scratch": (
        "tokenizer_name_or_path",
        "num_hidden_layers",
        *_SHAPE,
        "max_position_embeddings",
        "sliding_window",
    ),
    "expand": ("model_name_or_path", "num_hidden_layers"),
    "upscale": ("model_name_or_path", "num_hidden_layers"),
    "average": ("models",),
    "gguf": ("package",),
}


@dataclass(kw_only=True)
class MixtureItem:
    """One source of a pretraining mixture; weights are shares of sequences and sum to 1."""

    source: str
    weight: float
    # The part of its tokens that is read, as shares: a phase that starts where another one stopped
    # reads nothing again.
    start: float = 0.0
    stop: float = 1.0
    epochs: float = 1.0  # most passes over that part; a phase that needs more is an error


@dataclass(kw_only=True)
class TrainingStageArguments(StageArguments):
    """Keys that the training stages share."""

    hub_model_id: str
    global_batch_size: int  # sequences a step; completions in GRPO
    dataset_name: str
    push_checkpoints: bool = True  # each local checkpoint becomes the branch `step-000100`
    keep_checkpoints: int | None = None  # how many of these branches stay on the Hub; None: all
    gpu_watts: float | None = None  # of one GPU under load, for the estimate of energy so far
    gpu_price: float | None = None  # of one GPU for an hour, for the price so far


@dataclass(kw_only=True)
class PretrainArguments(TrainingStageArguments):
    """`pretrain`: one phase on packed tokens."""

    model_name_or_path: str
    context_length: int
    mixture: list[MixtureItem]
    eval_context_length: int = 256  # the same for all phases, so that they compare
    attn_implementation: str | None = None
    shuffle_shards: int = 16  # of each source, read at a time in one shuffled order
    # Shards come from the Hub when they are due, and stay on each node within this bound.
    token_cache_dir: str | None = None  # default: token-cache/ in MOXIN_HOME; a disk of the node
    token_cache_gb: float = 100.0
    z_loss: float = 0.0  # weight of log²(Z) in the loss; OLMo 2: 1e-5
    # Steps passed over (a loss or gradient that is no number, a spike) before the run is stopped.
    max_skipped_steps: int = 100
    optimizer: Literal["adamw", "muon"] = "adamw"  # adamw: as `optim` says
    # For muon; `learning_rate` and `weight_decay` are those of the matrices inside the layers.
    muon_momentum: float = 0.95
    embedding_learning_rate: float = 0.1
    head_learning_rate: float = 0.008
    norm_learning_rate: float = 0.01


@dataclass(kw_only=True)
class PostTrainingArguments(TrainingStageArguments):
    """Keys of `sft`, `dpo` and `grpo`; `problems_name` scores the result on held-out problems."""

    dataset_config: str | None = None
    dataset_train_split: str = "train"
    problems_name: str | None = None
    problems_config: str | None = "problems"  # null: the only one of its repository
    prompt_suffix: str = ""  # after each problem, in GRPO's prompts and in held-out ones
    answer_format: Literal["plain", "chain"] = (
        "plain"  # plain: 27+5=32, or just 32; chain: <think>…</think>\boxed{}
    )
    eval_split: str = "test"
    longer_split: str | None = None  # of longer chains; its scores begin with `longer_`
    eval_rows: int = 400
    eval_samples: int = 1  # above 1: sampled pass@1 at temperature 1
    eval_max_new_tokens: int = 64


@dataclass(kw_only=True)
class SftArguments(PostTrainingArguments):
    """`sft`: chats in the column `messages`, or `conversations` of `from` and `value`."""

    chat_template: str | None = None  # a file of templates/, or a path
    pad_token: str | None = None  # for a tokenizer that has none
    # Instead of the model's own, where chats are longer than what it was trained on.
    rope_theta: float | None = None
    sliding_window: int | None = None  # tokens; 0 is full attention


@dataclass(kw_only=True)
class DpoArguments(PostTrainingArguments):
    """`dpo`: pairs; those of the test split are scored after training."""

    dataset_test_split: str | None = None


@dataclass(kw_only=True)
class GrpoArguments(PostTrainingArguments):
    """`grpo`: verifiable rewards by name."""

    rewards: list[str] = field(default_factory=lambda: ["math"])
    pass_rates_name: str | None = None  # a distilled dataset of these problems, for the next two
    min_pass_rate: float = 0.0  # problems solved less often than this are left out …
    max_pass_rate: float = 1.0  # … and those solved more often
    max_prompt_length: int = 1024  # longer prompts are counted and kept aside


@dataclass(kw_only=True)
class Traces:
    """Recorded solutions on the Hub; `layout` says which columns they have (teachers/traces.py)."""

    dataset: str  # REPOSITORY[@REVISION]
    layout: Literal["openr1", "openthoughts"]
    config: str | None = None
    split: str = "train"


@dataclass(kw_only=True)
class DistillArguments(StageArguments):
    """`distill`: a teacher's worked solutions, kept where a verifier agrees.

    Teachers: `program` (generated problems only), `recorded` (of `traces`), `endpoint` (any
    OpenAI-compatible one; its token comes from MOXIN_TEACHER_TOKEN), and a model of the Hub in
    `transformers` or in `vllm`.
    """

    hub_dataset_id: str
    teacher: Literal["program", "recorded", "endpoint", "transformers", "vllm"] = "program"
    samples: int = 1  # solutions wanted of each problem
    rewards: list[str] = field(default_factory=lambda: ["math"])  # all must be above 0
    dataset_name: str | None = None  # problems (`problem`, `answer`); `recorded` has its own
    dataset_config: str | None = None
    dataset_split: str = "train"
    traces: list[Traces] = field(default_factory=list)
    model_name_or_path: str | None = None  # of `transformers` and `vllm`
    # Of an endpoint: http://127.0.0.1:8000/v1. It may move; `teacher_model` says who answers.
    base_url: str | None = None
    teacher_model: str | None = None  # its name there
    prompt_suffix: str = ""  # after each problem when it is asked; not in the dataset
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 1024  # an answer that it cuts is refused
    concurrency: int = 16  # samples on their way at a time
    request_seconds: float = 600.0  # that an endpoint may take for one


@dataclass(kw_only=True)
class Evaluation:
    """One task on one model: `model` is an entry of `models`, as written there."""

    task: str  # of tasks/, or of lm-eval
    model: str
    num_fewshot: int = 0
    chat: bool = False  # ask in the model's chat template


@dataclass(kw_only=True)
class EvaluateArguments(StageArguments):
    """`evaluate`: lm-eval tasks on several models; scores go to a dataset and to their cards."""

    models: list[str]
    evaluations: list[Evaluation]
    hub_scores_id: str
    problems_name: str | None = None  # held-out items, for the tasks of tasks/
    corpus_name: str | None = None  # what models read; scores also without items found there
    limit: int | None = None  # items of each task; all when it is not given
    eval_batch_size: int = 32


@dataclass(kw_only=True)
class ReleaseArguments(StageArguments):
    """`release`: an index of every artifact with its commit; opens them when `publish` is set."""

    hub_model_id: str
    models: list[str]
    datasets: list[str]
    publish: bool = False
