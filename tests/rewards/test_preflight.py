"""The preflight: lets a sound set-up pass unchanged, and names what is wrong with another."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tests.tiny import save_tiny_model
from transformers import GenerationConfig
from trl import GRPOConfig

from moxin_recipes import rewards
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.problems import prompts
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import Score, known_answers, preflight

TESTS = '{"inputs": ["1"], "outputs": ["2"]}'


def test_our_rewards_pass() -> None:
    known_answers.check_rewards(["math", "format"], ["4"])
    known_answers.check_rewards(["code"], [TESTS])


def test_rewards_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(completions: list[str], answers: list[str]) -> list[Score]:
        return [Score(1.0, 0.0, "nice") for _ in completions]

    def broken(completions: list[str], answers: list[str]) -> list[Score]:
        return [Score(float("nan"), 0.0, "?") for _ in completions]

    monkeypatch.setitem(rewards.REWARDS, "math", generous)
    with pytest.raises(RecipeError, match=r"math gives 1 \(nice\) instead of 0"):
        known_answers.check_rewards(["math"], ["4"])
    monkeypatch.setitem(rewards.REWARDS, "own", broken)
    with pytest.raises(RecipeError, match="own gives nan to a broken answer"):
        known_answers.check_rewards(["own"], ["4"])
    with pytest.raises(RecipeError, match="must be its tests"):
        known_answers.check_rewards(["code"], [TESTS, "4"])


def test_a_model_that_cannot_end(tmp_path: Path) -> None:
    _, tokenizer = save_tiny_model(tmp_path)
    preflight.check_ending(tmp_path, tokenizer, ["math", "format", "code"])
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace("+ eos_token", "")
    with pytest.raises(RecipeError, match="does not end the assistant's turn with </s>"):
        preflight.check_ending(tmp_path, tokenizer, ["math"])
    tokenizer.chat_template = template
    GenerationConfig(eos_token_id=[7, 8]).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=r"generation config ends at \[7, 8\], its tokenizer at"):
        preflight.check_ending(tmp_path, tokenizer, ["math"])
    GenerationConfig(eos_token_id=[7, tokenizer.eos_token_id]).save_pretrained(tmp_path)
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    with pytest.raises(RecipeError, match="<think> must not be special tokens"):
        preflight.check_ending(tmp_path, tokenizer, ["math"])


def trained(
    folder: Path, reward: object, *, probed: bool, group: int = 4
) -> tuple[torch.Tensor, list[dict]]:
    """Weights and log of one GRPO step of the tiny model."""
    _, tokenizer = save_tiny_model(folder)
    prompts = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": f"{n}?"}], "answer": "1"} for n in range(6)]
    )
    args = GRPOConfig(
        output_dir=str(folder / "out"),
        use_cpu=True,
        report_to="none",
        max_steps=1,
        logging_steps=1,
        num_generations=group,
        per_device_train_batch_size=8,
        max_completion_length=6,
        save_strategy="no",
        seed=3,
    )
    probe = preflight.Probe(prompts)
    trainer = CpuGRPOTrainer(
        model=str(folder),
        reward_funcs=[reward],
        args=args,
        train_dataset=prompts,
        processing_class=tokenizer,
        callbacks=[probe],
    )
    probe.trainer = trainer if probed else None
    trainer.train()
    return trainer.model.lm_head.weight.detach().clone(), trainer.state.log_history


def test_the_probe_leaves_no_trace(tmp_path: Path) -> None:
    reward = rewards.for_trl("tests.rewards.even:even")
    first, log = trained(tmp_path / "a", reward, probed=True)
    second, other = trained(tmp_path / "b", reward, probed=False)
    assert torch.equal(first, second)
    assert {k: v for k, v in log[0].items() if "time" not in k} == {
        k: v for k, v in other[0].items() if "time" not in k
    }
    logged = {"frac_reward_zero_std", "completions/clipped_ratio", "entropy", "reward"}
    name = "rewards/tests.rewards.even:even"
    assert logged | {f"{name}/mean", f"{name}/timeouts"} <= set(log[0])


def test_no_signal_in_any_group_is_refused(tmp_path: Path) -> None:
    constant = rewards.for_trl("math")
    with pytest.raises(RecipeError, match=r"the same reward in each of 6 groups of 4, so there is"):
        trained(tmp_path, constant, probed=True)


def test_rounding_is_no_signal(tmp_path: Path) -> None:
    def flat(completions: list[object], **_: object) -> list[float]:
        return [1.2] * len(completions)  # float32's mean of eight is another number

    with pytest.raises(RecipeError, match="the same reward in each of 6 groups of 8"):
        trained(tmp_path, flat, probed=True, group=8)


def test_problems_by_their_pass_rate(tmp_path: Path) -> None:
    folder = tmp_path / "pass_rates"
    folder.mkdir()
    names = ["never", "often", "always", "new"]
    Dataset.from_dict({"problem": names[:3], "pass_rate": [0.0, 0.75, 1.0]}).to_parquet(
        folder / "train.parquet"
    )
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: pass_rates\n  data_files: pass_rates/train.parquet\n---\n"
    )

    problems = Dataset.from_dict({"problem": names})
    assert prompts.with_a_signal(problems, tmp_path, 0.1, 0.9)["problem"] == ["often", "new"]
    assert prompts.with_a_signal(problems, tmp_path, 0.0, 1.0)["problem"] == names
    assert prompts.with_a_signal(problems, None, 0.1, 0.2)["problem"] == names
    with pytest.raises(RecipeError, match="no problem lies between them"):
        prompts.with_a_signal(problems.select([0, 1]), tmp_path, 0.1, 0.2)
