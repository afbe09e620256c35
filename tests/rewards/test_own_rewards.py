"""Rewards of one's own in both forms; what they give is checked, what they raise is named."""

from pathlib import Path

import pytest
from tests.tiny import save_tiny_model

from moxin_recipes import rewards
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import known_answers, preflight

MODULE = """
import asyncio
import functools

import numpy as np
import torch

from moxin_recipes.rewards import Score

TURNS = [{"role": "assistant", "content": "four"}]


def ours(completions, answers):
    return [Score(float(c == a), 0.0, "same") for c, a in zip(completions, answers)]

def numbers(completions, answers):
    return [1, True, np.float32(0.5), torch.tensor(2.0)][: len(completions)]

def of_trl(prompts, completions, answer, level, **kwargs):
    assert prompts[0][-1]["role"] == "user" and completions[0][0]["role"] == "assistant"
    return [float(c[0]["content"] == a) * n for c, a, n in zip(completions, answer, level)]

def only_columns(completions, **kwargs):
    return [len(kwargs["answer"][0])] * len(completions)

def columns(completions, answer, level):
    assert completions[0][0]["role"] == "assistant"
    right = [c[0]["content"] == a for c, a in zip(completions, answer)]
    return [float(one) + n for one, n in zip(right, level)]

def only_completions(completions):
    return [float(len(c)) for c in completions]

def of_ids(completion_ids):
    return [len(ids) for ids in completion_ids]

def any_arguments(*both):
    return [float(c == a) for c, a in zip(*both)]

def without_rest(prompts, completions):
    return [len(completions)] * len(completions)

def some(completions, **kwargs):
    return [None if c[0]["content"] == "x" else 1.0 for c in completions]

async def waits(completions, **kwargs):
    await asyncio.sleep(0)
    return [1.0 for _ in completions]

class Longer:
    def __call__(self, completions, answers):
        return [float(len(c) > len(a)) for c, a in zip(completions, answers)]

longer = Longer()
short = functools.partial(lambda limit, completions, answers: [
    float(len(c) < limit) for c in completions], 3)

def golds(completions, golds):
    return [1.0] * len(completions)

def breaks(completions, answers):
    return [1 / (c != "bad") for c in completions]

def breaks_together(completions, answers):
    return [1.0] if len(completions) == 1 else completions[9]

def few(completions, answers):
    return [1.0]

def words(completions, answers):
    return ["good"] * len(completions)

def nan(completions, **kwargs):
    return [float("nan")] * len(completions)

def score_of_nan(completions, answers):
    return [Score(float("nan"), 0.0, "x")] * len(completions)

def huge(completions, answers):
    return [10**400] * len(completions)

def digits(completions, answers):
    return ["0.5"] * len(completions)

def nothing(completions, **kwargs):
    return None

def array(completions, answers):
    return np.array([float(c == a) for c, a in zip(completions, answers)])

def tensor(completions, **kwargs):
    return torch.tensor([1.0] * len(completions))

def one_by_one(completions, answers):
    yield from (float(c == a) for c, a in zip(completions, answers))

def mapped(completions, answers):
    return map(len, completions)

def pair(completions, answers):
    return (1.0,) * len(completions)

def without_end(completions, answers):
    while True:
        yield 1.0

def breaks_late(completions, answers):
    yield from (1 / (c != "bad") for c in completions)

def single_array(completions, answers):
    return np.array(1.0)

def table(completions, answers):
    return {c: 1.0 for c in completions}

def exits(completions, answers):
    raise SystemExit(3)

def counts(completions, completion_ids, trainer_state, log_metric, log_extra, **kwargs):
    log_metric("share", trainer_state.global_step / trainer_state.max_steps)
    log_extra("length", [len(ids) for ids in completion_ids])
    return [1 / len(ids) for ids in completion_ids]

def scripted(completions, trainer_state):
    return [trainer_state.max_steps] * len(completions)

from trl.rewards import get_repetition_penalty_reward, get_soft_overlong_punishment
overlong = get_soft_overlong_punishment(max_completion_len=10, soft_punish_cache=5)
repetition = get_repetition_penalty_reward()
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_a_user.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


COMPLETIONS = [[{"role": "assistant", "content": text}] for text in ("4", "x")]
COLUMNS = {
    "prompts": [[{"role": "user", "content": "2+2?"}]] * 2,
    "level": [2, 3],
    "completion_ids": [[1, 2], [1, 2, 3]],
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ours", [1.0, 0.0]),
        ("numbers", [1.0, 1.0]),
        ("of_trl", [2.0, 0.0]),
        ("only_columns", [1.0, 1.0]),
        ("without_rest", [2.0, 2.0]),
        ("some", [1.0, None]),
        ("columns", [3.0, 3.0]),
        ("only_completions", [1.0, 1.0]),
        ("of_ids", [2, 3]),
        ("any_arguments", [1.0, 0.0]),
        ("waits", [1.0, 1.0]),
        ("longer", [0.0, 0.0]),
        ("short", [1.0, 1.0]),
        ("array", [1.0, 0.0]),
        ("tensor", [1.0, 1.0]),
        ("one_by_one", [1.0, 0.0]),
        ("mapped", [1.0, 1.0]),
        ("pair", [1.0, 1.0]),
        ("overlong", [0.0, 0.0]),
    ],
)
def test_in_training(name: str, expected: list[float | None]) -> None:
    reward = rewards.for_trl(f"of_a_user:{name}")
    assert reward(completions=COMPLETIONS, answer=["4", "4"], **COLUMNS) == expected


def test_numbers_of_all_kinds() -> None:
    scores = rewards.score("of_a_user:numbers", list("abcd"), list("abcd"))
    assert [score.reward for score in scores] == [1.0, 1.0, 0.5, 2.0]


def test_what_a_prompt_has_opened_comes_before_the_last_turn() -> None:
    reward = rewards.for_trl("of_a_user:ours", "<think>")
    assert reward(completions=COMPLETIONS, answer=["<think>4", "x"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "breaks",
            "failed with ZeroDivisionError: division by zero (of_a_user.py:62), at “bad” for ",
        ),
        (
            "breaks_together",
            "failed with IndexError: list index out of range (of_a_user.py:65), on 2 ",
        ),
        ("few", "must give one Score or number for each of 2 completions, not 1"),
        ("nothing", "must give one Score or number for each of 2 completions, not NoneType"),
        ("table", "must give one Score or number for each of 2 completions, not dict"),
        ("single_array", "must give one Score or number for each of 2 completions, not ndarray"),
        ("without_end", "must give one Score or number for each of 2 completions, not 3"),
        ("breaks_late", "failed with ZeroDivisionError: division by zero (of_a_user.py:"),
        ("breaks_late", "at “bad” for the answer the answer 2"),
        ("exits", "failed with SystemExit: 3 (of_a_user.py:"),
        ("counts", "it needs the column `completion_ids`, which only GRPO has"),
        ("overlong", "it needs the column `completion_ids`, which only GRPO has"),
        ("scripted", "it needs the column `trainer_state`, which only GRPO has"),
        ("words", "gives str to “good”, and not a number"),
        ("nan", "gives nan to “good”, and not a number"),
        ("score_of_nan", "gives nan to “good”, and not a number"),
        ("huge", "gives int to “good”, and not a number"),
        ("digits", "gives str to “good”, and not a number"),
        ("of_trl", "it needs the column `level`, and there are: answer, completions, prompts"),
        ("golds", "it needs the column `golds`, and there are: answer, completions, prompts (a "),
    ],
)
def test_the_line_of_a_wrong_reward(name: str, line: str) -> None:
    with pytest.raises(RecipeError) as raised:
        rewards.score(f"of_a_user:{name}", ["good", "bad"], ["1", "the answer 2"])
    assert str(raised.value).startswith(f"`rewards`: of_a_user:{name}")
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_reward_with_columns_is_tried_with_those_of_the_first_row() -> None:
    beside = {"level": 2, "prompts": [{"role": "user", "content": "2+2?"}]}
    known_answers.check_rewards(["of_a_user:of_trl", "of_a_user:some"], ["4"], beside)
    with pytest.raises(RecipeError, match=r"of_trl: it needs the column `level`"):
        known_answers.check_rewards(["of_a_user:of_trl"], ["4"])


def test_columns_may_have_any_name() -> None:
    beside = {"name": ["x"] * 2, "answers": [1, 2], "completions": [3, 4]}
    scores = rewards.score("math", ["</think>\\boxed{1}", "2"], ["1", "2"], **beside)
    assert [score.reward for score in scores] == [1.0, 0.0]


def test_what_the_trainer_gives_is_there_when_a_reward_is_tried(tmp_path: Path) -> None:
    _, tokenizer = save_tiny_model(tmp_path / "model")
    names = [f"of_a_user:{name}" for name in ("counts", "overlong", "repetition", "scripted")]
    of_trainer = preflight.of_trainer(tokenizer, -1)
    known_answers.check_rewards(names, ["4"], {"level": 2}, of_trainer)
    with pytest.raises(RecipeError, match=r"of_trl: it needs the column `level`, and there are"):
        known_answers.check_rewards(["of_a_user:of_trl"], ["4"], {}, of_trainer)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("mine.py:f", "mine:f"),
        ("./mine.py:f", "mine:f"),
        ("my/own.py:f", "my.own:f"),
        ("./my/own:f", "my.own:f"),
    ],
)
def test_a_file_is_named_as_its_module(name: str, module: str) -> None:
    with pytest.raises(RecipeError) as raised:
        rewards.find(name)
    assert str(raised.value) == (
        f"`rewards`: {name} names a file; name its module, as in {module} (the current folder is "
        "searched, too)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "1 / 0",
        "def f(:",
        "import not_there",
        "import sys; sys.exit(0)",
        "exit()",
        "import argparse; argparse.ArgumentParser().parse_args(['--no'])",
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / f"broken_{len(text)}.py").write_text(text)
    line = rf"`rewards`: broken_{len(text)}:f cannot be imported: "
    with pytest.raises(RecipeError, match=line):
        rewards.find(f"broken_{len(text)}:f")
