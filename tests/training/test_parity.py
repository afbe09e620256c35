"""Each trainer against its formula written by hand, and ours against TRL's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tests.tiny import Messages, turns
from tests.training.conftest import Tiny, gradient, quiet, weights
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from moxin_recipes.chats import template
from moxin_recipes.chats.pack import PackedRows, encode_chats
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.training.loss import next_token_loss
from moxin_recipes.training.trainers import PackedSFTTrainer

CHATS = [
    turns("how many?", "12 or 13", "many?", "13"),
    turns("many?", "12"),
    turns("how?", "or 13 or 12 or 13"),
    turns("how many or 12?", "or"),
    turns("13?", "12 many"),
    turns("12?", "how many many or 12"),
]


def close(gradients: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(gradients) == set(expected)
    scale = max(float(value.abs().max()) for value in expected.values())
    assert scale > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=5e-6 * scale)


def packed_sft(tiny: Tiny, folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of one step on all chats: packed, in two micro-batches."""
    encoded = encode_chats(
        Dataset.from_dict({"messages": CHATS}), tiny.tokenizer, 64, folder / "chats"
    )
    rows = PackedRows(encoded, 64, 1, 0, 1, tiny.tokenizer.pad_token_id)
    assert 1 < len(rows) < len(CHATS)
    args = SFTConfig(
        **quiet(folder, per_device_train_batch_size=1, gradient_accumulation_steps=len(rows))
    )
    trainer = PackedSFTTrainer(
        model=tiny.model(),
        args=args,
        train_dataset=rows.as_dataset(),
        processing_class=tiny.tokenizer,
    )
    trainer.train()
    return trainer.state.log_history[0]["loss"], gradient(tiny.model(), trainer.model)


def reference_sft(tiny: Tiny, reduction: str) -> tuple[float, int, dict[str, torch.Tensor]]:
    """Cross-entropy of the answer tokens, one chat at a time; `sum` is Tülu's reduction."""
    model, total, count = tiny.model(), torch.tensor(0.0), 0
    for messages in CHATS:
        ids, labels = (torch.tensor(x) for x in template.encode(messages, tiny.tokenizer))
        logits = model(input_ids=ids[None]).logits[0, :-1]
        total = total + cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum")
        count += int((labels[1:] != -100).sum())
    loss = total if reduction == "sum" else total / count
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return float(loss.detach()), count, gradients


def test_sft_is_the_mean_over_the_answer_tokens_of_the_global_batch(
    tiny: Tiny, tmp_path: Path
) -> None:
    loss, packed_gradients = packed_sft(tiny, tmp_path)
    expected_loss, _, gradients = reference_sft(tiny, "mean")
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    close(packed_gradients, gradients)


def test_prompts_and_padding_skip_the_head(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def counted(hidden: torch.Tensor, *others: Any) -> torch.Tensor:
        rows.append(len(hidden))
        return next_token_loss(hidden, *others)

    monkeypatch.setattr("moxin_recipes.training.loss.next_token_loss", counted)
    packed_sft(tiny, tmp_path)
    assert sum(rows) == reference_sft(tiny, "mean")[1]


def test_sft_equals_stock_trl_on_unpacked_rows(tiny: Tiny, tmp_path: Path) -> None:
    loss, packed_gradients = packed_sft(tiny, tmp_path)
    args = SFTConfig(
        **quiet(
            tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=len(CHATS) // 2
        ),
        assistant_only_loss=True,
        max_length=64,
    )
    stock = SFTTrainer(
        model=tiny.model(),
        args=args,
        train_dataset=Dataset.from_dict({"messages": CHATS}),
        processing_class=tiny.tokenizer,
    )
    stock.train()
    assert stock.state.log_history[0]["loss"] == pytest.approx(loss, rel=1e-5)
    close(packed_gradients, gradient(tiny.model(), stock.model))


def test_a_summed_loss_is_ours_times_the_tokens_of_the_step(tiny: Tiny) -> None:
    """What `reduce_loss sum` means: the same direction, a longer gradient, the same AdamW step."""
    mean, count, gradients = reference_sft(tiny, "mean")
    total, _, summed = reference_sft(tiny, "sum")
    assert total == pytest.approx(mean * count, rel=1e-6)
    norm = torch.stack([g.norm() for g in gradients.values()]).norm()
    assert float(norm) * count > 1.0  # max_grad_norm 1 would cut every summed step
    for name, mean_gradient in gradients.items():
        torch.testing.assert_close(summed[name] / count, mean_gradient, rtol=1e-4, atol=1e-6)
        ends = []
        for step_gradient in (mean_gradient, summed[name]):
            parameter = torch.nn.Parameter(torch.ones_like(mean_gradient, dtype=torch.float64))
            adam = torch.optim.AdamW([parameter], lr=1e-2, weight_decay=0.0, eps=1e-12)
            for scale in (1.0, -0.5, 0.25):
                parameter.grad = step_gradient.double() * scale
                adam.step()
            ends.append(parameter.detach())
        moved = mean_gradient.abs() > 1e-5
        torch.testing.assert_close(ends[0][moved], ends[1][moved], rtol=0, atol=1e-4)


PAIRS: list[tuple[str, str, str]] = [
    ("how many?", "12", "13 or 12 or 13"),
    ("many?", "or many or", "12 12"),
    ("12 or?", "13 many 12 or", "how"),
]


def completion_logps(model: torch.nn.Module, tiny: Tiny, chats: list[Messages]) -> torch.Tensor:
    """Summed log-probability of each answer, and the number of its tokens: (chats, 2)."""
    rows = []
    for messages in chats:
        ids, labels = (torch.tensor(x) for x in template.encode(messages, tiny.tokenizer))
        logps = log_softmax(model(input_ids=ids[None]).logits[0, :-1], -1)
        spoken = labels[1:] != -100
        chosen = logps.gather(-1, ids[1:, None])[:, 0]
        rows.append(torch.stack([chosen[spoken].sum(), spoken.sum()]))
    return torch.stack(rows)


@pytest.mark.parametrize("precompute", [False, True])
def test_dpo_is_the_length_normalised_formula(tiny: Tiny, tmp_path: Path, precompute: bool) -> None:
    beta = 5.0
    args = DPOConfig(
        **quiet(tmp_path, per_device_train_batch_size=3),
        loss_type=["sigmoid_norm"],
        beta=beta,
        max_length=64,
        precompute_ref_log_probs=precompute,
    )
    pairs = [
        {
            "prompt": turns(prompt),
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for prompt, chosen, rejected in PAIRS
    ]
    trainer = DPOTrainer(
        model=tiny.model(),
        args=args,
        train_dataset=Dataset.from_list(pairs),
        processing_class=tiny.tokenizer,
    )
    assert (trainer.ref_model is None) == precompute  # one model less in memory
    generator = torch.Generator().manual_seed(1)
    policy = tiny.model()
    for model in (trainer.model, policy):  # a policy that has left its reference
        generator.manual_seed(1)
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    before = weights(policy)
    chosen = [turns(prompt, good) for prompt, good, _ in PAIRS]
    rejected = [turns(prompt, bad) for prompt, _, bad in PAIRS]
    with torch.no_grad():
        reference = [completion_logps(tiny.model(), tiny, part) for part in (chosen, rejected)]
    ratios = []
    for part, ref in zip((chosen, rejected), reference, strict=True):
        logps = completion_logps(policy, tiny, part)
        ratios.append((logps[:, 0] - ref[:, 0]) / logps[:, 1])
    loss = -logsigmoid(beta * (ratios[0] - ratios[1])).mean()
    loss.backward()
    trainer.train()
    assert abs(float(loss.detach()) - 0.6931) > 1e-3  # not the value at the reference
    assert trainer.state.log_history[0]["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    after = weights(trainer.model)
    step_gradient = {name: before[name] - after[name] for name in before}
    close(
        step_gradient, {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    )


ANSWERS = ["12", "13", "or"]


def grpo(tiny: Tiny, folder: Path, reward: Any, **more: Any) -> GRPOTrainer:
    """GRPO on three prompts × four completions of up to 10 tokens."""
    values = {
        "per_device_train_batch_size": 12,
        "num_generations": 4,
        "max_completion_length": 10,
        "beta": 0.1,
        "epsilon": 0.2,
        "loss_type": "dapo",
        "temperature": 0.7,
        "top_k": 0,
        "use_bias_correction_kl": False,
        "seed": 3,
    }
    return CpuGRPOTrainer(
        model=str(tiny.folder),
        reward_funcs=[reward],
        args=GRPOConfig(**quiet(folder, **{**values, **more})),
        train_dataset=Dataset.from_list(
            [{"prompt": turns(f"how many or {a}?"), "answer": a} for a in ANSWERS]
        ),
        processing_class=tiny.tokenizer,
    )


FIXED = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def fixed_rewards(completions: list[Any], **_: Any) -> list[float]:
    """The same rewards whatever was said; the second group is of one mind."""
    return FIXED[: len(completions)]


def test_grpo_advantages_are_rewards_scaled_in_their_group(tiny: Tiny, tmp_path: Path) -> None:
    trainer = grpo(tiny, tmp_path, fixed_rewards)
    rows = [row for row in trainer.train_dataset for _ in range(4)]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    groups = torch.tensor(FIXED).view(3, 4)
    expected = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(batch["advantages"], expected.flatten())
    assert batch["advantages"][4:8].tolist() == [0.0] * 4
    assert trainer._metrics["train"]["frac_reward_zero_std"] == [pytest.approx(1 / 3)]
    # On policy, a second pass for the old log-probabilities would only repeat the first.
    assert "old_per_token_logps" not in batch


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_grpo_loss_is_clipped_and_keeps_to_its_reference(
    tiny: Tiny, tmp_path: Path, beta: float
) -> None:
    trainer = grpo(tiny, tmp_path, fixed_rewards, beta=beta)
    assert (trainer.ref_model is None) == (beta == 0.0)  # no reference pass where none is needed
    generator = torch.Generator().manual_seed(5)
    size, prompt, completion = 12, 7, 9
    ids = torch.randint(4, len(tiny.tokenizer), (size, prompt + completion), generator=generator)
    prompt_mask = torch.ones(size, prompt, dtype=torch.long)
    prompt_mask[:4, :3] = 0
    mask = (torch.arange(completion) < torch.tensor([9, 5, 1, 7] * 3)[:, None]).long()
    model = tiny.model()
    positions = (torch.cat([prompt_mask, mask], 1).cumsum(1) - 1).clamp(min=0)
    inputs_of_model = {
        "attention_mask": torch.cat([prompt_mask, mask], 1),
        "position_ids": positions,
    }
    logits = model(input_ids=ids, **inputs_of_model).logits / 0.7
    logps = log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[:, -completion:, 0]
    old = logps.detach() + 0.4 * torch.randn(size, completion, generator=generator)
    ref = logps.detach() + 0.3 * torch.randn(size, completion, generator=generator)
    advantages = torch.randn(size, generator=generator)
    ratio = torch.exp(logps - old)
    gain = torch.min(ratio * advantages[:, None], ratio.clamp(0.8, 1.2) * advantages[:, None])
    kl = torch.exp(ref - logps) - (ref - logps) - 1
    loss = ((-gain + beta * kl) * mask).sum() / mask.sum()
    loss.backward()
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = {
        "prompt_ids": ids[:, :prompt],
        "prompt_mask": prompt_mask,
        "completion_ids": ids[:, prompt:],
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": ref,
        "num_items_in_batch": mask.sum(),
    }
    trainer_loss = trainer.compute_loss(trainer.model, inputs)
    trainer_loss.backward()
    torch.testing.assert_close(trainer_loss, loss, rtol=1e-5, atol=1e-6)
    assert trainer._metrics["train"]["clip_ratio/region_mean"][0] > 0.05
    gradients = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    close(gradients, {n: p.grad for n, p in model.named_parameters() if p.grad is not None})


def longest_wins(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward that depends on what was sampled."""
    return [float(len(set(ids))) for ids in completion_ids]


def test_one_seed_is_one_run_bit_for_bit(tiny: Tiny, tmp_path: Path) -> None:
    ends = []
    for seed in (3, 3, 4):
        trainer = grpo(tiny, tmp_path, longest_wins, max_steps=3, learning_rate=0.05, seed=seed)
        trainer.train()
        ends.append((weights(trainer.model), [r.get("reward") for r in trainer.state.log_history]))
    (first, rewards), (again, rewards_again), (other, _) = ends
    assert rewards == rewards_again
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
