"""Errors of scores: wide where nobody knows, of problems and not of samples, and of pairs."""

import itertools
import math
import random

import pytest

from moxin_recipes.scores.statistics import estimate, paired, pass_at, sign_test, wilson


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_no_interval_has_no_width(value: float, samples: int) -> None:
    made = estimate([[value] * samples] * 100)
    assert made.low is not None
    assert made.high is not None
    assert made.low <= value <= made.high
    assert made.high - made.low > 0.03


def test_wilsons_interval_is_that_of_the_literature() -> None:
    low, high = wilson(23 / 40, 40)  # the paper's AMC score
    assert (round(low, 3), round(high, 3)) == (0.422, 0.715)
    low, high = wilson(0.0, 100)
    assert (low, round(high, 4)) == (0.0, 0.0370)


def test_four_samples_of_a_problem_are_no_four_problems() -> None:
    problems = [[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]
    means = [0.75, 0.0, 0.5]
    middle = sum(means) / 3
    expected = math.sqrt(sum((mean - middle) ** 2 for mean in means) / 2 / 3)
    assert estimate(problems).stderr == pytest.approx(expected)
    alike = [[1.0] * 4] * 10 + [[0.0] * 4] * 10
    assert estimate(alike) == estimate([problem[:1] for problem in alike])


def test_intervals_hold_what_they_promise() -> None:
    """Of many draws from a known share, about 95 of 100 intervals have it."""
    draw, held = random.Random(1), 0
    for _ in range(1000):
        made = estimate([[float(draw.random() < 0.9)] for _ in range(50)])
        assert made.low is not None
        assert made.high is not None
        held += made.low <= 0.9 <= made.high
    assert 920 < held < 980


def test_pass_at_k_is_the_share_of_draws_with_a_right_one() -> None:
    for samples, right, k in ((5, 2, 3), (6, 0, 2), (4, 4, 1), (20, 3, 10)):
        draws = list(itertools.combinations(range(samples), k))
        share = sum(any(one < right for one in draw) for draw in draws) / len(draws)
        assert pass_at(k, samples, right) == pytest.approx(share)
    with pytest.raises(ValueError, match="pass@10 of 4"):
        pass_at(10, 4, 1)


def test_a_paired_difference_has_the_error_of_pairs() -> None:
    a = {n: float(n < 19 or n >= 200) for n in range(400)}
    b = {n: float(19 <= n < 31 or n >= 200) for n in range(400)}
    made = paired(a, b)
    assert (made.pairs, made.alone, made.difference) == (400, (19, 12), 7 / 400)
    assert made.stderr is not None
    assert round(made.stderr, 4) == 0.0139
    assert round(made.p, 4) == round(2 * sum(math.comb(31, k) for k in range(13)) / 2**31, 4)
    assert made.detectable is not None
    assert round(made.detectable, 3) == 0.039


def test_sides_that_are_alike_or_far_apart() -> None:
    same = paired({1: 1.0, 2: 0.0}, {1: 1.0, 2: 0.0, 3: 1.0})
    assert (same.pairs, same.difference, same.p) == (2, 0.0, 1.0)
    assert same.low is not None
    assert same.high is not None
    assert same.low < 0 < same.high
    far = paired(dict.fromkeys(range(30), 1.0), dict.fromkeys(range(30), 0.0))
    assert far.difference == 1.0
    assert far.p == sign_test(30, 0) < 1e-8
    with pytest.raises(ValueError, match="nothing in common"):
        paired({1: 1.0}, {2: 1.0})
