"""A worker process: does its jobs in forked children, and kills one that takes too long.

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
from collections.abc import Callable, Sequence
from typing import Any

from moxin_recipes.rewards.pool import DIED, TIMED_OUT, Result

MEMORY = 2 * 2**30  # bytes of address space that a comparison may take
_VERDICTS = {ord("="): "equal", ord("/"): "different"}
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """The kernel kills this process when the one that started it is gone."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def forked(work: Callable[[], None]) -> int:
    """Id of a child that does the work and ends, with exit code 1 if the work raises."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent()
        if os.getppid() == parent:
            work()
            code = 0
    finally:
        os._exit(code)


def ready(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read in time; False too when our own parent is gone."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(0, 0)  # hang-up only: nobody waits for the answer any more
    return descriptor in [number for number, _ in poll.poll(max(0.0, seconds) * 1000)]


def compare(pairs: Sequence[tuple[str, str]], seconds: float) -> list[Result]:
    """`equal` or `different` for each (given, answer), each in at most `seconds`.

    A child takes them in turn, because a fork costs ten times as much as most comparisons. One
    that hangs or dies costs that pair its verdict, and a fresh child takes the rest.
    """
    results: list[Result] = []
    while len(results) < len(pairs):
        results += _compare_in_child(pairs[len(results) :], seconds)
    return results


def _compare_in_child(pairs: Sequence[tuple[str, str]], seconds: float) -> list[Result]:
    """Results up to the first failure."""
    reading, writing = os.pipe()
    pid = forked(lambda: verify_all(pairs, writing))
    os.close(writing)
    results: list[Result] = []
    began = time.monotonic()
    while len(results) < len(pairs):
        late = not ready(reading, began + seconds - time.monotonic())
        verdicts = b"" if late else os.read(reading, 2**16)
        took, began = time.monotonic() - began, time.monotonic()
        results += [Result(_VERDICTS[verdict], took, "") for verdict in verdicts]
        if not verdicts:
            results.append(Result("", took, TIMED_OUT if late else DIED))
            break
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    return results


def verify_all(pairs: Sequence[tuple[str, str]], output: int) -> None:
    """Writes `=` or `/` for each (given, answer)."""
    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for given, answer in pairs:
        # Its own time-outs are off: they need signals that a hostile answer outlasts.
        gold = parse(f"${answer}$", parsing_timeout=None)
        target = parse(f"${given}$", parsing_timeout=None)
        os.write(output, b"=" if verify(gold, target, timeout_seconds=None) else b"/")


def run(steps: Sequence[Any], seconds: float) -> list[Result]:
    """Each program in a sandboxed child of its own, up to the first that fails.

    All together have `seconds`.
    """
    results: list[Result] = []
    for step in steps:
        left = seconds - sum(result.seconds for result in results)
        results.append(_run_in_child(step, left))
        if results[-1].failure:
            break
    return results


def _run_in_child(step: Any, seconds: float) -> Result:
    from moxin_recipes.rewards import sandbox

    began = time.monotonic()
    output = os.memfd_create("output")
    work = sandbox.attempts if step is None else sandbox.run
    pid = forked(lambda: work(step, output, seconds))
    handle = os.pidfd_open(pid)
    late = not ready(handle, seconds)
    os.close(handle)
    os.kill(pid, signal.SIGKILL)  # nothing to a child that has ended
    _, status = os.waitpid(pid, 0)
    os.lseek(output, 0, os.SEEK_SET)
    text = os.read(output, sandbox.OUTPUT).decode(errors="replace")
    os.close(output)
    failure = TIMED_OUT if late else DIED if status else ""
    return Result(text, time.monotonic() - began, failure)


def say(value: dict[str, Any]) -> None:
    """One line to the pool."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _comparing() -> str:
    """Imports what comparisons need; why they cannot be done here, or ""."""
    pair = ("\\frac{1}{2}", "0.5")
    verify_all([pair], os.open(os.devnull, os.O_WRONLY))  # its parsers load at their first use
    return "" if compare([pair], 60)[0].output == "equal" else "math-verify does not work here"


def _running() -> str:
    """Imports what programs may import; why they cannot be confined here, or ""."""
    from moxin_recipes.rewards import sandbox

    sandbox.preload()
    return sandbox.missing(_run_in_child(None, 60.0))


def main(kind: str) -> None:
    """Says why it cannot work, or nothing; then answers one job a line until the input ends."""
    die_with_parent()
    os.environ.clear()
    prepare, work = {"compare": (_comparing, compare), "run": (_running, run)}[kind]
    say({"refused": prepare()})
    gc.collect()
    gc.freeze()
    for line in sys.stdin.buffer:
        job = json.loads(line)
        say({"results": work(job["steps"], job["seconds"])})


if __name__ == "__main__":
    main(sys.argv[1])
