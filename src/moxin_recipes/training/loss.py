"""Next-token loss without the whole matrix of logits: a piece of the rows at a time."""

import types
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy, linear, linear_cross_entropy, pad
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from moxin_recipes.recipe.strict import RecipeError

_LOGITS = 2**24  # logits computed at a time on a CPU: 64 MB in float32; less is slower


def fuse_loss(model: PreTrainedModel, z_loss: float = 0.0) -> None:
    """Makes `model(…, labels=…)` compute its loss from hidden states, and return no logits.

    The loss is `next_token_loss`, divided by `num_items_in_batch` or the number of labels.
    `answers` (of `places`) are the only tokens whose next one is predicted; without it all are.
    A call without labels stays as it was. Put it on before any wrapper (PEFT, FSDP, compile).
    """
    plain = model.forward

    def forward(
        self: PreTrainedModel,
        *args: Any,
        labels: torch.Tensor | None = None,
        answers: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        if labels is None:
            return plain(*args, **kwargs)
        hidden = self.base_model(*args, **kwargs).last_hidden_state.flatten(0, 1)
        targets = next_tokens(labels)
        weight = self.get_output_embeddings().weight
        if isinstance(weight, DTensor):
            raise RecipeError(
                "`accelerate_config`: its wrap policy makes the head a unit of its own, which is "
                "not gathered when the loss needs it; take TRANSFORMER_BASED_WRAP with the layers"
            )
        count = (targets != -100).sum() if num_items_in_batch is None else num_items_in_batch
        if answers is not None:
            hidden, targets = hidden[answers], targets[answers]
        loss = next_token_loss(hidden, weight, targets, z_loss)
        return CausalLMOutputWithPast(loss=loss / count)

    model.forward = types.MethodType(forward, model)


def next_tokens(labels: torch.Tensor) -> torch.Tensor:
    """Labels (rows, length) → for each token the label of the next, -100 for none, flattened."""
    return pad(labels, (0, 1), value=-100)[:, 1:].flatten()


def places(labels: torch.Tensor) -> torch.Tensor:
    """Where `next_tokens` has a label. Where it has none, the first place, whose loss is 0.

    For a collator: on a GPU the forward pass would have to wait for their number.
    """
    found = (next_tokens(labels) != -100).nonzero().flatten()
    return found if len(found) else found.new_zeros(1)


def next_token_loss(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, z_loss: float = 0.0
) -> torch.Tensor:
    """Sum of the cross-entropies in nats, plus `z_loss` × the squares of their log-normalisers.

    `hidden` (rows, width), `weight` (vocabulary, width), `targets` (rows,) with -100 for none.
    In float32 the gradients are made with the loss, a piece of the rows at a time, by PyTorch's
    `linear_cross_entropy`. That rounds its sum, and what it is divided by, to bfloat16 where the
    inputs are; so with these, and with z-loss, the pieces are computed again in the backward pass.
    The sums over pieces, of loss and gradients, are float32 everywhere.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):  # the fused operator is outside of autocast
        hidden = hidden.to(torch.get_autocast_dtype(device))
    rows = max(64, _LOGITS // len(weight))
    if not z_loss and hidden.dtype == torch.float32:
        options = LinearCrossEntropyOptions(
            batch_chunk_size=rows if device == "cpu" else None,
            acc_policy="compact",
            acc_dtype=torch.float32,
            allow_retain_graph=torch.compiler.is_compiling(),
        )
        return linear_cross_entropy(hidden, weight, targets, reduction="sum", options=options)
    total, weight = hidden.new_zeros((), dtype=torch.float32), weight.float()
    for some, wanted in zip(hidden.split(rows), targets.split(rows), strict=True):
        total = total + checkpoint(_piece, some, weight, wanted, z_loss, use_reentrant=False)
    return total


def _piece(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, z_loss: float
) -> torch.Tensor:
    logits = linear(hidden, weight.to(hidden.dtype)).float()
    loss = cross_entropy(logits, targets, reduction="sum")
    if z_loss:
        square = logits.logsumexp(-1).square().masked_fill(targets == -100, 0)
        loss = loss + z_loss * square.sum()
    return loss
