"""Attention by document and fused norms give transformers' losses and gradients, up to rounding."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from moxin_recipes.cpu import attention
from moxin_recipes.cpu.attention import attend, use_documents
from moxin_recipes.cpu.norm import fuse_norms
from moxin_recipes.training.trainers import stack

CPU = torch.device("cpu")
LENGTHS = ((100, 7, 21), (1, 63, 64), (128,))  # of the documents of each row
KINDS = {"mistral": (MistralForCausalLM, MistralConfig), "llama": (LlamaForCausalLM, LlamaConfig)}


def model(kind: str, **shape: int) -> torch.nn.Module:
    torch.manual_seed(0)
    made, config = KINDS[kind]
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return made(config(vocab_size=50, pad_token_id=0, **sizes, **heads, **shape)).train()


def fast(plain: torch.nn.Module) -> torch.nn.Module:
    made = copy.deepcopy(plain)
    use_documents(made, CPU)
    fuse_norms(made, CPU)
    return made


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    places = [torch.cat([torch.arange(n) for n in row]) for row in LENGTHS]
    ids = [torch.randint(1, 50, (128,), generator=generator) for _ in LENGTHS]
    rows = zip(ids, places, strict=True)
    return stack([{"input_ids": i, "labels": i, "position_ids": p} for i, p in rows])


def as_they_are(_: torch.nn.Module) -> None:
    pass


def low_rank(net: torch.nn.Module) -> None:
    torch.manual_seed(0)
    options = {"target_modules": "all-linear", "init_lora_weights": False}
    get_peft_model(net, LoraConfig(r=2, **options))


def checkpointed(net: torch.nn.Module) -> None:
    net.gradient_checkpointing_enable({"use_reentrant": False})


def gradients(net: torch.nn.Module, autocast: bool) -> tuple[torch.Tensor, ...]:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = net(**batch(), use_cache=False).loss
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return loss.detach(), *torch.autograd.grad(loss, trained)


def assert_same(net: torch.nn.Module, plain: torch.nn.Module) -> None:
    for found, expected in zip(gradients(net, False), gradients(plain, False), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


# With 70 keys some weights are computed again; up to 256 tokens a row is SDPA's.
@pytest.mark.parametrize(("short", "keys"), [(0, 512), (0, 70), (256, 512)])
@pytest.mark.parametrize("change", [as_they_are, low_rank, checkpointed])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_and_the_gradients_are_transformers(
    kind: str,
    change: Callable[[torch.nn.Module], None],
    short: int,
    keys: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "_SHORT", short)
    monkeypatch.setattr(attention, "_KEYS", keys)
    plain = model(kind)
    quick = fast(plain)
    change(plain)
    change(quick)
    assert_same(quick, plain)


@pytest.mark.parametrize("short", [0, 256])
def test_autocast_is_no_further_from_float32_than_transformers(
    short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_SHORT", short)
    plain = model("mistral")
    exact = gradients(plain, False)
    far = [
        max((a - b).norm() / b.norm() for a, b in zip(gradients(net, True), exact, strict=True))
        for net in (fast(plain), plain)
    ]
    assert far[0] < 1.2 * far[1]


@pytest.mark.parametrize("setting", [{"sliding_window": 16}, {"attention_dropout": 0.5}])
def test_what_documents_do_not_decide_is_left_to_sdpa(
    setting: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_SHORT", 0)
    plain = model("mistral", **setting)
    losses = []
    for net in (plain, fast(plain)):
        torch.manual_seed(2)
        losses.append(net(**batch(), use_cache=False).loss)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)


def test_padding_is_left_to_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_SHORT", 0)
    plain = model("mistral").eval()
    ids, mask = batch()["input_ids"], torch.ones(3, 128, dtype=torch.long)
    mask[0, :40] = mask[1, 100:] = 0
    expected, found = (
        net(ids, attention_mask=mask).logits[mask > 0] for net in (plain, fast(plain))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_operators_are_sound() -> None:
    starts = batch()["position_ids"][:2, :80] == 0
    heads = [torch.randn(2, n, 80, 8, dtype=torch.float64, requires_grad=True) for n in (4, 2, 2)]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(attention._attend, (*heads, starts, 0.3), test_utils=checks)
    short = [x.detach()[:, :, :6].requires_grad_() for x in heads]
    few = torch.tensor([[True, False, False, True, False, False]] * 2)
    defined = {"check_undefined_grad": False}
    assert torch.autograd.gradcheck(lambda *x: attend(*x, few, 0.3), short, **defined)


def test_other_models_are_left_as_they_are() -> None:
    """Their values may be of another width than their keys, and their dropout has other names."""
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 50}
    other = GPT2LMHeadModel(GPT2Config(**sizes, attn_pdrop=0.5))
    use_documents(other, CPU)
    assert other.config._attn_implementation == "sdpa"


def test_generation_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_SHORT", 0)
    plain = model("mistral").eval()
    prompts = batch()["input_ids"][:, :9]
    options = {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(fast(plain).generate(prompts, **options), plain.generate(prompts, **options))


def test_nothing_is_saved(tmp_path: Path) -> None:
    plain = model("llama")
    for name, net in {"plain": plain, "fast": fast(plain)}.items():
        net.save_pretrained(tmp_path / name)
    for file in (tmp_path / "plain").iterdir():
        assert file.read_bytes() == (tmp_path / "fast" / file.name).read_bytes()


@pytest.mark.soak  # compiling takes the longest part of a minute
@pytest.mark.parametrize("short", [0, 256])
def test_compiled_it_is_one_graph_with_the_same_gradients(
    short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_SHORT", short)
    plain = model("mistral")
    compiled = fast(plain)
    compiled.compile(fullgraph=True)
    assert_same(compiled, plain)
