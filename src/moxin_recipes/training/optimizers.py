"""One optimizer that steps matrices by Muon and other parameters by AdamW, each at its own rate.

Muon (Keller Jordan, 2024, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a
matrix by the nearest orthogonal matrix, which a Newton–Schulz iteration approximates.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel, TrainingArguments

from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.strict import RecipeError

_EPS = 1e-7
# Keller Jordan's coefficients: their steep start gives singular values of 0.7 to 1.2 in 5 rounds.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonal(matrices: torch.Tensor, bf16: bool = False) -> torch.Tensor:
    """Returns nearly orthogonal matrices with the singular vectors of `matrices`.

    The shape is (n, rows, columns). It computes in bfloat16 with `bf16` and off the CPU, otherwise
    in float32; the iteration corrects its rounding errors.
    """
    a, b, c = _COEFFICIENTS
    short = bf16 or matrices.device.type != "cpu"
    x = matrices.to(torch.bfloat16 if short else torch.float32)
    tall = x.size(1) > x.size(2)
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_EPS)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.AdamW):
    """AdamW that steps groups with a `momentum` by Muon; these groups hold only matrices.

    Matrices of one shape go through the iteration together; `bf16` says whether in bfloat16 on a
    CPU. The root mean square of an update is √max(1, rows / columns) / √columns × the group's `lr`.
    Weight decay is decoupled: `lr` times `weight_decay`. `torch.optim.Muon` takes only matrices,
    one at a time, and always computes in bfloat16.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Steps every group once."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if "momentum" not in group]
        result = super().step(closure)
        self.param_groups = groups
        for group in groups:
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
                    # AdamW expects a `step` in every state that it loads.
                    self.state[matrix] = {"step": torch.tensor(0.0), "exp_avg": matrix * 0}
            buffers = [self.state[matrix]["exp_avg"] for matrix in matrices]
            gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
            torch._foreach_lerp_(buffers, gradients, 1 - momentum)
            torch._foreach_lerp_(gradients, buffers, momentum)  # Nesterov's
            rounds = functools.partial(orthogonal, bf16=group.get("bf16", False))
            updates = _of_whole(rounds, gradients)
            torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
            scale = max(1.0, rows / columns) ** 0.5
            torch._foreach_add_(matrices, list(updates), alpha=-lr * scale)


def _of_whole(
    function: Callable[[torch.Tensor], torch.Tensor], matrices: list[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """Returns what `function` makes of matrices of one shape, stacked, wherever their rows are.

    FSDP gives each process some rows of every matrix. Here the matrices are dealt out: an
    all-to-all gives each process all rows of some of them, and another one brings back its rows of
    what was made of them. So each matrix is computed once, on one process.
    """
    stack = torch.stack(matrices)
    if not isinstance(stack, DTensor):
        return function(stack).unbind()
    mesh, rows = stack.device_mesh, stack.placements
    dealt = [Shard(0)] * mesh.ndim
    whole = stack.redistribute(placements=dealt).to_local()
    made = DTensor.from_local(
        function(whole), mesh, dealt, shape=stack.shape, stride=stack.stride(), run_check=False
    )
    return made.redistribute(placements=rows).unbind()


Build = Callable[
    [PretrainKeys, TrainingArguments, PreTrainedModel],
    tuple[type[torch.optim.Optimizer], dict[str, Any]],
]


def muon(
    keys: PretrainKeys, args: TrainingArguments, model: PreTrainedModel
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Muon with a learning rate for each kind of parameter.

    `learning_rate` and `weight_decay` are those of the matrices inside the layers. Embeddings, head
    and norms have one each, and AdamW steps them.
    """
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    layer_parameters = [p for p in model.parameters() if p is not embeddings and p is not head]
    groups = [
        {
            "params": [parameter for parameter in layer_parameters if parameter.ndim == 2],
            "lr": args.learning_rate,
            "weight_decay": args.weight_decay,
            "momentum": keys.muon_momentum,
            "bf16": bool(args.bf16),
        },
        {"params": [embeddings], "lr": keys.embedding_learning_rate},
        {
            "params": [parameter for parameter in layer_parameters if parameter.ndim != 2],
            "lr": keys.norm_learning_rate,
        },
    ]
    if head is not embeddings:
        groups.append({"params": [head], "lr": keys.head_learning_rate})
    betas = (args.adam_beta1, args.adam_beta2)
    shared = {"betas": betas, "eps": args.adam_epsilon, "weight_decay": 0.0}
    return Muon, {"params": groups, **shared}


OPTIMIZERS: dict[str, Build | None] = {
    "adamw": None,  # the Trainer builds its own, as the key `optim` says
    "muon": muon,
}


def check(name: str) -> None:
    """Raises RecipeError for an unknown name."""
    if name not in OPTIMIZERS:
        raise RecipeError(f"`optimizer`: there is no {name}; use {', '.join(OPTIMIZERS)}")


def class_and_options(
    keys: PretrainKeys, args: TrainingArguments, model: PreTrainedModel
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The optimizer's class and its arguments for the Trainer; None: it builds its own."""
    build = OPTIMIZERS[keys.optimizer]
    return build(keys, args, model) if build else None
