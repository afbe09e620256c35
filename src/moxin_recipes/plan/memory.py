"""Whether a stage fits on a GPU: what is counted on the real model, and stated lines beside it."""

from dataclasses import dataclass, replace
from typing import Any

from moxin_recipes.plan.gpus import GIB, Gpu
from moxin_recipes.plan.tracked import Adapter, track
from moxin_recipes.recipe.memory import BFLOAT16, FLOAT32, START, Shape, Step

# Ours, not measured: what the allocator holds in pieces that nothing fits into, CUDA's own memory,
# and the buffers of the communication library, as a share of the most that tensors take.
MARGIN = 0.1


@dataclass(frozen=True)
class Line:
    """Something that a GPU holds, in bytes; `moment` is when, or "always"."""

    moment: str
    what: str
    size: float


@dataclass(frozen=True)
class Memory:
    """What a GPU holds, and the most of it: `peak` bytes in `moment`, without the margin."""

    lines: list[Line]
    moment: str
    peak: float
    margin: float

    def fits(self, gpu: Gpu) -> bool:
        """Whether a GPU has that much, and the margin."""
        return self.peak + self.margin <= gpu.memory


def of_stage(
    shape: Shape, step: Step, adapter: Adapter | None, vllm: float, sleeps: bool
) -> Memory:
    """The memory of a stage; `vllm` are the bytes of vLLM, which it leaves while it `sleeps`."""
    lines = _lines(shape, step, adapter)
    always = sum(line.size for line in lines if line.moment == "always")
    sums: dict[str, float] = {}
    for line in lines:
        if line.moment != "always":
            before = 0 if line.moment == START else always
            sums[line.moment] = sums.get(line.moment, before) + line.size
    margin = MARGIN * max(sums.values())
    if vllm:
        lines.append(Line("generation", "vLLM's share (vllm_gpu_memory_utilization)", vllm))
        if not sleeps:
            sums = {moment: size + vllm for moment, size in sums.items()}
        sums["generation"] = always + vllm
    moment = max(sums, key=lambda name: sums[name])
    lines.append(Line("always", f"margin, {MARGIN:.0%} of the most that tensors take", margin))
    return Memory(lines, moment, sums[moment], margin)


def _lines(shape: Shape, step: Step, adapter: Adapter | None) -> list[Line]:
    # A second model changes nothing of the first one's step: such stages are tracked once.
    alone = replace(step, reference=False, loads_reference=False, whole=False, buckets=False)
    held = track(shape, alone, adapter)
    lines = [
        Line("always", "parameters", held.parameters),
        Line("always", "gradients", held.gradients),
        Line("always", "optimizer", held.optimizer),
    ]
    trained = held.gradients * (step.shards if step.sharded else 1)
    if step.buckets or step.whole:
        what = "gradients in DDP's buckets" if step.buckets else "gradients, whole"
        lines.append(Line("always", what, trained))
    if step.reference:
        size = FLOAT32 * shape.parameters / step.shards
        lines.append(Line("always", "reference model", size))
    own = held.parameters + held.gradients + held.optimizer
    lines.append(Line("a training step", "activations, logits, copies", held.peak - own))
    # TRL makes one unit of a reference: FSDP shares it out, and gathers it, as a whole.
    if step.loads_reference:
        size = FLOAT32 * shape.parameters
        lines.append(Line(START, "reference, whole, before it is shared out", size))
    if step.reference and step.sharded:
        size = (BFLOAT16 if step.mixed else FLOAT32) * shape.parameters
        lines.append(Line("the reference's pass", "reference, gathered whole", size))
    return lines


def too_much(memory: Memory, gpu: Gpu, values: dict[str, Any], step: Step) -> str:
    """The end of the sentence about a stage that does not fit: the keys to change."""
    ways = []
    micro = int(values.get("per_device_train_batch_size", 8))
    if memory.moment == "generation":
        ways.append("lower `vllm_gpu_memory_utilization`")
    elif micro > 1:
        ways.append(f"lower `per_device_train_batch_size` ({micro})")
    elif step.checkpointing:
        keys = ("context_length", "max_completion_length", "max_length")
        ways += [f"lower `{key}`" for key in keys if key in values][:1]
    if not step.checkpointing and memory.moment != "generation":
        also = ", with FSDP `fsdp_activation_checkpointing` in the file of `accelerate_config`"
        ways.append("set `gradient_checkpointing: true`" + also * step.sharded)
    if not values.get("use_peft"):
        ways.append("share the model among more GPUs (FSDP in `accelerate_config`)")
    return (
        f"{memory.peak / GIB:.1f} GiB a GPU in {memory.moment} and {memory.margin / GIB:.1f} of "
        f"margin do not fit into {gpu.memory / GIB:.1f} GiB; {', or '.join(ways)}"
    )
