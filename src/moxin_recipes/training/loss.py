"""Computes the next-token loss a chunk of rows at a time, without the whole matrix of logits."""

import types
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy, linear, linear_cross_entropy, pad
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from moxin_recipes.recipe.memory import PIECE
from moxin_recipes.recipe.strict import RecipeError

_ON_CPU = 2**24  # logits computed at a time on a CPU: 64 MB in float32; less is slower


def fuse_loss(model: PreTrainedModel, z_loss: float = 0.0, piece: int | None = None) -> None:
    """Makes `model(…, labels=…)` compute its loss from hidden states, and return no logits.

    The loss is `next_token_loss`, with `z_loss` and `piece`, divided by `num_items_in_batch` or by
    the number of labels. `answers`, from `answer_positions`, limits the loss to these positions;
    without it every position counts. A call without labels is unchanged. Apply this before any
    wrapper (PEFT, FSDP, compile).
    """
    original_forward = model.forward

    def forward(
        self: PreTrainedModel,
        *args: Any,
        labels: torch.Tensor | None = None,
        answers: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        if labels is None:
            return original_forward(*args, **kwargs)
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
        loss = next_token_loss(hidden, weight, targets, z_loss, piece)
        return CausalLMOutputWithPast(loss=loss / count)

    model.forward = types.MethodType(forward, model)


def next_tokens(labels: torch.Tensor) -> torch.Tensor:
    """Returns the next token's label for each token of `labels` (rows, length), flattened.

    -100 means that there is none.
    """
    return pad(labels, (0, 1), value=-100)[:, 1:].flatten()


def answer_positions(labels: torch.Tensor) -> torch.Tensor:
    """Returns the positions at which `next_tokens` has a label.

    If there is none, it returns position 0, whose loss is 0. A collator calls this, because on a
    GPU the forward pass would have to wait for the number of positions.
    """
    positions = (next_tokens(labels) != -100).nonzero().flatten()
    return positions if len(positions) else positions.new_zeros(1)


def next_token_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    z_loss: float = 0.0,
    piece: int | None = None,
) -> torch.Tensor:
    """Returns the sum of the cross-entropies in nats, plus `z_loss` × squared log-normalisers.

    `hidden` is (rows, width), `weight` is (vocabulary, width) and `targets` is (rows,), with -100
    for no target. `piece` is how many logits there are at a time; None: as the device likes it. In
    float32, PyTorch's `linear_cross_entropy` computes the gradients together with the loss, a chunk
    of rows at a time. For bfloat16 inputs it rounds the sum and the divisor to bfloat16. So for
    other types, and with z-loss, the backward pass computes the chunks again. The sums of loss and
    gradients over chunks are always float32.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):  # the fused operator is outside of autocast
        hidden = hidden.to(torch.get_autocast_dtype(device))
    piece = piece or (_ON_CPU if device == "cpu" else PIECE)
    rows = max(64, piece // len(weight))
    if not z_loss and hidden.dtype == torch.float32:
        options = LinearCrossEntropyOptions(
            batch_chunk_size=rows,
            acc_policy="compact",
            acc_dtype=torch.float32,
            allow_retain_graph=torch.compiler.is_compiling(),
        )
        return linear_cross_entropy(hidden, weight, targets, reduction="sum", options=options)
    total, rounded = hidden.new_zeros((), dtype=torch.float32), weight.detach().to(hidden.dtype)
    weight = weight.float()
    for chunk, chunk_targets in zip(hidden.split(rows), targets.split(rows), strict=True):
        arguments = (chunk, weight, rounded, chunk_targets, z_loss)
        total = total + checkpoint(_chunk_loss, *arguments, use_reentrant=False)
    return total


def _chunk_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    rounded: torch.Tensor,
    targets: torch.Tensor,
    z_loss: float,
) -> torch.Tensor:
    logits = _Product.apply(hidden, weight, rounded).float()
    loss = cross_entropy(logits, targets, reduction="sum")
    if z_loss:
        square = logits.logsumexp(-1).square().masked_fill(targets == -100, 0)
        loss = loss + z_loss * square.sum()
    return loss


class _Product(torch.autograd.Function):
    """`linear` with a copy of the weight that was cast once; the weight's gradient is float32."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,  # noqa: ARG004 (the gradient's)
        rounded: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(hidden, rounded)
        return linear(hidden, rounded)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        hidden, rounded = ctx.saved_tensors
        of_hidden, of_weight, _ = ctx.needs_input_grad  # a frozen head wants none
        return (
            gradient @ rounded if of_hidden else None,
            (gradient.mT @ hidden).float() if of_weight else None,
            None,
        )
