"""How FSDP computes, where accelerate's own answer is not the one that we want."""

import logging
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import Trainer

log = logging.getLogger(__name__)


def sum_in_float32(trainer: Trainer) -> None:
    """Makes FSDP2 sum gradients in float32, over processes and micro-batches; before training.

    accelerate makes of `mixed_precision: bf16` that they are reduced in bfloat16 as well, and then
    FSDP2 accumulates in it. No field of a launcher's file says otherwise. What a module computes
    keeps its own dtype, so a loss in float32 is not rounded on its way out.
    """
    plugin: Any = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None or plugin.mixed_precision_policy is None:
        return
    computed = plugin.mixed_precision_policy.param_dtype
    plugin.mixed_precision_policy = MixedPrecisionPolicy(computed, torch.float32)
    if trainer.is_world_process_zero():
        name = str(computed).removeprefix("torch.")
        log.info("FSDP computes in %s and sums gradients in float32", name)
