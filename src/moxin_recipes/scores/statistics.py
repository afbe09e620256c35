"""Estimates with their errors: shares, means over problems, pass@k, and paired differences."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Z = statistics.NormalDist().inv_cdf(0.975)  # of a two-sided interval of 95 %
_POWER = statistics.NormalDist().inv_cdf(0.8)


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error (None for a single problem), and its interval of 95 %."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None


def wilson(share: float, count: int) -> tuple[float, float]:
    """The score interval of 95 % of a share of `count` trials (Wilson 1927); never of no width."""
    spread = Z * Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # Of none and of all the formula gives 0 and 1, but for rounding.
    return (middle - half if share else 0.0), (middle + half if share < 1 else 1.0)


def estimate(problems: Sequence[Sequence[float]]) -> Estimate:
    """The mean over problems of the mean over their samples.

    The error is that of independent problems, with n - 1, however many samples each has. The
    interval is Wilson's where each problem is right or wrong, or where all problems are alike; else
    it is the mean with 1.96 errors on both sides, within [0, 1] if all values are. ValueError where
    there is no problem.
    """
    if not problems:
        raise ValueError("no problems")
    means = [sum(samples) / len(samples) for samples in problems]
    count, value = len(means), sum(means) / len(means)
    alike = len(set(means)) == 1  # their error may be no zero, by the rounding of their sum
    stderr = None
    if count > 1:
        variance = sum((mean - value) ** 2 for mean in means) / (count - 1)
        stderr = math.sqrt(variance) / math.sqrt(count)
    share = all(0 <= one <= 1 for samples in problems for one in samples)
    if share and (alike or all(mean in (0, 1) for mean in means)):
        return Estimate(value, stderr, *wilson(value, count))
    if stderr is None:
        return Estimate(value, None, None, None)
    low, high = value - Z * stderr, value + Z * stderr
    return Estimate(value, stderr, *((max(0.0, low), min(1.0, high)) if share else (low, high)))


def pass_at(k: int, samples: int, right: int) -> float:
    """The unbiased estimate that one of k samples is right, from more of them (Chen et al. 2021).

    ValueError for k above `samples`.
    """
    if k > samples:
        raise ValueError(f"pass@{k} of {samples} samples")
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


@dataclass(frozen=True)
class Pairing:
    """Two models on the same problems; `difference` is the first less the second.

    `alone` counts problems on which one of them is better, `p` is of an exact test that neither is;
    `detectable` is the smallest difference that so many pairs find four times in five.
    """

    pairs: int
    difference: float
    stderr: float | None
    low: float | None
    high: float | None
    alone: tuple[int, int]
    p: float
    detectable: float | None

    def verdict(self, higher_is_better: bool = True) -> str:
        """Which one is better, or `noise`; that too where the test and the mean disagree."""
        better, worse = self.alone
        if self.p >= 0.05 or (better > worse) != (self.difference > 0):
            return "noise"
        return "A better" if (self.difference > 0) == higher_is_better else "B better"


def paired(a: Mapping[Any, float], b: Mapping[Any, float]) -> Pairing:
    """Compares means by problem over the keys of both; ValueError where they share none.

    The test is McNemar's exact one where answers are right or wrong, and an exact test of signs
    otherwise: both ask whether one of the two is better more often than a coin would say.
    """
    keys = [key for key in a if key in b]
    if not keys:
        raise ValueError("nothing in common")
    differences = [a[key] - b[key] for key in keys]
    count, mean = len(keys), sum(differences) / len(keys)
    better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    p = sign_test(better, worse)
    if count == 1:
        return Pairing(1, mean, None, None, None, (better, worse), p, None)
    stderr = statistics.stdev(differences) / math.sqrt(count)
    shares = all(0 <= side[key] <= 1 for side in (a, b) for key in keys)
    alike = len(set(differences)) == 1
    if alike and not shares:  # of no scale, so of no interval
        return Pairing(count, mean, stderr, None, None, (better, worse), p, None)
    # Where all are alike: Wilson's bound on the share of pairs that are not.
    half = wilson(0.0, count)[1] if alike else Z * stderr
    low, high = mean - half, mean + half
    if shares:
        low, high = max(-1.0, low), min(1.0, high)
    detectable = (Z + _POWER) * (1 / count if alike else stderr)
    return Pairing(count, mean, stderr, low, high, (better, worse), p, detectable)


def sign_test(better: int, worse: int) -> float:
    """The two-sided probability of a split as uneven as this one if both are alike."""
    count = better + worse
    term = tail = 1  # whole numbers: thousands of pairs are beyond any float
    for k in range(min(better, worse)):
        term = term * (count - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << count))
