"""Cross-entropy with z-loss, which keeps the logits' normaliser near 1."""

from collections.abc import Callable
from typing import Any

import torch


def z_loss(weight: float) -> Callable[..., torch.Tensor]:
    """A `compute_loss_func` of the Trainer: cross-entropy + `weight` × log²(Z) of each token.

    Z is the sum of the exponentials of a token's logits. PaLM has a weight of 1e-4, OLMo 2 of 1e-5.
    The logged loss contains both terms.
    """

    def loss(
        outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        logits = outputs.logits[:, :-1].float().flatten(0, 1)
        targets = labels[:, 1:].flatten()
        predicted = targets != -100
        normaliser = logits.logsumexp(-1)
        entropy = torch.nn.functional.cross_entropy(
            logits, targets, ignore_index=-100, reduction="sum"
        )
        total: torch.Tensor = entropy + weight * (normaliser.square() * predicted).sum()
        return total / (predicted.sum() if num_items_in_batch is None else num_items_in_batch)

    return loss
