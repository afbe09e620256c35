"""The reward `code`: programs that pass score, and hostile ones are contained."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moxin_recipes import rewards
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import programs, sandbox
from moxin_recipes.rewards.pool import Result

SUM = json.dumps({"inputs": ["1 2\n", "30 4\n"], "outputs": ["3\n", "34"]})
CALL = json.dumps({"inputs": [[2], [3]], "outputs": [4, 9], "fn_name": "square"})
YES = json.dumps({"inputs": [""], "outputs": ["yes"]})


def answer(program: str) -> str:
    return f"<think>let me see</think>Here:\n```python\n{program}\n```\nDone."


@pytest.mark.parametrize(
    ("program", "tests", "reason"),
    [
        ("a, b = map(int, input().split())\nprint(a + b)", SUM, "passed"),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", SUM, "passed"),
        ("print(sum(map(int, open(0).read().split())), end='  \\n\\n')", SUM, "passed"),
        ("print(3)", SUM, "wrong output"),
        ("print(3)\nimport sys\nsys.exit(1)", SUM, "died"),
        ("def square(n):\n    print('noise')\n    return n * n", CALL, "passed"),
        ("class Solution:\n    def square(self, n):\n        return n * n", CALL, "passed"),
        ("def square(n):\n    return 4", CALL, "wrong output"),
        ("def cube(n):\n    return n ** 3", CALL, "died"),
        ("import os, json\nos.write(3, b'[4, 9]')\nos._exit(0)", CALL, "passed"),  # it is right
        ("import os\nos._exit(0)", CALL, "wrong output"),
        ("import heapq, re, decimal, datetime\nprint('yes')", YES, "passed"),
        ("import sqlite3\nprint('yes')", YES, "died"),  # not among what can be imported
        ("this is no Python", YES, "died"),
    ],
)
def test_programs(program: str, tests: str, reason: str) -> None:
    (score,) = rewards.score("code", [answer(program)], [tests])
    assert (score.reason, score.reward) == (reason, float(reason == "passed"))


PRINT = "print('yes')"


@pytest.mark.parametrize(
    "text",
    [
        f"```\n{PRINT}\n```",
        f"```py\n{PRINT}\n```",
        f"```Python\n{PRINT}\n```",
        f"```PYTHON3 title=x\n{PRINT}\n```",
        f"```py3\n{PRINT}\n```",
        f"```{{python}}\n{PRINT}\n```",
        f"``` python\n{PRINT}\n```",
        f"````python\n{PRINT} # ```\n````",
        f"~~~\n{PRINT}\n~~~",
        f"~~~python\n{PRINT}\n~~~",
        f"1. Here:\n\n   ```python\n   if True:\n       {PRINT}\n   ```",
        f"Here: ```python\n{PRINT}```",
        f"```bash\npip list\n```\nThen:\n```python\n{PRINT}\n```",
        f"```python\n{PRINT}\n```\nIt prints:\n```text\nyes\n```",
    ],
)
def test_a_program_may_be_fenced_in_several_ways(text: str) -> None:
    program, _ = programs.fenced_program(f"<think>x</think>{text}\nDone.")
    assert program is not None
    assert "yes" in program
    compile(program, "program.py", "exec")


@pytest.mark.parametrize("text", ["```bash\nls\n```", "```python\nprint(1)", "``x``", "~~~c\n~~~"])
def test_what_is_fenced_in_no_such_way(text: str) -> None:
    found = programs.fenced_program(f"<think>x</think>{text}")
    assert found == (None, "no program after </think>")


SQUARE, TWICE = "def square(n):\n    return n * n", "print(2 * sum(map(int, open(0))))"


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        ({"inputs": [[2], [3]], "outputs": [[4], [9]], "fn_name": "square"}, SQUARE),
        ({"inputs": [[2]], "outputs": [4], "fn_name": "Solution.square"}, SQUARE),
        ({"inputs": [[2]], "outputs": [[4]], "fn_name": "f"}, "def f(n):\n    return [n * n]"),
        ({"inputs": [["3", "4"]], "outputs": [["14"]]}, TWICE),
        ({"inputs": [[3, 4], "5"], "outputs": ["14\n", 10]}, TWICE),
        ({"inputs": ["3\n4"], "outputs": ["14"], "fn_name": None}, TWICE),
        ({"inputs": ["3"], "outputs": ["6"], "fn_name": ""}, TWICE),
    ],
)
def test_tests_may_be_written_in_several_ways(tests: dict[str, Any], program: str) -> None:
    (score,) = rewards.score("code", [answer(program)], [json.dumps(tests)])
    assert (score.reason, score.reward) == ("passed", 1.0)
    wrong = "def square(n):\n    return [n]\nf = square\nprint(5)"
    (score,) = rewards.score("code", [answer(wrong)], [json.dumps(tests)])
    assert score.reward == 0


CALLED = "; with `fn_name`, each input is a list of arguments, as [[2]]"
READ = "; without `fn_name`, each is a text or a list of lines"
LENGTHS = " with two lists of one length"


@pytest.mark.parametrize(
    ("tests", "line"),
    [
        ({"inputs": [2], "outputs": [4], "fn_name": "f"}, CALLED),
        ({"inputs": ["[2]"], "outputs": [4], "fn_name": "f"}, CALLED),
        ({"inputs": [[2], {"n": 2}], "outputs": [4, 4], "fn_name": "f"}, CALLED),
        ({"inputs": [["a", ["b"]]], "outputs": ["x"]}, READ),
        ({"inputs": ["a"], "outputs": [{"x": 1}]}, READ),
        ({"inputs": [None], "outputs": ["x"]}, READ),
        ({"inputs": [[1]], "outputs": [1], "fn_name": "f(n)"}, "name of a function, not f(n)"),
        ({"inputs": [[1]], "outputs": [1], "fn_name": ["f"]}, "name of a function, not ['f']"),
        ({"inputs": [], "outputs": []}, LENGTHS),
        ({"inputs": ["1"], "outputs": ["2", "3"]}, f"{LENGTHS}, not 1 and 2"),
        ({"inputs": "1", "outputs": "2"}, LENGTHS),
        (["1", "2"], LENGTHS),
        ("4", LENGTHS),
    ],
)
def test_tests_that_no_program_could_pass_are_one_line(tests: Any, line: str) -> None:
    with pytest.raises(RecipeError) as refused:
        programs.tests_of(json.dumps(tests))
    assert str(refused.value).startswith("the `answer` of a program must be its tests, {")
    assert line in str(refused.value)


def test_what_is_no_program() -> None:
    texts = ["print('yes')", "<think>```python\nprint('yes')\n```</think>no", "</think>```\n"]
    scores = rewards.score("code", texts, [YES] * 3)
    assert [score.reward for score in scores] == [0, 0, 0]
    with pytest.raises(RecipeError, match="must be its tests"):
        rewards.score("code", ["</think>"], ['{"inputs": [1], "outputs": []}'])


def test_hostile_programs_are_contained_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "SECONDS_A_PROGRAM", 2.0)
    secret = tmp_path / "secret"
    secret.write_text("yes")
    monkeypatch.setenv("SECRET", "yes")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    hostile = {
        "forks": "import os\nwhile True:\n    os.fork()",
        "catches what refuses its forks": (
            "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
        ),
        "starts threads": "import threading\nthreading.Thread(target=print, args=('yes',)).start()",
        "starts a shell": "import os\nos.execv('/bin/echo', ['echo', 'yes'])",
        "reads a file": f"print(open({str(secret)!r}).read())",
        "reads a variable": "import os\nprint(os.environ['SECRET'])",
        "reads its parent's variables": (
            "import os\nprint('yes' * (b'SECRET' in open('/proc/1/environ', 'rb').read()))"
        ),
        "connects": f"import socket\nsocket.create_connection(('127.0.0.1', {port}))\nprint('yes')",
        "fills memory": "x = []\nwhile True:\n    x.append(bytearray(2**20))",
        "fills its output": "while True:\n    print('x' * 2**16)",
        "writes outside": f"open({str(tmp_path / 'out')!r}, 'w').write('x')\nprint('yes')",
        "deletes": f"import os\nos.remove({str(secret)!r})\nprint('yes')",
        "kills": f"import os\nos.kill({os.getpid()}, 9)\nprint('yes')",
        "kills its worker": "import os\nos.kill(os.getppid(), 9)\nprint('yes')",
        "loops": "while True: pass",
        "sleeps": "import time\ntime.sleep(3600)",
        "recurses": "import sys\nsys.setrecursionlimit(10**9)\nf = lambda: f()\nf()",
        "answers for the worker": "import os\nos.write(1, b'{\"results\": []}')",
        "deep in the parser": "(" * 50_000,
    }
    honest = answer("print('yes')")
    completions = [text for program in hostile.values() for text in (answer(program), honest)]
    scores = rewards.score("code", completions, [YES] * len(completions))
    for name, bad, good in zip(hostile, scores[::2], scores[1::2], strict=True):
        assert bad.reward == 0, (name, bad)
        assert good.reward == 1, (name, good)
    reasons = dict(zip(hostile, [score.reason for score in scores[::2]], strict=True))
    assert reasons["loops"] == reasons["sleeps"] == rewards.TIMED_OUT
    assert secret.read_text() == "yes"
    assert not (tmp_path / "out").exists()
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_nothing_runs_where_the_sandbox_does_not_hold() -> None:
    assert sandbox.missing(Result("[]", 0.1, "")) == ""
    assert "it takes Linux with seccomp" in sandbox.missing(Result("", 0.1, "died"))
    assert "it allows the network" in sandbox.missing(Result('["the network"]', 0.1, ""))


def test_the_attempts_do_succeed_where_nothing_confines(tmp_path: Path) -> None:
    """Or else they would prove nothing: the same ones, in a child without the filter."""
    code = (
        "import os, sys, json\n"
        "from moxin_recipes.rewards import sandbox\n"
        "sandbox.confine = lambda seconds: None\n"
        "sandbox.MEMORY = 2**20\n"
        "sandbox.socket.socket().close()\n"
        "os.execv = lambda *_: None\n"
        "sandbox.attempts(None, 1, 1.0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert "the network" in done.stdout
    assert "new processes" in done.stdout
    assert "reading files" in done.stdout
