"""A worker process does its jobs in forked children, and kills a child that takes too long.

    python -m moxin_recipes.rewards.worker compare|run|try

`compare` says whether two answers are equal (`maths`). `run` runs an unknown program in the
sandbox. `try` runs one there that answers calls, and its tests in a sandbox of their own. The
worker imports once what its children need. A child starts in milliseconds, sees no state of other
children, and can do nothing that outlives it.
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
_VERDICTS = {ord("="): "equal", ord("/"): "different", ord("?"): "not understood"}
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Makes the kernel kill this process when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def forked(work: Callable[[], None]) -> int:
    """Starts a child that does the work and ends; returns its process id.

    Its exit code is 1 if the work raises.
    """
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
    """Returns whether there is something to read in time; False also if our parent is gone."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(0, 0)  # hang-up only: then nobody waits for the answer
    return descriptor in [number for number, _ in poll.poll(max(0.0, seconds) * 1000)]


def compare(pairs: Sequence[tuple[str | None, str]], seconds: float) -> list[Result]:
    """Returns a verdict of `_VERDICTS` on each (candidate, answer), each in at most `seconds`.

    One child compares many pairs, because a fork costs ten times as much as most comparisons. If it
    hangs or dies, this pair has no verdict, and a new child compares the pairs after it.
    """
    results: list[Result] = []
    while len(results) < len(pairs):
        results += _compare_in_child(pairs[len(results) :], seconds)
    return results


def _compare_in_child(pairs: Sequence[tuple[str | None, str]], seconds: float) -> list[Result]:
    """Returns the results up to the first failure."""
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


def verify_all(pairs: Sequence[tuple[str | None, str]], output: int) -> None:
    """Writes `=`, `/` or `?` for each (candidate, answer); None asks if the answer can be read."""
    from moxin_recipes.rewards.maths import equality

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for candidate, answer in pairs:
        try:
            whole = candidate is None and equality.understood(answer)
            right = whole or (candidate is not None and equality.equal(candidate, answer))
            verdict = b"=" if right else b"/"
        except Exception:  # whatever a parser or an algebra system makes of a broken answer
            verdict = b"?"
        os.write(output, verdict)


def run(steps: Sequence[Any], seconds: float) -> list[Result]:
    """Runs each program in its own sandboxed child, up to the first that fails.

    `seconds` limits all of them together.
    """
    from moxin_recipes.rewards import sandbox

    results: list[Result] = []
    for step in steps:
        left = seconds - sum(result.seconds for result in results)
        results.append(in_child(sandbox.run, step, left))
        if results[-1].failure:
            break
    return results


def in_child(work: Callable[[Any, int, float], None], step: Any, seconds: float) -> Result:
    """Returns what `work(step, output, seconds)` writes to the descriptor `output` in a child."""
    from moxin_recipes.rewards import sandbox

    began = time.monotonic()
    output = os.memfd_create("output")
    pid = forked(lambda: work(step, output, seconds))
    handle = os.pidfd_open(pid)
    late = not ready(handle, seconds)
    os.close(handle)
    os.kill(pid, signal.SIGKILL)  # has no effect on a child that has ended
    _, status = os.waitpid(pid, 0)
    os.lseek(output, 0, os.SEEK_SET)
    text = os.read(output, sandbox.OUTPUT).decode(errors="replace")
    os.close(output)
    failure = TIMED_OUT if late else DIED if status else ""
    return Result(text, time.monotonic() - began, failure)


def try_next() -> bool:
    """Does the next job of kind `try`; returns whether there was one.

    This process never reads a job, and starts the program's child before another child reads it.
    So no test has ever been in the memory of the program's process, not even another program's.
    """
    from moxin_recipes.rewards import trial

    requests, answers = os.pipe(), os.pipe()
    program = forked(lambda: trial.serve(requests[0], answers[1]))
    os.close(requests[0])
    os.close(answers[1])
    reader = forked(lambda: _try_in_child(requests[1], answers[0]))
    os.close(requests[1])
    os.close(answers[0])
    _, status = os.waitpid(reader, 0)
    os.kill(program, signal.SIGKILL)
    os.waitpid(program, 0)
    return status == 0


def _try_in_child(requests: int, answers: int) -> None:
    """Reads a job of one step, runs its tests in another child, and says the result."""
    from moxin_recipes.rewards import trial

    def work(step: Any, output: int, seconds: float) -> None:
        trial.check(step, output, seconds, requests, answers)

    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 2**20)
        if not part:
            raise EOFError
        line += part
    job = json.loads(line)
    say({"results": [in_child(work, job["steps"][0], job["seconds"])]})


def say(value: dict[str, Any]) -> None:
    """Writes one line to the pool."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _comparing() -> str:
    """Imports what comparisons need; returns why they cannot work here, or ""."""
    pair = ("\\frac{1}{2}", "0.5")
    verify_all([pair], os.open(os.devnull, os.O_WRONLY))  # its parsers load at their first use
    return "" if compare([pair], 60)[0].output == "equal" else "answers cannot be compared here"


def _running() -> str:
    """Imports what programs may import; returns why they cannot be confined here, or ""."""
    from moxin_recipes.rewards import sandbox

    sandbox.preload()
    return sandbox.missing(in_child(sandbox.attempts, None, 60.0))


def _trying() -> str:
    """Does the same for programs and their tests."""
    for library in ("OPENBLAS", "OMP", "MKL"):  # a child of a process with threads may hang
        os.environ[f"{library}_NUM_THREADS"] = "1"
    from moxin_recipes.rewards import sandbox, trial

    trial.preload()
    return sandbox.missing(in_child(sandbox.attempts, None, 60.0))


def main(kind: str) -> None:
    """Writes why it cannot work, or ""; then answers one job a line until the input ends."""
    die_with_parent()
    os.environ.clear()
    prepare = {"compare": _comparing, "run": _running, "try": _trying}[kind]
    say({"refused": prepare()})
    gc.collect()
    gc.freeze()
    if kind == "try":
        while try_next():
            pass
        return
    work = {"compare": compare, "run": run}[kind]
    for line in sys.stdin.buffer:
        job = json.loads(line)
        say({"results": work(job["steps"], job["seconds"])})


if __name__ == "__main__":
    main(sys.argv[1])
