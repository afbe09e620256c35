"""Contenders in rounds, and how their figures are printed: medians, with the least and the most."""

import statistics
from collections.abc import Callable, Mapping, Sequence


def in_rounds(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Calls every contender once a round, every other round in the opposite order.

    A contender returns the seconds that count. So does this, for each in the order of the rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            seconds[name].append(contenders[name]())
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Returns "MEDIAN (LEAST to MOST)"."""
    three = (statistics.median(values), min(values), max(values))
    return "{} ({} to {})".format(*(f"{value:.{digits}f}" for value in three))


def print_times(seconds: Mapping[str, Sequence[float]]) -> None:
    """Prints seconds of each contender, and how many times as fast as the first one it is.

    The ratios are those of the rounds.
    """
    first = next(iter(seconds.values()))
    for name, own in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(first, own, strict=True)]
        print(f"  {name:32} {spread(own):>24} s   × {spread(ratios)}", flush=True)
