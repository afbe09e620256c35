"""The rewards `math` and `format`: the boxed answer after `</think>`.

`math` follows DeepScaleR: 1 if the boxed answer after `</think>` equals the reference by
math-verify, else 0; without `</think>` there is no reward. Symbolic comparison can hang or eat
memory on hostile input, so it runs in processes that are killed when one answer takes too long.
"""

import re
import time
from collections.abc import Sequence
from functools import cache

from moxin_recipes.rewards.pool import Job, Pool
from moxin_recipes.rewards.score import Score

SECONDS_AN_ANSWER = 5.0
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}$")
# A sum or a product of numbers: where a number is asked for, the question is not its answer.
_SUM = re.compile(r"\d\s*(?:[-+*×·]|\\times|\\cdot)\s*\d")
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
        reason = reason or _plainly(str(given), answer)
        if reason:
            scores[place] = Score(float(reason == "equal"), time.perf_counter() - began, reason)
        else:
            pairs[place] = (str(given), answer)
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
    """The verdict where it needs no algebra: `equal`, `not equal`, `not worked out`; else ""."""
    if given == answer:
        return "equal"
    if _INTEGER.match(given) and _INTEGER.match(answer):
        return "equal" if int(given) == int(answer) else "different"
    if _INTEGER.match(answer) and _SUM.search(given):
        return "not worked out"
    return ""


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
