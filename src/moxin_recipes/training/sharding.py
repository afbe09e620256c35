"""How FSDP computes, where accelerate's own answer is not the one that we want."""

import logging
from typing import Any

import torch
from accelerate.utils import fsdp_utils
from peft import PeftModel
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


def keep_head_with_norm() -> None:
    """Makes FSDP2 gather the head together with the last norm under an adapter, too.

    accelerate looks for that norm among the children of the model it is given, and PEFT has put its
    own around it. Then the head is a unit of its own, which is not there when our loss needs it.
    """
    found = fsdp_utils._find_final_norm

    def below(model: torch.nn.Module) -> torch.nn.Module | None:
        norm: torch.nn.Module | None = found(
            model.get_base_model() if isinstance(model, PeftModel) else model
        )
        return norm

    if not hasattr(found, "below_adapters"):
        below.below_adapters = True  # type: ignore[attr-defined]
        fsdp_utils._find_final_norm = below
