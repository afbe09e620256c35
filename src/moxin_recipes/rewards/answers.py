"""The rewards `math` and `format`, which read the boxed answer after `</think>`.

`math` follows DeepScaleR. It is 1 if the boxed answer equals the reference, and 0 otherwise;
without `</think>` it is 0. (DeepScaleR also requires `<think>`, and reads what follows the first
`</think>`; here it is what follows the last one.) The package `maths` finds the
answer and compares it; docs/rewards.md says what counts as equal. On hostile input, symbolic
comparison can hang or use all memory. So it runs in processes that are killed when an answer takes
too long.
"""

import re
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import cache

from moxin_recipes.rewards.maths import boxes
from moxin_recipes.rewards.pool import Job, Pool
from moxin_recipes.rewards.score import Score

SECONDS_AN_ANSWER = 5.0
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}$")
_DECIMAL = re.compile(r"[-+]?([0-9]{1,18}\.[0-9]{1,18})$")
_TOGETHER = 64  # comparisons that one worker gets at a time, at most
_Pair = tuple[str | None, str]  # the candidate (None: can it be read?) and the right answer
_LONGEST_ANSWER = 1000  # characters; a longer boxed answer is wrong without a comparison


@cache
def pool() -> Pool:
    """Returns the verifying workers of this process."""
    return Pool("compare")


def chain_answer(completion: str) -> tuple[str | None, str]:
    """Returns the answer of a `<think>…</think>` completion, or None with the reason."""
    _, closed, after = completion.rpartition("</think>")
    if not closed:
        return None, "no </think>"
    answer = boxes.answer(after)
    return (None, "no \\boxed after </think>") if answer is None else comparable(answer)


def comparable(answer: str) -> tuple[str | None, str]:
    """Returns an answer that may be compared, or None with the reason it cannot be right."""
    if not answer.strip():
        return None, "empty answer"
    if len(answer) > _LONGEST_ANSWER:
        return None, "answer too long"
    # Digits of other scripts only look like an answer.
    if any(sign.isdecimal() and not sign.isascii() for sign in answer):
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
        pair = str(candidate), answer
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
    """Returns the verdicts on pairs (candidate, answer)."""
    # Chunks are large enough that forks cost little, and small enough that no worker is idle long.
    size = max(1, min(_TOGETHER, len(pairs) // (8 * pool().size)))
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    job_results = pool().run([Job(chunk, SECONDS_AN_ANSWER) for chunk in chunks])
    return [
        Score(float(result.output == "equal"), result.seconds, result.failure or result.output)
        for results in job_results
        for result in results
    ]


def understood(answers: Sequence[str]) -> list[bool]:
    """Of each right answer, whether it can be read; a completion can only equal one that can."""
    plain = [_INTEGER.match(answer) or _DECIMAL.match(answer) for answer in answers]
    asked = [answer for answer, known in zip(answers, plain, strict=True) if not known]
    read = iter(_compared([(None, answer) for answer in asked]))
    return [bool(known) or next(read).reward == 1 for known in plain]


def _plainly(candidate: str, answer: str) -> str:
    """Returns a verdict that needs no algebra: `equal`, or why not; otherwise ""."""
    if not answer.strip():
        return "no answer to compare with"
    if candidate.strip() == answer.strip():
        return "equal"
    if _INTEGER.match(candidate) and _INTEGER.match(answer):
        return "equal" if int(candidate) == int(answer) else "different"
    numbers = [_INTEGER.match(text) or _DECIMAL.match(text) for text in (candidate, answer)]
    if all(numbers) and Decimal(candidate) == Decimal(answer):
        return "equal"
    return ""


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
