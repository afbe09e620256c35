"""A whole step of GRPO through TRL's own path beside ours: the same loss and the same gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tests.tiny import turns
from tests.training.conftest import Tiny, gradient, quiet
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer

from moxin_recipes.cpu.grpo import CpuGRPOTrainer, by_prompt

PROMPTS = ["how many?", "12 or 13 or many?", "how many or 12 or 13 or how many?", "or?"]


class Recorded(GRPOTrainer):
    """TRL's trainer, untouched; what it was asked and what it said is written down."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *more: Any) -> Any:
        said = super()._generate_single_turn(prompt_ids, *more)
        self.turns = [*getattr(self, "turns", []), (prompt_ids, said[0])]
        torch.manual_seed(7)  # what comes now shuffles the completions
        return said


def different_tokens(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward that differs within a group."""
    return [float(len(set(ids))) for ids in completion_ids]


def different_where_asked_of_12(
    prompts: list[Any], completion_ids: list[list[int]], **_: Any
) -> list[float]:
    """A reward that differs within some groups only."""
    told = ["12" in str(prompt) for prompt in prompts]
    return [len(set(ids)) * float(of_12) for ids, of_12 in zip(completion_ids, told, strict=True)]


def build(
    kind: type[GRPOTrainer],
    tiny: Tiny,
    folder: Path,
    reward: Callable[..., list[float]] = different_tokens,
    **more: Any,
) -> GRPOTrainer:
    """GRPO on prompts of several lengths, by a policy that has left its reference."""
    values = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 40,
        "temperature": 0.7,
        "top_k": 0,
        "loss_type": "dapo",
        "beta": 0.1,
    }
    trainer = kind(
        model=str(tiny.folder),
        reward_funcs=[reward],
        args=GRPOConfig(**quiet(folder, **{**values, **more})),
        train_dataset=Dataset.from_list([{"prompt": turns(text)} for text in PROMPTS]),
        processing_class=tiny.tokenizer,
    )
    move(trainer.model)
    return trainer


def move(model: PreTrainedModel) -> None:
    """The same small change at each call; and completions end more often."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    model.lm_head.weight.data[model.config.eos_token_id] *= 3


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 0.0, "temperature": 1.0},
        {"beta": 0.1},
        {"beta": 0.1, "gradient_accumulation_steps": 2, "entropy_coef": 0.1},
        {
            "beta": 0.0,
            "steps_per_generation": 2,
            "num_iterations": 2,
            "max_steps": 4,
            "learning_rate": 0.01,
        },
        {"beta": 0.2, "loss_type": "grpo", "top_p": 0.9, "scale_rewards": "none"},
        {"beta": 0.0, "reward": different_where_asked_of_12, "max_steps": 4},
        {
            "beta": 0.0,
            "reward": different_where_asked_of_12,
            "per_device_train_batch_size": 2,  # some have no completion with a gradient
            "gradient_accumulation_steps": 8,
        },
        {
            "beta": 0.0,
            "mask_truncated_completions": True,
            "max_completion_length": 4,
            "per_device_train_batch_size": 1,  # some are cut off: no token counts
            "gradient_accumulation_steps": 16,
        },
    ],
)
def test_a_step_is_trls_own(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """TRL generates, scores, learns; ours is given those completions and does all the rest."""
    apart = not options["beta"]  # then ours works on the completions that have an advantage
    stock = build(Recorded, tiny, tmp_path / "stock", **options)
    stock.train()
    given = iter(stock.turns)

    def said(model: Any, prompts: list[list[int]], *_: Any) -> list[list[int]]:
        asked, completions = next(given)
        assert prompts == asked
        torch.manual_seed(7)
        return completions  # type: ignore[no-any-return]

    monkeypatch.setattr("moxin_recipes.cpu.grpo.sample", said)
    ours = build(CpuGRPOTrainer, tiny, tmp_path / "ours", **options)
    ours.train()
    assert next(given, None) is None
    for part in (0, 1):  # prompts and completions of several lengths
        assert len({len(ids) for turn in stock.turns for ids in turn[part]}) > 1
    wanted, logged = (trainer.state.log_history for trainer in (stock, ours))
    assert len(wanted) == len(logged) == stock.args.max_steps + 1
    for theirs, mine in zip(wanted[:-1], logged[:-1], strict=True):
        assert theirs.keys() == mine.keys()
        of_left = {key for key in theirs if key.startswith(("entropy", "clip_ratio")) and apart}
        for name in theirs.keys() - {"step_time"} - of_left:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    assert any(abs(row["loss"]) > 1e-4 for row in wanted[:-1])
    start = tiny.model()
    move(start)
    others, gradients = (gradient(start, trainer.model) for trainer in (stock, ours))
    scale = max(float(taken.abs().max()) for taken in others.values())
    assert scale > 1e-3
    for name, taken in others.items():
        torch.testing.assert_close(gradients[name], taken, rtol=1e-4, atol=1e-5 * scale)


def test_what_it_is_not_made_for_is_left_to_trl(tiny: Tiny, tmp_path: Path) -> None:
    assert build(CpuGRPOTrainer, tiny, tmp_path)._plain()
    assert not build(CpuGRPOTrainer, tiny, tmp_path, repetition_penalty=1.1)._plain()
    assert not build(CpuGRPOTrainer, tiny, tmp_path, gradient_checkpointing=True)._plain()


def test_it_trains_in_bfloat16(tiny: Tiny, tmp_path: Path) -> None:
    trainer = build(CpuGRPOTrainer, tiny, tmp_path, bf16=True)
    assert trainer._plain()
    trainer.train()
    assert gradient(trainer.model, tiny.model())


def test_a_prompt_may_be_one_token(tiny: Tiny) -> None:
    ids = torch.tensor([[5, 6, 7], [5, 8, 9]])
    model, mask = tiny.model(), torch.ones_like(ids)
    wanted = model(input_ids=ids, attention_mask=mask).logits[:, :2]
    torch.testing.assert_close(by_prompt(model, ids, mask, 2), wanted)


def test_equal_prompts_are_read_once(tiny: Tiny) -> None:
    """Six rows of two prompts of seven tokens, completions of four: 2 × 6 and 6 × 4 are read."""
    model, generator = tiny.model(), torch.Generator().manual_seed(0)
    prompts = torch.randint(3, 50, (2, 7), generator=generator)
    said = torch.randint(3, 50, (6, 4), generator=generator)
    ids = torch.cat([prompts[[0, 1, 1, 0, 1, 0]], said], 1)
    mask = torch.ones_like(ids)
    mask[[0, 3, 5], :2] = 0  # the first prompt is shorter, and one completion
    mask[4, -2:] = 0
    wanted = model(input_ids=ids, attention_mask=mask).logits[:, -5:-1]
    wanted.masked_fill(mask[:, -4:, None] == 0, 0.0).square().mean().backward()
    others = {name: value.grad.clone() for name, value in model.named_parameters()}
    model.zero_grad()
    read = []
    model.register_forward_pre_hook(
        lambda _, __, given: read.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    logits = by_prompt(model, ids, mask, 4)
    logits.masked_fill(mask[:, -4:, None] == 0, 0.0).square().mean().backward()
    assert read == [(2, 6), (6, 4)]
    seen = mask[:, -4:] == 1
    torch.testing.assert_close(logits[seen], wanted[seen], rtol=1e-5, atol=1e-5)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, others[name], rtol=1e-4, atol=1e-4)
