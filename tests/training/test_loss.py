"""The fused loss is plain cross-entropy, in value and in gradients; no whole logits are made."""

from pathlib import Path

import pytest
import torch
from tests.tiny import tiny_mistral
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp import fully_shard
from torch.utils.flop_counter import FlopCounterMode
from transformers import MistralForCausalLM, TrainingArguments

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training import loss
from moxin_recipes.training.loss import answer_positions, fuse_loss, next_token_loss
from moxin_recipes.training.trainers import PretrainTrainer

VOCABULARY, ROWS, LENGTH = 211, 3, 50


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 64 rows, so that the last one is a part of one and there are three."""
    monkeypatch.setattr(loss, "_ON_CPU", 1)


def model(tied: bool) -> MistralForCausalLM:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return tiny_mistral(
        vocab_size=VOCABULARY, **heads, initializer_range=0.3, tie_word_embeddings=tied
    )


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=generator)
    labels = ids.clone()
    labels[:, ::7] = -100
    return {"input_ids": ids, "labels": labels}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("items", [None, 500])
@pytest.mark.parametrize("answers", [False, True])
def test_the_model_gives_the_same_loss_and_gradients(
    tied: bool, items: int | None, answers: bool
) -> None:
    plain, fused = model(tied), model(tied)
    fuse_loss(fused)
    count = {} if items is None else {"num_items_in_batch": items}
    inputs = batch()
    expected = plain(**inputs, use_cache=False, **count)
    only = {"answers": answer_positions(inputs["labels"])} if answers else {}
    output = fused(**inputs, use_cache=False, **count, **only)
    assert output.logits is None
    torch.testing.assert_close(output.loss, expected.loss, rtol=1e-6, atol=0)
    expected.loss.backward()
    output.loss.backward()
    for (name, plain_parameter), fused_parameter in zip(
        plain.named_parameters(), fused.parameters(), strict=True
    ):
        torch.testing.assert_close(
            fused_parameter.grad, plain_parameter.grad, rtol=1e-5, atol=1e-6, msg=name
        )


def test_places_are_those_before_a_label_and_never_none() -> None:
    labels = torch.tensor([[5, -100, 6, 7], [-100, -100, -100, 8]])
    assert answer_positions(labels).tolist() == [1, 2, 6]
    nothing = torch.full((2, 4), -100)
    assert answer_positions(nothing).tolist() == [0]
    fused = model(tied=False)
    fuse_loss(fused)
    ids = {"input_ids": torch.ones_like(nothing), "labels": nothing}
    output = fused(**ids, answers=answer_positions(nothing), num_items_in_batch=3, use_cache=False)
    output.loss.backward()
    assert output.loss == 0
    assert all(not parameter.grad.any() for parameter in fused.parameters())


def test_z_loss_is_what_its_formula_says() -> None:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(150, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(VOCABULARY, 16, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, VOCABULARY, (150,), generator=generator)
    targets[::4] = -100
    results = []
    for by_hand in (True, False):
        hidden_leaf, weight_leaf = hidden.float().requires_grad_(), weight.float().requires_grad_()
        if by_hand:
            scores = (hidden_leaf @ weight_leaf.T).log_softmax(-1)
            known = targets >= 0
            normaliser = (hidden_leaf @ weight_leaf.T).exp().sum(-1).log()[known]
            value = -scores[known, targets[known]].sum() + 0.01 * (normaliser**2).sum()
        else:
            value = next_token_loss(hidden_leaf, weight_leaf, targets, z_loss=0.01)
        value.backward()
        results.append((value.detach(), hidden_leaf.grad, weight_leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_16_bits_nothing_is_summed_in_16_bits(autocast: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(1000, 16, generator=generator).to(dtype)
    weight = torch.randn(VOCABULARY, 16, generator=generator).to(dtype)
    targets = torch.randint(0, VOCABULARY, (1000,), generator=generator)
    results = []
    for plain in (True, False):
        kind = torch.float32 if autocast and not plain else dtype
        hidden_leaf, weight_leaf = (
            part.detach().to(kind).requires_grad_() for part in (hidden, weight)
        )
        if plain:
            scores = (hidden_leaf @ weight_leaf.T).float()
            value = torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
        else:
            with torch.autocast("cpu", dtype, enabled=autocast):
                value = next_token_loss(hidden_leaf, weight_leaf, targets)
        (value / 999).backward()
        results.append((value.detach(), hidden_leaf.grad, weight_leaf.grad))
    (value, *_), (fused_value, *_) = results
    assert fused_value.dtype == torch.float32
    torch.testing.assert_close(fused_value, value, rtol=1e-6, atol=0)
    for plain, other in zip(results[0][1:], results[1][1:], strict=True):
        difference = (other.float() - plain.float()).norm() / plain.float().norm()
        # One rounding to bfloat16, at the end, is .0018.
        assert difference < 0.0025
        scale = (other.float() * plain.float()).sum() / plain.float().square().sum()
        assert abs(scale - 1) < 3e-4  # 1 / 999 in bfloat16 is .0015 off


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("piece", [70 * VOCABULARY, 10**9])
def test_pieces_of_a_head_that_is_cast_once_are_those_of_one_cast_for_each(
    dtype: torch.dtype, piece: int
) -> None:
    """Value and gradients, bit for bit, whatever number of pieces there are."""
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(200, 16, generator=generator).to(dtype)
    weight = torch.randn(VOCABULARY, 16, generator=generator)
    targets = torch.randint(0, VOCABULARY, (200,), generator=generator)
    results = []
    for by_hand in (True, False):
        hidden_leaf, weight_leaf = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if by_hand:
            value = torch.zeros(())
            rows = min(200, piece // VOCABULARY)
            for chunk, wanted in zip(hidden_leaf.split(rows), targets.split(rows), strict=True):
                logits = torch.nn.functional.linear(chunk, weight_leaf.to(dtype)).float()
                value = value + torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
                value = value + 1e-4 * logits.logsumexp(-1).square().sum()
        else:
            value = next_token_loss(hidden_leaf, weight_leaf, targets, 1e-4, piece)
        (value / 199).backward()
        results.append((value.detach(), hidden_leaf.grad, weight_leaf.grad))
    for plain, ours in zip(*results, strict=True):
        assert torch.equal(plain, ours)


def products(of_hidden: bool, of_weight: bool) -> float:
    """How many products of all hidden states with the head a loss and its gradients take."""
    hidden = torch.zeros(192, 16, dtype=torch.bfloat16, requires_grad=of_hidden)
    weight = torch.zeros(VOCABULARY, 16, requires_grad=of_weight)
    with FlopCounterMode(display=False) as counter:
        next_token_loss(hidden, weight, torch.zeros(192, dtype=torch.long), 1e-4).backward()
    return counter.get_total_flops() / (2 * 192 * 16 * VOCABULARY)


def test_only_the_gradients_that_are_wanted_are_computed() -> None:
    """The loss, the loss again in the backward pass, and one for each gradient."""
    assert products(of_hidden=True, of_weight=True) == 4
    assert products(of_hidden=True, of_weight=False) == 3  # a frozen head, as LoRA's
    assert products(of_hidden=False, of_weight=True) == 3


@pytest.mark.parametrize(("device", "rows"), [("cpu", 524), ("cuda", 4194)])
def test_a_gpu_has_larger_pieces(monkeypatch: pytest.MonkeyPatch, device: str, rows: int) -> None:
    monkeypatch.undo()
    sizes = []
    chunk_loss = loss._chunk_loss

    def seen(hidden: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        sizes.append(len(hidden))
        return chunk_loss(hidden, *others)

    monkeypatch.setattr(loss, "_chunk_loss", seen)
    with FakeTensorMode(), torch.no_grad(), torch.device(device):
        hidden = torch.zeros(10_000, 1, dtype=torch.bfloat16)
        weight = torch.zeros(32_000, 1, dtype=torch.bfloat16)
        next_token_loss(hidden, weight, torch.zeros(10_000, dtype=torch.long))
    assert max(sizes) == rows
    assert sum(sizes) == 10_000


def test_a_head_that_is_sharded_by_itself_is_refused(tmp_path: Path) -> None:
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        sharded = model(tied=False)
        fuse_loss(sharded)
        fully_shard(sharded.lm_head)
        with pytest.raises(RecipeError, match="`accelerate_config`: its wrap policy"):
            sharded(**batch(), use_cache=False)
    finally:
        torch.distributed.destroy_process_group()


def test_a_call_without_labels_still_gives_logits() -> None:
    fused = model(tied=False)
    fuse_loss(fused)
    inputs = {"input_ids": batch()["input_ids"]}
    torch.testing.assert_close(fused(**inputs).logits, model(tied=False)(**inputs).logits)


def largest_allocation(z_loss: float | None) -> int:
    """Bytes of the largest buffer in a loss and its gradients; None: plain cross-entropy."""
    hidden = torch.randn(300, 8, requires_grad=True)
    weight = torch.randn(1000, 8, requires_grad=True)
    targets = torch.zeros(300, dtype=torch.long)
    with torch.profiler.profile(profile_memory=True) as profile:
        if z_loss is None:
            value = torch.nn.functional.cross_entropy(hidden @ weight.T, targets)
        else:
            value = next_token_loss(hidden, weight, targets, z_loss)
        value.backward()
    events = profile.profiler.kineto_results.events()
    return max(event.nbytes() for event in events if event.name() == "[memory]")


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_the_whole_logits_are_never_in_memory(z_loss: float) -> None:
    assert largest_allocation(None) >= 300 * 1000 * 4
    assert largest_allocation(z_loss) < 100 * 1000 * 4


def test_the_trainer_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("the model's own loss was asked for")

    net = model(tied=False)
    monkeypatch.setattr(type(net), "loss_function", broken)
    args = TrainingArguments(output_dir=str(tmp_path), max_steps=2, use_cpu=True, report_to="none")
    row = {key: value[0] for key, value in batch().items()}
    rows = [{**row, "position_ids": torch.arange(LENGTH)}] * 4
    trainer = PretrainTrainer(model=net, args=args, train_dataset=rows)
    assert trainer.train().training_loss > 0
