"""The preflight: lets a sound set-up pass unchanged, and names what is wrong with another."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tests.tiny import save_tiny_model
from transformers import GenerationConfig
from trl import GRPOConfig

from moxin_recipes import rewards
from moxin_recipes.chats import template
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.problems import prompts
from moxin_recipes.problems.rows import Problems
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


def test_marks_that_no_reward_would_see(tmp_path: Path) -> None:
    _, tokenizer = save_tiny_model(tmp_path)
    preflight.check_marks(tokenizer, ["math", "format", "code"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    with pytest.raises(RecipeError) as refused:
        preflight.check_marks(tokenizer, ["math"])
    assert str(refused.value) == (
        "`model_name_or_path`: math would refuse a right answer: special tokens of its tokenizer "
        "(</think>) are removed before a reward sees them; marks such as <think> must not be "
        "special tokens: save it with them as ordinary ones"
    )


def test_files_that_another_process_reads_name_the_end_of_a_turn(tmp_path: Path) -> None:
    _, tokenizer = save_tiny_model(tmp_path)
    preflight.check_files_end(tmp_path, tokenizer)
    tokenizer.add_tokens(["<|im_end|>"])
    tokenizer.save_pretrained(tmp_path)
    template.prepare_tokenizer(tokenizer, "chatml.jinja", None)
    with pytest.raises(RecipeError) as refused:
        preflight.check_files_end(tmp_path, tokenizer)
    end = tokenizer.eos_token_id
    assert str(refused.value) == (
        "`use_vllm`: vLLM would stop at [2], as the model's files say, and turns end with "
        f"<|im_end|>; add {end} to `eos_token_id` in its generation_config.json, or tune it with "
        "SFT first, which does so"
    )
    GenerationConfig(eos_token_id=[2, end]).save_pretrained(tmp_path)
    preflight.check_files_end(tmp_path, tokenizer)
    (tmp_path / "generation_config.json").unlink()  # then the config's count
    with pytest.raises(RecipeError, match=r"would stop at \[2\]"):
        preflight.check_files_end(tmp_path, tokenizer)
    tokenizer.save_pretrained(tmp_path)
    preflight.check_files_end(tmp_path, tokenizer)


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


def save_rates(folder: Path, problems: list[Any], rates: list[Any]) -> None:
    (folder / "pass_rates").mkdir()
    rows = Dataset.from_dict({"problem": problems, "pass_rate": rates})
    rows.to_parquet(folder / "pass_rates" / "train.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: pass_rates\n  data_files: pass_rates/train.parquet\n---\n"
    )


def kept(names: list[str], rates: Path | None, least: float, most: float) -> list[str]:
    rows = Dataset.from_dict({"problem": names, "answer": names})
    problems = Problems(rows, ("problem", "answer"), "dataset_name")
    prompts.keep_with_a_signal(problems, rates, least, most)
    return list(problems.usable()["problem"])


def test_problems_by_their_pass_rate(tmp_path: Path) -> None:
    names = ["never", "often", "always", "new"]
    save_rates(tmp_path, names[:3], [0.0, 0.75, 1.0])
    assert kept(names, tmp_path, 0.1, 0.9) == ["often", "new"]
    assert kept(names, tmp_path, 0.0, 1.0) == names
    assert kept(names, None, 0.1, 0.2) == names
    line = r"none of its 2 problems can be used; .* 2 pass rate; `min_pass_rate`, `max_pass_rate` "
    with pytest.raises(RecipeError, match=line):
        kept(names[:2], tmp_path, 0.1, 0.2)


@pytest.mark.parametrize(
    ("problems", "rates", "left"),
    [
        (["a b", "c"], [0.5, 1.0], ["a b"]),
        (["a  b\n", " c "], [0.5, 1.0], ["a b"]),
        (["a b", "a b", "c"], [0.0, 1.0, 1.0], ["a b"]),  # the mean of two
        (["a b", "c", "c"], [0.5, 0.0, 0.0], ["a b"]),
        (["a b", "c"], ["0.5", "1"], ["a b"]),
        (["a b", "c"], [None, 1.0], ["a b"]),
        (["a b", "c", None], [1, 0, 1], None),
    ],
)
def test_how_pass_rates_are_matched(
    tmp_path: Path, problems: list[Any], rates: list[Any], left: list[str] | None
) -> None:
    save_rates(tmp_path, problems, rates)
    if left is None:
        with pytest.raises(RecipeError, match="none of its 2 problems can be used"):
            kept(["a b", "c"], tmp_path, 0.1, 0.9)
    else:
        assert kept(["a b", "c"], tmp_path, 0.1, 0.9) == left


@pytest.mark.parametrize("rate", ["often", 85, -0.5, "", "nan"])
def test_what_is_no_pass_rate_is_one_line(tmp_path: Path, rate: Any) -> None:
    save_rates(tmp_path, ["a", "b"], [type(rate)(0), rate])
    with pytest.raises(RecipeError) as refused:
        kept(["a", "b"], tmp_path, 0.1, 0.9)
    assert str(refused.value).startswith("`pass_rates_name`: row 1: ")
    assert "and not from 0 to 1" in str(refused.value)


def test_pass_rates_of_other_problems_are_said(tmp_path: Path) -> None:
    save_rates(tmp_path, ["a", "x"], [0.5, 0.5])
    with pytest.raises(RecipeError) as refused:
        kept(["b", "c"], tmp_path, 0.1, 0.9)
    assert str(refused.value) == (
        "`pass_rates_name`: it has a pass rate of none of the 2 problems, such as “b”; name the "
        "distilled dataset of these problems"
    )
    rows = Dataset.from_dict({"problem": ["a", "b", "c"], "answer": ["1"] * 3})
    problems = Problems(rows, ("problem", "answer"), "dataset_name")
    line = prompts.keep_with_a_signal(problems, tmp_path, 0.1, 0.9)
    assert line == "`pass_rates_name`: 2 of 3 problems have no pass rate there, and stay"
    problems = Problems(rows.select([0]), ("problem", "answer"), "dataset_name")
    assert not prompts.keep_with_a_signal(problems, tmp_path, 0.1, 0.9)
