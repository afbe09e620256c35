"""Fast sampling: draws from the model's own distribution."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.training.conftest import Tiny
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from moxin_recipes.models.rollouts import Sampling, draw, sample
from moxin_recipes.recipe.strict import RecipeError

PROMPTS = [[5, 9, 30, 31, 40, 41, 42], [5, 7], [5, 9, 30, 31, 40, 41, 42], [5, 8, 6, 60]]


def test_each_token_is_drawn_from_what_the_model_says_then(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left padding, the shared prompt, the window, dropped rows: none changes the logits.

    Followed by row for each of the prompts, two of which are equal, one of which is not padded.
    """
    seen: list[torch.Tensor] = []  # of each step, the rows that are still there

    def remembered(logits: torch.Tensor, *how: Any) -> torch.Tensor:
        seen.append(logits)
        return draw(logits, *how)

    monkeypatch.setattr("moxin_recipes.models.rollouts.draw", remembered)
    model = tiny.model()
    torch.manual_seed(0)
    ends = list(range(4, 16))  # many: rows end at different times
    said = sample(model, PROMPTS * 4, 60, Sampling(), ends, pad=3)
    lengths = [len(ids) for ids in said]
    assert min(lengths) < 8
    assert max(lengths) > 24  # beyond the window of 12
    assert len(seen[-1]) < len(seen[0])  # rows were dropped
    assert all(ids[-1] in ends or len(ids) == 60 for ids in said)
    assert all(not set(ids[:-1]) & set(ends) for ids in said)
    for prompt in range(4):
        row = max(range(prompt, 16, 4), key=lambda row: lengths[row])
        whole = torch.tensor([PROMPTS[prompt] + said[row]])
        with torch.no_grad():
            wanted = model(input_ids=whole).logits[0, len(PROMPTS[prompt]) - 1 : -1]
        there = range(16)
        for step, logits in enumerate(wanted):
            if len(seen[step]) < len(there):  # those that have ended are dropped, in order
                there = [other for other in there if lengths[other] > step]
            torch.testing.assert_close(seen[step][there.index(row)], logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.6, 0, 1.0), (1.0, 2, 1.0), (1.0, 0, 0.6)]
)
def test_draws_follow_the_distribution(temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -30.0]])
    warpers = Sampling(temperature, top_k, top_p).warpers()
    count = 40_000
    torch.manual_seed(1)
    found = draw(logits.expand(count, -1), temperature, warpers).bincount(minlength=5) / count
    wanted = warpers(None, logits / temperature).softmax(-1)[0]
    error = (wanted * (1 - wanted) / count).sqrt()
    assert ((found - wanted).abs() <= 4 * error + 1e-9).all()
    assert found[4] == 0


def test_one_number_a_row_is_enough_at_the_very_ends() -> None:
    logits = torch.tensor([[-1e9, 0.0, -1e9]]).expand(5, -1)
    assert draw(logits, 1.0, LogitsProcessorList()).tolist() == [1] * 5


def _of_kind(kind: str, tiny: Tiny) -> Any:
    """A model of this kind with random weights, far from uniform."""
    model = tiny.model()
    shape = {**model.config.to_dict(), "sliding_window": None, "attention_bias": True}
    if kind == "gpt2":  # embeddings of absolute places
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.5}
        return GPT2LMHeadModel(GPT2Config(vocab_size=model.config.vocab_size, **sizes)).eval()
    if kind == "qwen2, layers of both kinds":
        window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
        mixed = Qwen2Config(**{**shape, **window, "model_type": "qwen2", "layer_types": None})
        assert set(mixed.layer_types) == {"full_attention", "sliding_attention"}
        return Qwen2ForCausalLM(mixed).eval()
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**{**shape, "model_type": "llama"})).eval()
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**{**shape, "model_type": "qwen2"})).eval()
    if kind == "adapter":
        adapted = get_peft_model(model, LoraConfig(target_modules="all-linear", r=2))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
        return adapted.eval()
    return model


@pytest.mark.parametrize(
    "kind", ["mistral", "llama", "qwen2", "qwen2, layers of both kinds", "gpt2", "adapter"]
)
def test_the_likeliest_tokens_are_those_of_generate(kind: str, tiny: Tiny) -> None:
    model, pad = _of_kind(kind, tiny), tiny.tokenizer.pad_token_id
    found = sample(model, PROMPTS, 20, Sampling(temperature=0.0), [2], pad)
    for prompt, ids in zip(PROMPTS, found, strict=True):
        wanted = model.generate(
            input_ids=torch.tensor([prompt]),
            max_new_tokens=20,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=2,
        )
        assert wanted[0, len(prompt) :].tolist() == ids


def test_a_model_whose_layers_keep_something_else_is_refused(tiny: Tiny) -> None:
    model = tiny.model()
    model.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(RecipeError, match="layers of linear_attention are not sampled from"):
        sample(model, PROMPTS, 2, Sampling(), [2], 3)
