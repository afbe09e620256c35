"""The rewards `math` and `format`, which read the boxed answer after `</think>`.

`math` follows DeepScaleR. It is 1 if math-verify finds the boxed answer equal to the reference, and
0 otherwise; without `</think>` it is 0. (DeepScaleR also requires `<think>`, and reads what follows
the first `</think>`; here it is what follows the last one.) On hostile input, symbolic comparison
can hang or use all memory. So it runs in processes that are killed when an answer takes too long.
"""

import re
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import cache

from moxin_recipes.rewards.pool import Job, Pool
from moxin_recipes.rewards.score import Score

SECONDS_AN_ANSWER = 5.0
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}$")
# A decimal, also in scientific notation: `1.6e-19`, `1.6 \\times 10^{-19}`.
_DECIMAL = re.compile(
    r"\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*"
    r"(?:(?:[eE]|\\(?:times|cdot)\s*10\s*\^)\s*\{?\s*([-+]?[0-9]{1,3})\s*\}?)?\s*"
)
_SAME = Decimal("1e-6")  # relative difference of decimals that are not whole
_DOLLAR = re.compile(r"(?<!\\)\\\$")  # the sign of a price
_UNIT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}\s*(?:\^\s*\{?[0-9]\}?)?")
_BREAK = re.compile(r"\\\\(?!\s*$|[a-zA-Z])")  # a line break before another formula
_COMMAND = re.compile(r"\\(?:[dt]?frac|sqrt|left|right|times|cdot|div)")
# A whole number may be written as a fraction, a power or a root. Anything else between two numbers
# makes a sum, a product or a second guess: a question or a list is no answer.
_NUMBERS = re.compile(r"[0-9]+")
_JOINT = re.compile(
    r"[.,]|\{,\}|,?\\[,!]|[})]*\s*[/^_]\s*[{(]*\s*-?|\}+|\}+\s*\{+\s*-?|\]\s*\{"
    r"|\}*\s*\\(?:[dt]?frac|sqrt)\s*[\[{]*\s*-?"
)
_OPERATION = re.compile(r"\\(?:sum|prod|int|lim|max|min|gcd|lcm|[dt]?binom)(?![a-z])")
_TOGETHER = 64  # comparisons that one worker gets at a time, at most
_Pair = tuple[str, str]  # the candidate and the right answer
_LONGEST_ANSWER = 1000  # characters; a longer boxed answer is wrong without a comparison


@cache
def pool() -> Pool:
    """Returns the verifying workers of this process."""
    return Pool("compare")


def boxed(text: str) -> str | None:
    r"""Returns the content of the last `\boxed{…}` whose braces close, or None."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for position in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : position].strip()
    return None


def chain_answer(completion: str) -> tuple[str | None, str]:
    """Returns the answer of a `<think>…</think>` completion, or None with the reason."""
    _, closed, after = completion.rpartition("</think>")
    if not closed:
        return None, "no </think>"
    answer = boxed(after)
    return (None, "no \\boxed after </think>") if answer is None else comparable(answer)


def comparable(answer: str) -> tuple[str | None, str]:
    """Returns an answer without signs of prices, or None with the reason it cannot be right."""
    answer = _DOLLAR.sub("", answer)
    if len(answer) > _LONGEST_ANSWER:
        return None, "answer too long"
    # A `$` would end the formula that the verifier reads, and begin a second guess. Digits of other
    # scripts only look like an answer.
    if "$" in answer or any(sign.isdecimal() and not sign.isascii() for sign in answer):
        return None, "no single answer"
    return answer, ""


def math(completions: Sequence[str], answers: Sequence[str]) -> list[Score]:
    """Scores 1 for each completion whose boxed answer after `</think>` equals its answer."""
    return equal([chain_answer(completion) for completion in completions], answers)


def equal(candidates: Sequence[tuple[str | None, str]], answers: Sequence[str]) -> list[Score]:
    """Scores 1 for each candidate that equals its answer; candidates are `comparable`'s."""
    scores: dict[int, Score] = {}
    pairs: dict[int, _Pair] = {}
    for index, ((candidate, reason), answer) in enumerate(zip(candidates, answers, strict=True)):
        start_time = time.perf_counter()
        pair = str(candidate), _DOLLAR.sub("", answer)
        reason = reason or _plainly(*pair)
        if reason:
            scores[index] = Score(
                float(reason == "equal"), time.perf_counter() - start_time, reason
            )
        else:
            pairs[index] = pair
    scores |= zip(pairs, _compared(list(pairs.values())), strict=True)
    return [scores[index] for index in range(len(candidates))]


def _compared(pairs: list[_Pair]) -> list[Score]:
    """Returns math-verify's verdicts on pairs (candidate, answer)."""
    # Chunks are large enough that forks cost little, and small enough that no worker is idle long.
    size = max(1, min(_TOGETHER, len(pairs) // (8 * pool().size)))
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    job_results = pool().run([Job(chunk, SECONDS_AN_ANSWER) for chunk in chunks])
    return [
        Score(float(result.output == "equal"), result.seconds, result.failure or result.output)
        for results in job_results
        for result in results
    ]


def _plainly(candidate: str, answer: str) -> str:
    """Returns a verdict that needs no algebra: `equal`, or why not; otherwise ""."""
    if candidate == answer:
        return "equal"
    if _INTEGER.match(candidate) and _INTEGER.match(answer):
        return "equal" if int(candidate) == int(answer) else "different"
    candidate = _UNIT.sub(" ", candidate)
    numbers = [side for side in candidate.split("=") if _is_number(side)]
    if ("=" not in answer and len(numbers) > 1) or (
        "\\\\" not in answer and _BREAK.search(candidate)
    ):
        return "no single answer"
    found, right = _decimal(numbers[0] if numbers else candidate), _decimal(answer)
    if found is not None and right is not None:
        return _near(found, right)
    if not _INTEGER.match(answer):
        return ""
    joints = _NUMBERS.split(numbers[0] if numbers else candidate)[1:-1]
    worked_out = not _OPERATION.search(candidate) and all(map(_JOINT.fullmatch, joints))
    return "" if worked_out else "not worked out"


def _decimal(text: str) -> Decimal | None:
    """Returns the number that a text is, or None if it is more than digits and a power of ten."""
    parts = _DECIMAL.fullmatch(text)
    return Decimal(f"{parts[1]}e{parts[2] or 0}") if parts else None


def _near(candidate: Decimal, answer: Decimal) -> str:
    """Returns `equal` or `different`.

    math-verify rounds to six places, so it takes any two small numbers for equal.
    """
    whole = answer == answer.to_integral_value()
    same = abs(candidate - answer) <= (0 if whole else _SAME * abs(answer))
    return "equal" if same else "different"


def _is_number(side: str) -> bool:
    """Returns whether a side of an equation has digits and no letters: `12` in `x = 12`."""
    plain = _COMMAND.sub("", side)
    return any(sign.isdigit() for sign in plain) and not any(sign.isalpha() for sign in plain)


def form(completions: Sequence[str], answers: Sequence[str]) -> list[Score]:  # noqa: ARG001
    r"""Scores 1 for `<think>…</think>` followed by a `\boxed{…}`, right or wrong."""
    scores = []
    for completion in completions:
        start_time = time.perf_counter()
        candidate, reason = chain_answer(completion)
        opened = completion.lstrip().startswith("<think>")
        well_formed = candidate is not None and opened
        reason = "well formed" if well_formed else reason or "no <think>"
        scores.append(Score(float(well_formed), time.perf_counter() - start_time, reason))
    return scores
