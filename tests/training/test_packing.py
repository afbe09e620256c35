"""Packed documents give the logits and gradients of separate ones, a short window included."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from moxin_recipes.data.tokens import packed
from moxin_recipes.training.trainers import stack

BOS = 1


def model(window: int) -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=97,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=window,
        )
    )


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.cat([torch.tensor([BOS]), torch.randint(4, 97, (n,), generator=generator)])
        for n in (20, 5, 37, 1)
    ]


@pytest.mark.parametrize("window", [8, 4096])
def test_packed_equals_separate(window: int) -> None:
    parts = documents()
    whole = torch.cat(parts).numpy()
    batch = stack([packed(whole, BOS), packed(whole.copy(), BOS)])
    net = model(window)
    logits = net(**batch, use_cache=False).logits
    start = 0
    for part in parts:
        alone = net(input_ids=part[None], use_cache=False).logits[0]
        torch.testing.assert_close(logits[0, start : start + len(part)], alone, rtol=0, atol=1e-5)
        start += len(part)


def test_gradients_of_packed_equal_those_of_separate_documents() -> None:
    parts = documents()
    predicted = sum(len(part) - 1 for part in parts)
    net = model(8)
    batch = stack([packed(torch.cat(parts).numpy(), BOS)])
    net(**batch, use_cache=False, num_items_in_batch=predicted).loss.backward()
    together = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    for part in parts:
        loss = net(
            input_ids=part[None], labels=part[None], use_cache=False, num_items_in_batch=predicted
        ).loss
        loss.backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(together[name], parameter.grad, rtol=0, atol=1e-5)
