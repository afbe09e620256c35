"""How problems are asked: the recipe's suffix in training and when scored, over-long ones aside."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from tests.training.conftest import Tiny

from moxin_recipes.hub.splits import load_split
from moxin_recipes.problems.prompts import as_prompts
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import held_out
from moxin_recipes.stages.grpo import last_reward

SUFFIX = " Answer in \\boxed{}."
PROBLEMS = Dataset.from_list(
    [{"problem": "12 or 13?", "answer": "12"}, {"problem": "many " * 60, "answer": "13"}]
)


def test_grpo_asks_with_the_suffix_and_leaves_out_what_is_too_long(tiny: Tiny) -> None:
    def problems() -> Problems:
        return Problems(PROBLEMS, ("problem", "answer"), "dataset_name")

    read = problems()
    prompts = as_prompts(read, tiny.tokenizer, 64, SUFFIX)
    assert read.left_out().to_list() == [{"problem": 1, "reason": "too long to ask"}]
    assert prompts.to_list() == [
        {
            "prompt": [{"role": "user", "content": "12 or 13?" + SUFFIX}],
            "answer": "12",
            "problem": "12 or 13?",
        }
    ]
    with pytest.raises(RecipeError, match=r"^`max_prompt_length` 3: .* 2 too long to ask"):
        as_prompts(problems(), tiny.tokenizer, 3, SUFFIX)


def test_held_out_problems_are_asked_the_same_way(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answered(_: Any, __: Any, prompts: list[str], *___: Any) -> list[held_out.Completion]:
        asked.extend(prompts)
        return [held_out.Completion("<think>\n</think>\n\\boxed{12}", True)] * len(prompts)

    monkeypatch.setattr(held_out, "generate", answered)
    scores, _ = held_out.answers(
        *(tiny.folder, PROBLEMS, "chain"), suffix=SUFFIX, samples=1, max_new_tokens=4, seed=0
    )
    assert all(prompt.endswith(f"{SUFFIX}\n<|assistant|>\n") for prompt in asked)
    assert scores["accuracy"] == 0.5


def test_a_public_test_set_needs_no_config_of_its_own(tmp_path: Path) -> None:
    PROBLEMS.to_parquet(tmp_path / "test.parquet")
    split = load_split(tmp_path, None, "test", ["problem", "answer"], "problems_name")
    assert split["answer"][:] == ["12", "13"]


def test_held_out_problems_that_cannot_be_used_are_said_and_kept_aside(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {"problem": ["1+1?", " ", "2+2?", "3+3?"], "answer": ["2", "1", None, "6"]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "test.parquet")
    names = {"eval_problem_column": "problem", "eval_answer_column": "answer"}
    asked = {"problems_name": "o/p", "problems_config": None, "eval_split": "test", "eval_rows": 9}
    said = {"longer_split": None, "prompt_suffix": "", "system_prompt": None}
    keys: Any = SimpleNamespace(**names, **asked, **said)
    held_out.prove(lambda _: tmp_path, keys, tiny.tokenizer)
    assert "`problems_name`: 2 of 4 problems are left out: 1 empty problem, 1 no " in caplog.text
    (kept,) = held_out.left_out(lambda _: tmp_path, keys).items()
    assert kept[0] == "problems_left_out"
    assert kept[1].to_list() == [
        {"problem": 1, "reason": "empty problem"},
        {"problem": 2, "reason": "no answer"},
    ]


def test_the_reward_is_the_mean_of_the_last_logged_ones() -> None:
    log = [{"reward": float(step)} for step in range(12)]
    assert last_reward([*log, {"train_loss": 0.5}]) == {"reward": 6.5}
    assert last_reward([{"train_loss": 0.5}]) == {}  # `logging_steps` above `max_steps`
