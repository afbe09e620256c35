"""Errors of scores: wide where nobody knows, of problems and not of samples, and of pairs."""

import itertools
import math
import random
import statistics

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
    for count in range(1, 500):
        assert wilson(0.0, count)[0] == 0.0
        assert wilson(1.0, count)[1] == 1.0
        for right in range(0, count + 1, 7):
            low, high = wilson(right / count, count)
            assert 0 <= low <= right / count <= high <= 1
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
    assert made.verdict() == "noise"
    assert made.detectable is not None
    assert round(made.detectable, 3) == 0.039


def test_sides_that_are_alike_or_far_apart() -> None:
    same = paired({1: 1.0, 2: 0.0}, {1: 1.0, 2: 0.0, 3: 1.0})
    assert (same.pairs, same.difference, same.p, same.verdict()) == (2, 0.0, 1.0, "noise")
    assert same.low is not None
    assert same.high is not None
    assert same.low < 0 < same.high
    far = paired(dict.fromkeys(range(30), 1.0), dict.fromkeys(range(30), 0.0))
    assert (far.difference, far.verdict()) == (1.0, "A better")
    assert far.p == sign_test(30, 0) < 1e-8
    with pytest.raises(ValueError, match="nothing in common"):
        paired({1: 1.0}, {2: 1.0})


def test_thousands_of_pairs_have_an_exact_test() -> None:
    """HellaSwag's 10,042 items part two models more than a thousand times."""
    assert sign_test(2000, 2000) == 1.0
    assert sign_test(0, 1000) == 2.0**-999
    # A normal with a correction of one half is this close with so many.
    normal = 2 * (1 - statistics.NormalDist().cdf((2100 - 1900 - 1) / math.sqrt(4000)))
    assert sign_test(2100, 1900) == pytest.approx(normal, rel=0.01)
    made = paired(
        {n: float(n % 3 == 0) for n in range(10042)}, {n: float(n % 3 == 1) for n in range(10042)}
    )
    assert (made.alone, made.verdict()) == ((3348, 3347), "noise")


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
def test_problems_that_are_alike_have_an_interval_however_they_round(value: float) -> None:
    made = estimate([[value]] * 100)
    assert made.low is not None
    assert made.high is not None
    assert made.high - made.low > 0.1


def test_lm_evals_error_is_ours_to_the_digit() -> None:
    from lm_eval.api.metrics import mean, mean_stderr

    draw = random.Random(3)
    for values in ([1, 0, 0, 1, 1, 0, 1], [draw.random() for _ in range(101)]):
        made = estimate([[value] for value in values])
        assert (made.value, made.stderr) == (mean(values), mean_stderr(values))


def test_a_single_problem_has_no_error_and_a_wide_interval() -> None:
    right, part = estimate([[1.0]]), estimate([[2.5]])
    assert (right.value, right.stderr, right.high) == (1.0, None, 1.0)
    assert right.low is not None
    assert right.low < 0.25
    assert (part.value, part.stderr, part.low, part.high) == (2.5, None, None, None)
    with pytest.raises(ValueError, match="no problems"):
        estimate([])


def test_a_verdict_needs_test_and_mean_to_agree() -> None:
    """Better by little on 20 problems and worse by much on 4: nobody is better."""
    split = paired(
        {n: 0.1 if n < 20 else 0.0 for n in range(24)},
        {n: 0.0 if n < 20 else 1.0 for n in range(24)},
    )
    assert split.alone == (20, 4)
    assert split.p < 0.05
    assert split.difference < 0
    assert split.verdict() == "noise"
    lower = paired(dict.fromkeys(range(30), 2.0), dict.fromkeys(range(30), 3.0))
    assert (lower.verdict(), lower.verdict(higher_is_better=False)) == ("B better", "A better")


def test_pairs_that_are_alike_have_wilsons_bound() -> None:
    made = paired(dict.fromkeys(range(100), 1.0), dict.fromkeys(range(100), 1.0))
    assert (made.difference, made.stderr) == (0.0, 0.0)
    assert made.high is not None
    assert made.high == wilson(0.0, 100)[1] == -(made.low or 0.0)
    scaled = paired(dict.fromkeys(range(9), 3.0), dict.fromkeys(range(9), 2.0))
    assert (scaled.difference, scaled.low, scaled.high) == (1.0, None, None)
    apart = paired(dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), 0.0))
    assert apart.high == 1.0
