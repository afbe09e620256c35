"""Verifiable rewards, scored in a process that can be killed.

`math` follows DeepScaleR: 1 if the boxed answer after `</think>` equals the reference by
math-verify, else 0; without `</think>` there is no reward. Symbolic comparison can hang or eat
memory on hostile input, and its own time-outs need signals on the main thread; so it runs in a
worker process with a memory limit that is killed when one answer takes too long.
"""

import json
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

SECONDS_AN_ANSWER = 5.0
_INTEGER = re.compile(r"[-+]?\d{1,18}$")
# A sum or a product of numbers: where a number is asked for, the question is not its answer.
_SUM = re.compile(r"\d\s*(?:[-+*×·]|\\times|\\cdot)\s*\d")
_LONGEST_ANSWER = 1000  # characters; a boxed answer beyond this is wrong without a look


@dataclass(frozen=True)
class Score:
    """One verdict: reward in [0, 1], seconds it took, and the reason in a word or two."""

    reward: float
    seconds: float
    reason: str


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
    # A `$` would end the formula that the verifier is shown, and begin a second guess.
    return (None, "no single answer") if "$" in answer else (answer, "")


def math(completion: str, answer: str) -> Score:
    """1 if the boxed answer after `</think>` equals `answer`."""
    began = time.perf_counter()
    given, reason = chain_answer(completion)
    if given is None:
        return Score(0.0, time.perf_counter() - began, reason)
    if given == answer:
        return Score(1.0, time.perf_counter() - began, "equal")
    if _INTEGER.match(given) and _INTEGER.match(answer):
        equal, reason = int(given) == int(answer), ""
    elif _INTEGER.match(answer) and _SUM.search(given):
        equal, reason = False, "not worked out"
    else:
        equal, reason = _worker().equal(given, answer)
    reason = reason or ("equal" if equal else "not equal")
    return Score(float(equal), time.perf_counter() - began, reason)


def form(completion: str, answer: str) -> Score:  # noqa: ARG001 (the shape of every reward)
    r"""1 if the completion is `<think>…</think>` followed by a `\boxed{…}`, right or wrong."""
    began = time.perf_counter()
    given, reason = chain_answer(completion)
    opened = completion.lstrip().startswith("<think>")
    well = given is not None and opened
    reason = "well formed" if well else reason or "no <think>"
    return Score(float(well), time.perf_counter() - began, reason)


REWARDS: dict[str, Callable[[str, str], Score]] = {"math": math, "format": form}


def score(name: str, completions: list[str], answers: list[str]) -> list[Score]:
    """Scores by reward name, one for each completion."""
    return [REWARDS[name](c, a) for c, a in zip(completions, answers, strict=True)]


def for_trl(name: str) -> Callable[..., list[float]]:
    """A reward function as TRL calls it; needs the column `answer`, reads conversational turns."""

    def reward(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return [verdict.reward for verdict in score(name, texts, answer)]

    reward.__name__ = name
    return reward


class _Worker:
    """A child process that compares answers, one JSON line each way; restarted after a kill."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def equal(self, given: str, answer: str) -> tuple[bool, str]:
        """(equal, reason); a comparison that takes too long or dies is not equal."""
        process = self._running()
        assert process.stdin is not None  # noqa: S101 (a pipe)
        assert process.stdout is not None  # noqa: S101 (a pipe)
        process.stdin.write(json.dumps([given, answer]).encode() + b"\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ready = selector.select(SECONDS_AN_ANSWER)
        line = process.stdout.readline() if ready else b""
        if line:
            return bool(json.loads(line)), ""
        process.kill()
        process.wait()
        self._process = None
        return False, "verifier died" if ready else "verifier timed out"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moxin_recipes.rewards"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            # Its first line says that math-verify is imported: no part of an answer's time.
            assert self._process.stdout  # noqa: S101 (a pipe)
            self._process.stdout.readline()
        return self._process


@cache
def _worker() -> _Worker:
    return _Worker()


def _serve() -> None:
    """The worker's loop; it ends when its standard input does."""
    import resource

    from math_verify import parse, verify

    limit = 2 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        given, answer = json.loads(line)
        # Its own time-outs are off: the parent kills the process instead.
        gold = parse(f"${answer}$", parsing_timeout=None)
        target = parse(f"${given}$", parsing_timeout=None)
        sys.stdout.write(json.dumps(bool(verify(gold, target, timeout_seconds=None))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
