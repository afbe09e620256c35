"""Selective checkpointing changes no bit, and computes again what the plan counts."""

from typing import Any

import pytest
import torch
from tests.tiny import tiny_mistral
from torch.utils.flop_counter import FlopCounterMode

from moxin_recipes.plan import flops
from moxin_recipes.recipe.memory import Shape
from moxin_recipes.training.selective import checkpoint_selectively

SHAPE = Shape(64, 32, 48, 2, 2, 1, tied=False)
HOW = {"none": (False, False), "full": (True, False), "selective": (True, True)}


def step(how: str, attention: str) -> tuple[list[torch.Tensor], float]:
    """(loss and gradients, FLOPs of the layers' matrix products)."""
    net = tiny_mistral(vocab_size=SHAPE.vocabulary, attn_implementation=attention)
    assert sum(p.numel() for p in net.parameters()) == SHAPE.parameters
    if how == "selective":
        checkpoint_selectively(net)
    elif how == "full":
        net.activation_checkpointing_enable()
    ids = torch.randint(0, 64, (2, 24), generator=torch.Generator().manual_seed(5))
    with FlopCounterMode(display=False) as counter:
        loss = net(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
    counts: dict[Any, int] = counter.get_flop_counts()["Global"]
    products = counts[torch.ops.aten.mm] / (2 * ids.numel())
    return [loss.detach(), *(p.grad for p in net.parameters())], products


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_it_changes_no_bit_and_computes_again_what_is_counted(attention: str) -> None:
    plain, products = step("none", attention)
    numbers = SHAPE.parameters - SHAPE.vocabulary * SHAPE.hidden - 5 * SHAPE.hidden
    assert products == 3 * numbers
    for how in ("full", "selective"):
        tensors, more = step(how, attention)
        for tensor, other in zip(plain, tensors, strict=True):
            assert torch.equal(tensor, other)
        # Attention's own FLOPs are none at length 0; they are no products of the layers.
        assert more == products + flops.again(SHAPE, 0, *HOW[how]) * numbers
