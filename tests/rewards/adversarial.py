"""Answers made to hang, swell or fool a verifier, with right ones among them; seeded."""

import random
from collections.abc import Callable
from dataclasses import dataclass

THOUGHT = "<think>so</think>"


@dataclass(frozen=True)
class Attack:
    """A completion, the reference it is compared with, and the reward it must get."""

    kind: str
    completion: str
    answer: str
    reward: float


def _boxed(text: str) -> str:
    return f"{THOUGHT}\\boxed{{{text}}}"


def _right(rng: random.Random) -> Attack:
    a, b = rng.randint(2, 99), rng.randint(2, 9)
    candidate, answer = rng.choice(
        [
            (f"\\frac{{{a * b}}}{{{b}}}", str(a)),
            (f"{a}.0", str(a)),
            (f"\\dfrac{{{a}}}{{8}}", str(a / 8)),
            (f"x^2 + {a}x", f"{a}x + x^2"),
            (f"\\sqrt{{{a * a}}}", str(a)),
            (f"({a}, {b})", f"({a},{b})"),
            (f"2^{{{b}}}", str(2**b)),
        ]
    )
    return Attack("right", _boxed(candidate), answer, 1)


def _nested(rng: random.Random) -> Attack:
    depth = rng.choice([20, 60, 110, 10_000])
    opening, closing = rng.choice(
        [("\\frac{1}{", "}"), ("(", ")"), ("\\sqrt{", "}"), ("x^{", "}"), ("{", "}"), ("|", "|")]
    )
    return Attack("nested", _boxed(opening * depth + "2" + closing * depth), "7", 0)


def _power(rng: random.Random) -> Attack:
    candidate = rng.choice(
        [
            "9^{9^{9^{9^{9}}}}",
            "10^{10^{10}} - 10^{10^{10}} + 3",
            f"{rng.randint(10**7, 10**8)}!",
            "(x+y+z+w)^{200} - x",
            "\\sum_{i=1}^{10^{12}} \\frac{1}{i^2}",
            "\\binom{10^{9}}{10^{8}}",
            "\\prod_{i=1}^{10^{9}} \\frac{i+1}{i}",
            "\\sum_{i=1}^{10^{9}} i!",
        ]
    )
    # No whole number: for one, sums and the like are refused before the verifier sees them.
    return Attack("power", _boxed(candidate), f"{rng.randint(4, 9)}.5", 0)


def _megabyte(rng: random.Random) -> Attack:
    long = rng.choice(["9", "x+", "\\frac{1}{2}", "\\boxed{", "</think>", "{", "é"])
    text = (long * (2**20 // len(long)))[: 2**20]
    if rng.random() < 0.5 and "box" not in long and long not in ("</think>", "{"):
        return Attack("megabyte", f"<think>{text}</think>\\boxed{{6}}", "6", 1)
    return Attack("megabyte", f"{THOUGHT}\\boxed{{{text}}}", "6", 0)


def _unclosed(rng: random.Random) -> Attack:
    candidate = rng.choice(
        [
            "\\boxed{6",
            "\\boxed{\\frac{1}{2",
            "\\boxed{\\left(6}",
            "\\boxed{\\begin{matrix} 6}",
            "\\boxed{\\text{6}",
            "\\boxed 6",
            "\\boxed{}",
            "\\boxed{\\}",
            "boxed{6}",
            "\\boxed{6\\frac}{2}",
        ]
    )
    return Attack("unclosed", THOUGHT + candidate, "61", 0)


def _lookalike(rng: random.Random) -> Attack:
    candidate, answer = rng.choice(
        [
            ("１２", "12"),
            ("१२", "12"),
            ("1\u200b3", "12"),
            ("х", "x"),  # Cyrillic
            ("О", "0"),  # Cyrillic
            ("l2", "12"),
            ("12\u0000", "13"),
            ("\u202e21", "12"),
            ("𝟏𝟐", "12"),
        ]
    )
    return Attack("look-alike", _boxed(candidate), answer, 0)


def _malformed(rng: random.Random) -> Attack:
    candidate = rng.choice(
        ["\\boxed{6}", "<think>\\boxed{6}</think>", "<think>\\boxed{6}", "6", ""]
    )
    return Attack("malformed", candidate, "6", 0)


def _structured(rng: random.Random) -> Attack:
    """Answers of many parts, of which each has to be read."""
    many = rng.randint(40, 90)
    candidate = rng.choice(
        [
            "=".join(["1"] * many),
            "<".join(["x"] * many),
            " \\cup ".join(f"({n},{n}!)" for n in range(many)),
            ",".join(f"\\pm {n}" for n in range(many)),
            "\\{" * many + "1" + "\\}" * many,
            "\\begin{pmatrix}" + "&".join(["9^{9^9}"] * 20) + "\\end{pmatrix}",
            "x^{x^{x^{x^{9}}}} < 10^{10^{10}}",
            "3 \\text{ hours } " * many,
            "\\text{" * many + "6" + "}" * many,
            "(A) " * many,
            "\\ldots," * many,
            "1:" * many + "1",
            "zz_{36}_{36}",
        ]
    )
    return Attack("structured", _boxed(candidate), f"{rng.randint(4, 9)}.5", 0)


_KINDS: list[tuple[Callable[[random.Random], Attack], int]] = [
    (_right, 51),
    (_nested, 5),
    (_power, 6),
    (_megabyte, 10),
    (_unclosed, 12),
    (_lookalike, 10),
    (_malformed, 8),
    (_structured, 6),
]


def attacks(count: int, seed: int = 0) -> list[Attack]:
    """`count` attacks of all kinds, in a seeded order."""
    rng = random.Random(seed)
    makers, weights = [maker for maker, _ in _KINDS], [weight for _, weight in _KINDS]
    return [maker(rng) for maker in rng.choices(makers, weights, k=count)]
