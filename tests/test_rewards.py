"""Rewards: right answers score, everything else does not, and nothing hangs."""

import pytest

from moxin_recipes import rewards


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
        ("<think>a</think>\\boxed{-12}", "-12", 1),
        ("<think>a</think>\\boxed{\\frac{24}{2}}", "12", 1),
        ("<think>a</think>\\boxed{x + 1}", "1 + x", 1),
        ("<think>\\boxed{12}</think>", "12", 0),
        ("<think>a \\boxed{12}", "12", 0),
        ("<think>a</think>12", "12", 0),
        ("<think>a</think>\\boxed{12", "12", 0),
        ("<think>a</think>\\boxed{" + "9" * 5000 + "}", "12", 0),
    ],
)
def test_math(completion: str, answer: str, reward: float) -> None:
    assert rewards.math(completion, answer).reward == reward


def test_a_hanging_comparison_is_killed_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rewards, "SECONDS_AN_ANSWER", 1.0)
    verdict = rewards.math("<think></think>\\boxed{9^{9^{9^{9^{9}}}}}", "5")
    assert verdict.reward == 0
    assert verdict.seconds < 30
    assert rewards.math("<think></think>\\boxed{\\frac{4}{2}}", "2").reward == 1


def test_a_worker_that_died_is_replaced() -> None:
    assert rewards.math("<think></think>\\boxed{\\frac{4}{2}}", "2").reward == 1
    process = rewards._worker()._process
    assert process is not None
    process.kill()
    process.wait()
    assert rewards.math("<think></think>\\boxed{\\frac{4}{2}}", "2").reward == 1


def test_as_trl_calls_it() -> None:
    reward = rewards.for_trl("math")
    turns = [[{"role": "assistant", "content": "<think>x</think>\\boxed{2}"}], "\\boxed{2}"]
    assert reward(completions=turns, answer=["2", "2"], prompts=[]) == [1.0, 0.0]
    assert reward.__name__ == "math"
