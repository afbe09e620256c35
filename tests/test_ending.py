"""A stage's process ends at once, and only after everything that wanted to be told of the end."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading, time
from moxin_recipes import ending
ending.be_ready()

class Slow:
    def __del__(self):  # what the interpreter would take down
        print("taken down")

kept = Slow()
atexit.register(print, "told", end="")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread", end=" "))).start()
{end}
"""


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("ending.with_code(0)", 0, "thread told"),
        ("ending.with_code(1); sys.exit('error: x')", 1, "thread told"),
        ("raise ValueError('x')", 1, "thread toldtaken down\n"),
        ("sys.exit(3)", 3, "thread toldtaken down\n"),
    ],
)
def test_an_end_tells_everybody_and_takes_nothing_down(end: str, code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(end=end)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, said)
    assert ("error: x" in done.stderr) == ("error" in end)
    assert ("ValueError: x" in done.stderr) == ("raise" in end)
