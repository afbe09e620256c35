"""The rewards `math` and `format`: the boxed answer after `</think>`.

`math` follows DeepScaleR: 1 if the boxed answer after `</think>` equals the reference by
math-verify, else 0; without `</think>` there is no reward. (DeepScaleR asks for `<think>` too, and
reads after the first `</think>`; here that is what follows the last.) Symbolic comparison can hang
or eat memory on hostile input, so it runs in processes that are killed when one answer takes too
long.
"""

import re
import time
from collections.abc import Sequence
from functools import cache

from moxin_recipes.rewards.pool import Job, Pool
from moxin_recipes.rewards.score import Score

SECONDS_AN_ANSWER = 5.0
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}$")
_DOLLAR = re.compile(r"(?<!\\)\\\$")  # of a price
_UNIT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}\s*(?:\^\s*\{?[0-9]\}?)?")
_BREAK = re.compile(r"\\\\(?!\s*$|[a-zA-Z])")  # of a line; another formula follows
_COMMAND = re.compile(r"\\(?:[dt]?frac|sqrt|left|right|times|cdot|div)")
# A whole number may be given as a fraction, a power, a root; anything else between two numbers
# makes a sum, a product or a second guess. The question, or a list, is not its answer.
_NUMBERS = re.compile(r"[0-9]+")
_JOINT = re.compile(
    r"[.,]|\{,\}|,?\\[,!]|[})]*\s*[/^_]\s*[{(]*\s*-?|\}+|\}+\s*\{+\s*-?|\]\s*\{"
    r"|\}*\s*\\(?:[dt]?frac|sqrt)\s*[\[{]*\s*-?"
)
_OPERATION = re.compile(r"\\(?:sum|prod|int|lim|max|min|gcd|lcm|[dt]?binom)(?![a-z])")
_TOGETHER = 64  # comparisons, at most, that one worker gets at a time
_Pair = tuple[str, str]  # the answer that was given, and the right one
_LONGEST_ANSWER = 1000  # characters; a boxed answer beyond this is wrong without a look


@cache
def pool() -> Pool:
    """The verifying workers of this process."""
    return Pool("compare")


def boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{…}` whose braces close; None if there is none."""
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
    """The answer of a `<think>…</think>` completion, or None with the reason."""
    _, closed, after = completion.rpartition("</think>")
    if not closed:
        return None, "no </think>"
    answer = boxed(after)
    if answer is None:
        return None, "no \\boxed after </think>"
    answer = _DOLLAR.sub("", answer)
    if len(answer) > _LONGEST_ANSWER:
        return None, "answer too long"
    # A `$` would end the formula that the verifier is shown, and begin a second guess; digits of
    # other scripts only look like an answer.
    if "$" in answer or any(sign.isdecimal() and not sign.isascii() for sign in answer):
        return None, "no single answer"
    return answer, ""


def math(completions: Sequence[str], answers: Sequence[str]) -> list[Score]:
    """1 for each completion whose boxed answer after `</think>` equals its answer."""
    scores: dict[int, Score] = {}
    pairs: dict[int, _Pair] = {}
    for place, (completion, answer) in enumerate(zip(completions, answers, strict=True)):
        began = time.perf_counter()
        given, reason = chain_answer(completion)
        pair = str(given), _DOLLAR.sub("", answer)
        reason = reason or _plainly(*pair)
        if reason:
            scores[place] = Score(float(reason == "equal"), time.perf_counter() - began, reason)
        else:
            pairs[place] = pair
    scores |= zip(pairs, _compared(list(pairs.values())), strict=True)
    return [scores[place] for place in range(len(completions))]


def _compared(pairs: list[_Pair]) -> list[Score]:
    """Verdicts by math-verify on (given, answer)."""
    # Large enough that forks cost little, small enough that no worker waits long for the others.
    size = max(1, min(_TOGETHER, len(pairs) // (8 * pool().size)))
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    done = pool().run([Job(chunk, SECONDS_AN_ANSWER) for chunk in chunks])
    return [
        Score(float(result.output == "equal"), result.seconds, result.failure or result.output)
        for results in done
        for result in results
    ]


def _plainly(given: str, answer: str) -> str:
    """The verdict where it needs no algebra: `equal`, or why not; else ""."""
    if given == answer:
        return "equal"
    if _INTEGER.match(given) and _INTEGER.match(answer):
        return "equal" if int(given) == int(answer) else "different"
    given = _UNIT.sub(" ", given)
    numbers = [side for side in given.split("=") if _is_number(side)]
    if ("=" not in answer and len(numbers) > 1) or ("\\\\" not in answer and _BREAK.search(given)):
        return "no single answer"
    if not _INTEGER.match(answer):
        return ""
    joints = _NUMBERS.split(numbers[0] if numbers else given)[1:-1]
    worked_out = not _OPERATION.search(given) and all(map(_JOINT.fullmatch, joints))
    return "" if worked_out else "not worked out"


def _is_number(side: str) -> bool:
    """Whether a side of an equation names nothing: of `x = 12`, the second."""
    plain = _COMMAND.sub("", side)
    return any(sign.isdigit() for sign in plain) and not any(sign.isalpha() for sign in plain)


def form(completions: Sequence[str], answers: Sequence[str]) -> list[Score]:  # noqa: ARG001
    r"""1 for `<think>…</think>` followed by a `\boxed{…}`, right or wrong."""
    scores = []
    for completion in completions:
        began = time.perf_counter()
        given, reason = chain_answer(completion)
        opened = completion.lstrip().startswith("<think>")
        well = given is not None and opened
        reason = "well formed" if well else reason or "no <think>"
        scores.append(Score(float(well), time.perf_counter() - began, reason))
    return scores
