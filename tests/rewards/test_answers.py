"""The rewards `math` and `format`: right answers score, everything else does not, none hangs."""

from pathlib import Path

import pytest

from moxin_recipes import rewards
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import answers


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        ("<think>a</think>\\boxed{12}", "12", 1),
        ("<think>a</think> so \\boxed{ 012 }", "12", 1),
        ("<think>a</think>\\boxed{\\frac{1}{2}}", "0.5", 1),
        ("a</think>\\boxed{3} no, \\boxed{4}", "4", 1),
        ("<think>a</think>\\boxed{13}", "12", 0),
        ("<think>a</think>\\boxed{7+5}", "12", 0),
        ("<think>a</think>\\boxed{3 \\times 4}", "12", 0),
        ("<think>a</think>\\boxed{13$ $12}", "12", 0),
        ("<think>a</think>\\boxed{13 \\\\$ 12}", "12", 0),
        ("<think>a</think>\\boxed{\\$32}", "\\$32", 1),
        ("<think>a</think>\\boxed{\\$1,250}", "1250", 1),
        ("<think>a</think>\\boxed{-12}", "-12", 1),
        ("<think>a</think>\\boxed{\\frac{24}{2}}", "12", 1),
        ("<think>a</think>\\boxed{x + 1}", "1 + x", 1),
        ("<think>a</think>\\boxed{１２}", "12", 0),
        ("<think>\\boxed{12}</think>", "12", 0),
        ("<think>a \\boxed{12}", "12", 0),
        ("<think>a</think>12", "12", 0),
        ("<think>a</think>\\boxed{12", "12", 0),
        ("<think>a</think>\\boxed{" + "9" * 5000 + "}", "12", 0),
    ],
)
def test_math(completion: str, answer: str, reward: float) -> None:
    assert rewards.score("math", [completion], [answer])[0].reward == reward


def test_neither_the_question_nor_a_second_guess_is_an_answer() -> None:
    questions = (
        *("\\sum_{i=1}^{12}1", "\\max(3, 12)", "\\binom{12}{1}", "3 + \\frac{9}{1}", "(3)+(9)"),
        *("\\frac{1}{2}\\cdot 24", "9--3", "36 \\div 3"),
    )
    guesses = ("3=12", "x=3=12", "3 \\\\ 12", "3 \\to 12", "3 | 12", "3 & 12", "3 . 12")
    wrong = [(candidate, "12") for candidate in (*questions, *guesses)]
    wrong += [("3=\\frac{1}{2}", "\\frac{1}{2}"), ("3 \\\\ \\frac{1}{2}", "\\frac{1}{2}")]
    right = [
        *("x=12", "x_1 = 12", "f(3)=12", "m\\angle A = 12", "x+y=12", "x=\\frac{24}{2}"),
        *("\\frac{\\sqrt{576}}{2}", "\\frac{-24}{-2}", "36/3", "12.0", "\\\\frac{24}{2}"),
        *("12 \\text{ cm}^2", "12\\,\\text{kg}\\cdot\\text{m}", "12^\\circ", "12_{10}", "12 \\\\"),
    ]
    pairs = [
        *wrong,
        *((candidate, "12") for candidate in right),
        ("1{,}200", "1200"),
        ("2^{3}", "8"),
    ]
    completions = [f"<think>a</think>\\boxed{{{candidate}}}" for candidate, _ in pairs]
    scores = rewards.score("math", completions, [answer for _, answer in pairs])
    for place, (pair, score) in enumerate(zip(pairs, scores, strict=True)):
        assert score.reward == (place >= len(wrong)), (pair, score)


@pytest.mark.parametrize(
    ("candidate", "answer", "reward"),
    [
        ("1.6 \\times 10^{-19}", "1.6e-19", 1),
        ("1.60\\cdot10^{-19} \\text{ C}", "1.6 \\times 10^{-19}", 1),
        ("q = 2.5 \\times 10^{-19}", "1.6 \\times 10^{-19}", 0),
        ("0", "1.6 \\times 10^{-19}", 0),
        ("0.0000001", "0.0000002", 0),
        ("3 \\times 10^8", "300000000", 1),
        ("300000001", "3e8", 0),
        ("0.333333", "0.3333333", 1),
        ("0.333", "0.3333333", 0),
        ("12.0000001", "12", 0),
    ],
)
def test_decimals_are_compared_by_their_size(candidate: str, answer: str, reward: float) -> None:
    completion = f"<think>a</think>\\boxed{{{candidate}}}"
    assert rewards.score("math", [completion], [answer])[0].reward == reward


def test_a_batch_keeps_its_order_whatever_takes_long_or_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "SECONDS_AN_ANSWER", 1.0)
    hanging = "<think></think>\\boxed{9^{9^{9^{9^{9}}}}}"
    right = [f"<think></think>\\boxed{{\\frac{{{2 * n}}}{{2}}}}" for n in range(1, 21)]
    completions = [right[0], hanging, *right[1:10], hanging, *right[10:]]
    right_answers = ["1", "5", *map(str, range(2, 11)), "5", *map(str, range(11, 21))]
    scores = rewards.score("math", completions, right_answers)
    assert [score.reward for score in scores] == [float("frac" in text) for text in completions]
    assert [score.reason for score in scores].count(rewards.TIMED_OUT) == 2


def test_format() -> None:
    texts = ["<think>a</think>\\boxed{1}", "a</think>\\boxed{1}", "<think>a</think>1"]
    assert [score.reward for score in rewards.score("format", texts, [""] * 3)] == [1, 0, 0]


def test_as_trl_calls_it() -> None:
    reward = rewards.for_trl("math")
    turns = [[{"role": "assistant", "content": "<think>x</think>\\boxed{2}"}], "\\boxed{2}"]
    metrics: dict[str, float] = {}
    columns: dict[str, list[str]] = {}
    reward_values = reward(
        completions=turns,
        answer=["2", "2"],
        prompts=[],
        log_metric=metrics.__setitem__,
        log_extra=columns.__setitem__,
    )
    assert reward_values == [1.0, 0.0]
    assert reward.__name__ == "math"
    assert metrics == {"rewards/math/timeouts": 0.0}
    assert columns == {"math_reason": ["equal", "no </think>"]}


def test_a_reward_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards.py").write_text(
        "from moxin_recipes.rewards import Score\n"
        "def short(completions, answers):\n"
        "    return [Score(float(len(c) < 5), 0.0, 'length') for c in completions]\n"
        "def floats(completions, answers):\n"
        "    return [1.0 for c in completions[1:]]\n"
    )
    monkeypatch.chdir(tmp_path)
    scores = rewards.score("own_rewards:short", ["yes", "not at all"], ["", ""])
    assert [score.reward for score in scores] == [1.0, 0.0]
    assert rewards.for_trl("own_rewards:short").__name__ == "own_rewards:short"
    with pytest.raises(RecipeError, match="must give one Score or number for each of 1 comp"):
        rewards.score("own_rewards:floats", ["yes"], [""])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maths", "there is no maths; use math, format, code, or package.module:function"),
        ("nowhere.at_all:reward", "cannot be imported: No module named 'nowhere'"),
        (
            "moxin_recipes.recipe.strict:nothing",
            "moxin_recipes.recipe.strict has no function nothing",
        ),
    ],
)
def test_a_name_that_is_none(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        rewards.find(name)


def test_no_reward_at_all() -> None:
    with pytest.raises(RecipeError, match="give at least one"):
        rewards.check([])
