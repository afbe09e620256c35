"""Muon for the matrices, AdamW for the rest, as one optimizer with a learning rate by group.

Muon (Keller Jordan, 2024, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a
matrix by the nearest orthogonal one, found by a Newton–Schulz iteration.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel, TrainingArguments

from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.strict import RecipeError

_EPS = 1e-7
# Keller Jordan's: their steep start makes singular values of 0.7 to 1.2 in five rounds.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Nearly orthogonal matrices with the singular vectors of `matrices` (n, rows, columns).

    float32 on a CPU, bfloat16 elsewhere: the iteration corrects its own rounding.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.to(torch.float32 if matrices.device.type == "cpu" else torch.bfloat16)
    tall = x.size(1) > x.size(2)
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_EPS)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.AdamW):
    """AdamW whose groups with `momentum` are matrices, stepped by Muon.

    Matrices of one shape go through the iteration together. Their update has the root mean square
    √max(1, rows / columns) / √columns × the group's `lr`; weight decay is decoupled, × `lr`.
    `torch.optim.Muon` takes matrices only, one at a time, and computes in bfloat16 everywhere.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of every group."""
        whole = self.param_groups
        self.param_groups = [group for group in whole if "momentum" not in group]
        result = super().step(closure)
        self.param_groups = whole
        for group in whole:
            if "momentum" in group:
                self._step_matrices(group)
        return result

    def _step_matrices(self, group: dict[str, Any]) -> None:
        lr, momentum = float(group["lr"]), group["momentum"]
        shapes: dict[torch.Size, list[torch.Tensor]] = {}
        for matrix in group["params"]:
            if matrix.grad is not None:
                shapes.setdefault(matrix.shape, []).append(matrix)
        for (rows, columns), matrices in shapes.items():
            for matrix in matrices:
                if not self.state[matrix]:
                    # AdamW looks for a `step` in every state that it loads.
                    self.state[matrix] = {"step": torch.tensor(0.0), "exp_avg": matrix * 0}
            buffers = [self.state[matrix]["exp_avg"] for matrix in matrices]
            gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
            torch._foreach_lerp_(buffers, gradients, 1 - momentum)
            ahead = torch._foreach_lerp(gradients, buffers, momentum)  # Nesterov's
            updates = orthogonal(torch.stack(list(ahead))).unbind()
            torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
            scale = max(1.0, rows / columns) ** 0.5
            torch._foreach_add_(matrices, list(updates), alpha=-lr * scale)


def chosen(
    own: PretrainKeys, args: TrainingArguments, model: PreTrainedModel
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """What the Trainer makes its optimizer from; None for `optimizer: adamw`, its own.

    Muon has a learning rate for each kind of parameter: `learning_rate` for the matrices inside the
    layers (with `weight_decay`), and one each for embeddings, head and norms, which AdamW steps.
    """
    if own.optimizer == "adamw":
        return None
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise RecipeError(
            "`optimizer: muon` needs whole matrices, and FSDP gives each process a part of them; "
            "take `optimizer: adamw`, or an `accelerate_config` without FSDP"
        )
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    inside = [p for p in model.parameters() if p is not embeddings and p is not head]
    groups = [
        {
            "params": [parameter for parameter in inside if parameter.ndim == 2],
            "lr": args.learning_rate,
            "weight_decay": args.weight_decay,
            "momentum": own.muon_momentum,
        },
        {"params": [embeddings], "lr": own.embedding_learning_rate},
        {
            "params": [parameter for parameter in inside if parameter.ndim != 2],
            "lr": own.norm_learning_rate,
        },
    ]
    if head is not embeddings:
        groups.append({"params": [head], "lr": own.head_learning_rate})
    betas = (args.adam_beta1, args.adam_beta2)
    shared = {"betas": betas, "eps": args.adam_epsilon, "weight_decay": 0.0}
    return Muon, {"params": groups, **shared}


@torch.no_grad()
def initialize(model: PreTrainedModel) -> None:
    """Random weights for Muon, after nanochat: every block starts as the identity.

    Matrices that read the stream are uniform with variance 1 / width, those that write to it zero;
    embeddings have the standard deviation 1 and a head of its own .001, so that the first
    predictions are uniform (.02 where they are one). Norms are 1.
    """
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2 or parameter is embeddings or parameter is head:
            continue
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.zero_()
        else:
            bound = (3 / parameter.shape[1]) ** 0.5
            parameter.uniform_(-bound, bound)
    embeddings.normal_(0, 0.02 if head is embeddings else 1.0)
    if head is not embeddings:
        head.normal_(0, 0.001)
