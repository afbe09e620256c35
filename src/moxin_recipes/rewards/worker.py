"""A worker process: forks a child for each step of a job, and kills it at the job's limit.

    python -m moxin_recipes.rewards.worker compare|run

`compare` tells by math-verify whether two answers are equal; `run` runs a program that nobody has
read, in the sandbox. The parent imports what the children need once; a child starts in
milliseconds, sees no other child's state, and can do nothing that outlives it.
"""

import ctypes
import gc
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any, Protocol

from moxin_recipes.rewards.pool import DIED, TIMED_OUT

MEMORY = 2 * 2**30  # bytes of address space that a comparison may take
OUTPUT = 2**20  # bytes that a step may put out
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Work(Protocol):
    """What a child does with a step; what it writes to the descriptor is its output."""

    def __call__(self, step: Any, output: int, seconds: float) -> None: ...


def die_with_parent() -> None:
    """The kernel kills this process when the one that started it is gone."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def in_child(work: Work, step: Any, seconds: float) -> tuple[str, str]:
    """(output, failure) of one step in a forked process; "" as failure if it ended well."""
    output = os.memfd_create("output")
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            die_with_parent()
            if os.getppid() == parent:
                work(step, output, seconds)
                code = 0
        finally:
            os._exit(code)
    failure = _wait(pid, seconds)
    os.lseek(output, 0, os.SEEK_SET)
    text = os.read(output, OUTPUT).decode(errors="replace")
    os.close(output)
    return text, failure


def _wait(pid: int, seconds: float) -> str:
    """Waits for a child, kills it at its limit or when our own parent is gone; why it failed."""
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(0, 0)  # hang-up only: nobody waits for the answer any more
    over = [number for number, _ in poll.poll(max(0.0, seconds) * 1000)]
    os.close(handle)
    if handle not in over:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if handle not in over:
        return TIMED_OUT
    return "" if status == 0 else DIED


def compare(step: Any, output: int, seconds: float) -> None:  # noqa: ARG001 (a step's shape)
    """Writes `equal` or `different` for each pair (given, answer), a line each."""
    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for given, answer in step:
        # Its own time-outs are off: they need signals that a hostile answer outlasts.
        gold = parse(f"${answer}$", parsing_timeout=None)
        target = parse(f"${given}$", parsing_timeout=None)
        equal = verify(gold, target, timeout_seconds=None)
        os.write(output, b"equal\n" if equal else b"different\n")


def serve(work: Work) -> None:
    """Answers one job a line until the input ends."""
    for line in sys.stdin.buffer:
        job = json.loads(line)
        began = time.monotonic()
        outputs: list[str] = []
        failure = ""
        for step in job["steps"]:
            text, failure = in_child(work, step, began + job["seconds"] - time.monotonic())
            if failure:
                break
            outputs.append(text)
        seconds = time.monotonic() - began
        say({"outputs": outputs, "seconds": seconds, "failure": failure})


def say(value: dict[str, Any]) -> None:
    """One line to the pool."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _prepared(kind: str) -> tuple[Work, str]:
    """The work of a kind with all its imports done, and why it cannot be had ("" if it can)."""
    if kind == "compare":
        sink = os.open(os.devnull, os.O_WRONLY)
        compare([["\\frac{1}{2}", "0.5"]], sink, 60)  # its parsers load at their first use
        text, _ = in_child(compare, [["\\frac{1}{2}", "0.5"]], 60)
        return compare, "" if text == "equal\n" else "math-verify does not work here"
    from moxin_recipes.rewards import sandbox

    sandbox.preload()
    return sandbox.run, sandbox.missing(in_child)


def main(kind: str) -> None:
    """Says whether it is ready, then serves."""
    die_with_parent()
    os.environ.clear()
    work, refused = _prepared(kind)
    gc.collect()
    gc.freeze()
    say({"refused": refused})
    serve(work)


if __name__ == "__main__":
    main(sys.argv[1])
