"""GPUs as data: their peaks, memory and watts, each with its source."""

from dataclasses import dataclass

from trl.trainer.utils import get_peak_flops

from moxin_recipes.recipe.strict import RecipeError, near

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """One GPU by its data sheet. Its peak in bfloat16 is the one that TRL's MFU is a share of."""

    device: str  # as TRL's table of peaks has it
    memory: int  # bytes; data sheets count in 10^9
    bandwidth: float  # bytes a second, of its memory
    watts: int  # the most that it draws
    float32: float  # FLOP/s without tensor cores, which float32 does not use by default
    source: str

    def peak(self, mixed: bool) -> float:
        """FLOP/s of dense matrix products, in 16 bits where the stage computes in them."""
        half = get_peak_flops(self.device, "bfloat16")
        return half if mixed and half else self.float32


_KLOCKWOOD = "glennklockwood.com/garden/processors, which cites NVIDIA's data sheets"
_COMPARED = "hmc-tech.com/gpu, FP32 and memory"
GPUS = {
    "h100": Gpu("H100", 80 * 10**9, 3.35e12, 700, 66.9e12, f"H100 SXM: {_KLOCKWOOD} (h100)"),
    "h200": Gpu(
        "H200",
        141 * 10**9,
        4.8e12,
        700,
        66.9e12,
        f"H200 SXM: {_KLOCKWOOD} (h100: the same chip); memory: lzwjava.github.io/nvidia-h200",
    ),
    "a100": Gpu("A100", 80 * 10**9, 2.039e12, 400, 19.5e12, f"A100 SXM 80 GB: {_KLOCKWOOD} (A100)"),
    "a100-40gb": Gpu(
        "A100", 40 * 10**9, 1.555e12, 400, 19.5e12, f"A100 SXM 40 GB: {_KLOCKWOOD} (A100)"
    ),
    "l40s": Gpu("L40S", 48 * 10**9, 864e9, 350, 91.6e12, "L40S: NVIDIA's data sheet at mullet.se"),
    "b200": Gpu("B200", 192 * 10**9, 7.7e12, 1000, 75e12, f"B200: {_COMPARED}, nvidia-b200"),
}


def find(name: str) -> Gpu:
    """The GPU of a name, in any case; RecipeError with all names for one that is not there."""
    known = name.lower()
    if known not in GPUS:
        raise RecipeError(
            f"`--gpu`: there is no {name}{near(known, GPUS)} (there are {', '.join(GPUS)})"
        )
    return GPUS[known]
