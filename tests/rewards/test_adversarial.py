"""Answers made to break the verifier: none outlasts its limit, and the right ones still score."""

import time

import psutil
import pytest
from tests.rewards.adversarial import attacks

from moxin_recipes import rewards
from moxin_recipes.rewards import answers


def _all_hold(count: int, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SECONDS_AN_ANSWER", limit)
    attack_list = attacks(count)
    completions, right_answers = (
        [a.completion for a in attack_list],
        [a.answer for a in attack_list],
    )
    began = time.monotonic()
    scores = rewards.score("math", completions, right_answers)
    took = time.monotonic() - began
    for attack, score in zip(attack_list, scores, strict=True):
        assert score.reward == attack.reward, (attack.kind, attack.completion[:100], score)
        # On a busy machine the kill itself may come late; that no answer goes on for longer is
        # what counts, and the next test looks for those that might.
        assert score.seconds < limit + 10, (attack.kind, attack.completion[:100], score)
    late = sum(score.reason == rewards.TIMED_OUT for score in scores)
    assert late >= count / 20  # the attacks are real
    for pid in answers.pool().processes():  # nothing is left that still works on one
        assert psutil.Process(pid).children() == []
    longest = max(score.seconds for score in scores)
    print(f"{count} in {took:.1f} s: {late} timed out, the longest took {longest:.2f} s")  # noqa: T201


def test_a_hundred_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    _all_hold(100, 1.5, monkeypatch)


@pytest.mark.soak
def test_two_thousand_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    _all_hold(2000, 2.0, monkeypatch)
