"""Packed documents give the logits and gradients of separate ones, a short window included."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import tiny_mistral
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import MistralForCausalLM, TrainingArguments, modeling_flash_attention_utils

from moxin_recipes.cpu import attention
from moxin_recipes.cpu.attention import use_documents
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.training.trainers import PretrainTrainer, collator, stack

Made = Callable[[int], MistralForCausalLM]
BOS = 1
FRAMING = Framing(begin=BOS, end=2)


def model(window: int, by_document: bool = False) -> MistralForCausalLM:
    """A model as loaded, or as the trainers change it on a CPU."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    net = tiny_mistral(vocab_size=97, num_hidden_layers=3, **heads, sliding_window=window)
    if by_document:
        use_documents(net, torch.device("cpu"))
        assert net.config._attn_implementation != "sdpa"
    return net


@pytest.fixture(params=["as loaded", "by document", "short rows"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes models: as loaded, or as trained on a CPU, with every row or none taken as long."""
    monkeypatch.setattr(attention, "_SHORT", 256 if request.param == "short rows" else 0)
    return functools.partial(model, by_document=request.param != "as loaded")


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.cat([torch.tensor([BOS]), torch.randint(4, 97, (n,), generator=generator)])
        for n in (20, 5, 37, 1)
    ]


@pytest.mark.parametrize("window", [8, 4096])
def test_packed_equals_separate(window: int, made: Made) -> None:
    parts = documents()
    stream = torch.cat(parts).numpy()
    batch = stack([FRAMING.packed(stream), FRAMING.packed(stream.copy())])
    net = made(window)
    logits = net(**batch, use_cache=False).logits
    start = 0
    for part in parts:
        alone = net(input_ids=part[None], use_cache=False).logits[0]
        torch.testing.assert_close(logits[0, start : start + len(part)], alone, rtol=0, atol=1e-5)
        start += len(part)


def test_gradients_of_packed_equal_those_of_separate_documents(made: Made) -> None:
    parts = documents()
    predicted = sum(len(part) - 1 for part in parts)
    net = made(8)
    batch = stack([FRAMING.packed(torch.cat(parts).numpy())])
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


class KernelTypes(TorchDispatchMode):
    """Notes the types of the first tensor of every attention kernel that is called in it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.dtype] = []

    def __torch_dispatch__(self, operator: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "moxin.attend" in str(operator) or "dot_product" in str(operator):
            self.seen.append(args[0].dtype)
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("short", [0, 256])  # rows up to so many tokens are SDPA's
@pytest.mark.parametrize("number", [1, 4])  # of documents: without and with a mask between them
def test_attention_on_a_cpu_is_in_float32_under_autocast(
    number: int, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_SHORT", short)
    batch = stack([FRAMING.packed(torch.cat(documents()[:number]).numpy())])
    net = model(4096, by_document=True)
    exact = net(**batch, use_cache=False).logits
    with KernelTypes() as types, torch.autocast("cpu", torch.bfloat16):
        rounded = net(**batch, use_cache=False).logits
        rounded.float().sum().backward()
    assert len(types.seen) >= 2 * 3  # forward and backward of three layers
    assert set(types.seen) == {torch.float32}
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.02)


def test_attention_by_document_leaves_no_trace_in_a_saved_model(tmp_path: Path) -> None:
    model(8, by_document=True).save_pretrained(tmp_path)
    assert MistralForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
    assert "attn" not in (tmp_path / "config.json").read_text()


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    softmax_scale: float,
    causal: bool,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """What flash_attn's function of this name computes: (tokens, heads, width), end to end."""
    assert causal
    assert torch.equal(cu_seqlens_q, cu_seqlens_k)
    lengths, results = cu_seqlens_q.diff().tolist(), []
    for part in zip(*(x.split(lengths) for x in (q, k, v)), strict=True):
        places = torch.arange(len(part[0]))
        back = places[:, None] - places
        seen = (back >= 0) & ((back <= window_size[0]) | (window_size[0] < 0))
        heads = [x.transpose(0, 1) for x in part]
        options = {"attn_mask": seen, "scale": softmax_scale, "enable_gqa": True}
        results.append(scaled_dot_product_attention(*heads, **options).transpose(0, 1))
    return torch.cat(results)


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> MistralForCausalLM:
    """A model on transformers' path of flash attention, with a kernel that a CPU has."""
    kernels = (None, flash_attn_varlen_func, None, None, None)
    monkeypatch.setattr(modeling_flash_attention_utils, "_lazy_imports", lambda *_, **__: kernels)
    monkeypatch.setattr(modeling_flash_attention_utils, "_loaded_implementation", None)
    net = model(8)
    net.config._attn_implementation = "flash_attention_2"
    return net


def test_flash_attention_isolates_documents_of_several_rows(
    flash: MistralForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = documents(), documents()[::-1]
    rows = [FRAMING.packed(torch.cat(parts).numpy()) for parts in orders]
    net = model(8)
    expected = net(**stack(rows), use_cache=False)
    expected.loss.backward()
    batch = collator(flash)(rows)
    assert batch["input_ids"].shape == (1, 134)
    # It would look for documents in every layer, and have the processor wait for the GPU.
    monkeypatch.delattr(modeling_flash_attention_utils, "_is_packed_sequence")
    output = flash(**batch, use_cache=False)
    output.loss.backward()
    logits = output.logits.view_as(expected.logits)
    torch.testing.assert_close(logits, expected.logits, rtol=0, atol=1e-5)
    for (name, parameter), other in zip(net.named_parameters(), flash.parameters(), strict=True):
        torch.testing.assert_close(other.grad, parameter.grad, rtol=0, atol=1e-5, msg=name)


def test_the_trainer_takes_flash_attentions_batches(
    flash: MistralForCausalLM, tmp_path: Path
) -> None:
    rows = [FRAMING.packed(torch.cat(documents()).numpy())] * 4
    args = {"max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True, "report_to": "none"}
    losses = [
        PretrainTrainer(
            model=net, args=TrainingArguments(output_dir=str(tmp_path), **args), train_dataset=rows
        )
        .train()
        .training_loss
        for net in (flash, model(8))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
