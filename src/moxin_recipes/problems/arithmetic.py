"""Generates seeded arithmetic problems and their worked solutions.

A problem is a signed sum. One-step questions add to, or subtract from, a number of two digits.
Chains add and subtract single digits, and their running total stays within 0 … ``MAX_TOTAL``. The
two ranges do not overlap, so no line of a worked chain gives away a one-step question.

A hash of its sorted terms decides the split of a problem. So no wording, no order of the terms and
no seed can bring an evaluation item into a training set.
"""

import hashlib
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

Split = Literal["train", "rl", "test"]
Style = Literal["full", "short"]
Draw = Callable[[int, random.Random], "Problem"]  # steps → a problem of any split

TEST_PERCENT = 30  # of all expressions: 400 one-step problems and thousands of chains
RL_PERCENT = 10  # of all expressions
MAX_TOTAL = 20  # the largest running total: a model of 1M parameters can learn these few sums
ONE_STEP_FIRST = (MAX_TOTAL + 1, 99)
ONE_STEP_SECOND = (1, 9)
LONGEST = 8  # operations of the longest chain

_WORDINGS = ("What is {}?", "Compute {}.", "How much is {}?", "Work out {}.")


@dataclass(frozen=True)
class Problem:
    """A signed sum of numbers or products (7+5-3, 3*8-5), and the question that asks for it."""

    expression: str
    question: str

    @property
    def terms(self) -> list[str]:
        """The terms with their signs: 7, +5, -3."""
        return re.findall(r"[+-]?\d+(?:\*\d+)?", self.expression)

    @property
    def values(self) -> list[int]:
        """The number that each term adds: 7, 5, -3."""
        return [_value(term) for term in self.terms]

    @property
    def canonical(self) -> str:
        """The sorted terms: 7+5-3, 5+7-3 and 7-3+5 are one problem, and so are 3*8 and 8*3."""
        terms = []
        for term in self.terms:
            sign = "-" if term.startswith("-") else ""
            terms.append(sign + "*".join(sorted(term.lstrip("+-").split("*"))))
        return " ".join(sorted(terms, key=lambda term: (_value(term), term)))

    @property
    def answer(self) -> str:
        return str(sum(self.values))

    @property
    def steps(self) -> int:
        """The number of operations, which measures the difficulty."""
        return len(re.findall(r"[+*-]", self.expression))


def _value(term: str) -> int:
    return math.prod(int(factor) for factor in term.split("*"))


def equation(problem: Problem, answer: str | None = None) -> str:
    """Returns ``27+5=32``, as a chat answers a sum; a wrong `answer` makes a rejected answer."""
    return f"{problem.expression}={problem.answer if answer is None else answer}"


def bucket_of(text: str) -> Split:
    """Returns the split of a text, which only depends on its hash."""
    percent = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    if percent < TEST_PERCENT:
        return "test"
    return "rl" if percent < TEST_PERCENT + RL_PERCENT else "train"


def split_of(problem: Problem) -> Split:
    """Returns the split of a problem, which only depends on its canonical expression."""
    return bucket_of(problem.canonical)


def _draw_terms(steps: int, rng: random.Random) -> tuple[int, ...]:
    if steps == 1:
        first, second = rng.randint(*ONE_STEP_FIRST), rng.randint(*ONE_STEP_SECOND)
        return (first, second if rng.random() < 0.5 or second > first else -second)
    terms = [rng.randint(1, 9)]
    for _ in range(steps):
        terms.append(rng.choice(rng.choice(_next_terms(sum(terms)))))
    return tuple(terms)


@cache
def _next_terms(total: int) -> list[list[int]]:
    """What may follow a running total: the negative terms, the positive ones; none is empty."""
    fitting = [t for t in range(-9, 10) if t != 0 and 0 <= total + t <= MAX_TOTAL]
    by_sign = [t for t in fitting if t < 0], [t for t in fitting if t > 0]
    return [terms for terms in by_sign if terms]


def draw(steps: int, rng: random.Random) -> Problem:
    """Returns a sum of `steps` operations; its question shows the expression: What is 7+5-3?"""
    first, *others = _draw_terms(steps, rng)
    expression = f"{first}" + "".join(f"{term:+d}" for term in others)
    return Problem(expression, rng.choice(_WORDINGS).format(expression))


def stream(
    split: Split, seed: int, steps: Sequence[int] = (1,), draw: Draw = draw
) -> Iterator[Problem]:
    """Yields endless problems of a split, with repeats; `steps` are drawn evenly."""
    if not steps or not all(1 <= s <= LONGEST for s in steps):
        raise ValueError(f"steps must lie in 1 … {LONGEST}, got {list(steps)}")
    rng = random.Random(f"{split} {seed} {sorted(steps)}")
    while True:
        problem = draw(rng.choice(list(steps)), rng)
        if split_of(problem) == split:
            yield problem


def problems(
    split: Split, seed: int, count: int, steps: Sequence[int] = (1,), draw: Draw = draw
) -> list[Problem]:
    """Returns `count` problems of a split with different expressions.

    Raises ValueError if there are too few.
    """
    by_expression: dict[str, Problem] = {}
    misses = 0
    for problem in stream(split, seed, steps, draw):
        if len(by_expression) == count:
            break
        misses = misses + 1 if problem.expression in by_expression else 0
        if misses > 2_000:
            raise ValueError(
                f"only {len(by_expression)} of {count} {split} problems of {list(steps)} steps"
            )
        by_expression.setdefault(problem.expression, problem)
    return list(by_expression.values())


def running_totals(problem: Problem) -> list[str]:
    """Returns the chain, one operation a line: 7+5-3 gives ``["7+5=12", "12-3=9"]``.

    A product has its own line: 40-3*8 gives ``["3*8=24", "40-24=16"]``.
    """
    lines = []
    total = 0
    for index, (term, value) in enumerate(zip(problem.terms, problem.values, strict=True)):
        if "*" in term:
            lines.append(f"{term.lstrip('+-')}={abs(value)}")
        if index:
            lines.append(f"{total}{value:+d}={total + value}")
        total += value
    return lines


def chain_prefix(problem: Problem) -> str:
    """Returns a prefix that forces the full chain of a completion: ``<think>``, then ``7+5=``."""
    return f"<think>\n{running_totals(problem)[0].partition('=')[0]}="


def worked(problem: Problem, style: Style, rng: random.Random, slip: bool = False) -> str:
    """Returns a worked solution: every running total ("full") or only the equation ("short").

    With `slip`, the last line ends in a wrong number.
    """
    answer = wrong(problem, rng) if slip else problem.answer
    if style == "short":
        return equation(problem, answer)
    lines = running_totals(problem)
    lines[-1] = f"{lines[-1].partition('=')[0]}={answer}"
    return "\n".join(lines)


def wrong(problem: Problem, rng: random.Random) -> str:
    """Returns a plausible wrong answer: off by 1, 2 or 10, or with the sign of one term reversed.

    For a single product, the last of these is the sum of its factors.
    """
    first, *others = problem.values
    answer = first + sum(others)
    if others:
        sign_error = answer - 2 * rng.choice(others)
    else:
        sign_error = sum(int(factor) for factor in problem.expression.split("*"))
    candidates = {answer + d for d in (-10, -2, -1, 1, 2, 10)} | {sign_error}
    return str(rng.choice(sorted(c for c in candidates if c >= 0 and c != answer)))
