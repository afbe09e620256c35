"""Selective checkpointing: what a layer keeps for its backward pass, and what it computes again."""

from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

_ATTENTION = ("scaled_dot_product", "flash_attn", "moxin::attend")  # in the names of its kernels


class _EverySecondProduct:
    """Of one pass through a layer: keeps what attention gives, and every second matrix product.

    Of queries, keys, values, output, gate, up and down these are keys, output and up. The last one
    is never computed again, because a backward pass does not need it. torchtitan's policy is the
    other half, with the last one.
    """

    def __init__(self) -> None:
        self._products = {False: 0, True: 0}

    def __call__(self, context: Any, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        keep = any(kernel in operator.name() for kernel in _ATTENTION)
        if operator == torch.ops.aten.mm.default:
            self._products[context.is_recompute] += 1
            keep = self._products[context.is_recompute] % 2 == 0
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE


def checkpoint_selectively(model: PreTrainedModel) -> None:
    """Makes the layers of a model compute again, in their backward pass, what is not kept."""
    contexts = lambda: create_selective_checkpoint_contexts(_EverySecondProduct())  # noqa: E731
    model.activation_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})
