"""FLOPs of a stage, and the hours that so many GPUs take for them."""

from typing import Any

from moxin_recipes.plan import published
from moxin_recipes.plan.flops import of_token
from moxin_recipes.plan.gpus import Gpu
from moxin_recipes.plan.work import Work
from moxin_recipes.recipe.memory import BFLOAT16, Shape


def trained(shape: Shape, work: Work) -> float:
    """FLOPs of all passes over the tokens that are trained on."""
    return (work.tokens or 0.0) * work.passes / 3 * of_token(shape, work.length)


def generated(shape: Shape, work: Work) -> float:
    """FLOPs of the forward passes that generate completions."""
    tokens = work.generations * work.completions * (work.prompt + work.completion)
    return tokens / 3 * of_token(shape, work.prompt + work.completion)


def share(
    gpu: Gpu, gpus: int, given: float | None, run: published.Run, mixed: bool
) -> tuple[float, str]:
    """(MFU, where it is from): the one that was given, or that of published figures."""
    precision = "bf16" if mixed else "float32"
    of_peak = f"of {gpu.peak(mixed) / 1e12:,.0f} TFLOP/s in {precision}"
    if given is not None:
        return given, f"MFU {100 * given:.1f} % {of_peak}: `--mfu`"
    found, words = published.mfu(gpu, gpus, run)
    return found, f"MFU {100 * found:.1f} % {of_peak}: {words}"


def of_generation(shape: Shape, work: Work, gpu: Gpu, gpus: int, args: Any) -> float:
    """Hours of sampling, if each token waits for weights and cache at the memory's full bandwidth.

    Weights and cache are bfloat16. vLLM has as many completions on their way as its share of the
    memory holds, each half done; without vLLM they are those of a micro-batch.
    """
    if not work.generations:
        return 0.0
    group, weights = 1, BFLOAT16 * shape.parameters
    cached = 2 * BFLOAT16 * shape.layers * shape.key_width * (work.prompt + work.completion / 2)
    flight = float(args.per_device_train_batch_size)
    if getattr(args, "use_vllm", False):
        group = args.vllm_tensor_parallel_size
        room = args.vllm_gpu_memory_utilization * gpu.memory * group - weights
        flight = max(1.0, room // cached)
    each = work.completions * group / gpus
    flight = min(flight, each)
    moment = (weights + flight * cached) / (gpu.bandwidth * group)
    return work.generations * work.completion * each / flight * moment / 3600
