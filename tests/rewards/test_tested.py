"""Programs by their documents' tests: right ones pass in every form, and none can fake a pass."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from moxin_recipes import rewards
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import tested
from moxin_recipes.rewards.plain import pack, unpack
from moxin_recipes.rewards.score import Score

PROMPT = '''from typing import List
import math


def twice(x: float) -> float:
    """Twice x."""
    return 2 * x


def scaled(numbers: List[float]) -> List[float]:
    """Each number times four, by `twice`.
    >>> scaled([1.0])
    [4.0]
    """
'''
RIGHT = "    return [twice(twice(x)) for x in numbers]\n"
# HumanEval's: plain asserts, one of them by a function of the prompt.
HUMAN_EVAL = """

METADATA = {'author': 'x', 'dataset': 'test'}


def check(candidate):
    assert candidate([1.0]) == [4.0], "the first"
    assert candidate([]) == []
    for x in range(3):
        assert candidate([x]) == [twice(twice(x))]
    assert scaled([2.0]) == [8.0]
"""
# HumanEval+'s: inputs and results in lists, compared by numpy where they are floats.
HUMAN_EVAL_PLUS = """
import numpy as np

def assertion(out, exp):
    if isinstance(exp, list) and exp and all(isinstance(x, float) for x in exp) and out != exp:
        assert np.allclose(out, exp, rtol=1e-07, atol=1e-6)
    else:
        assert out == exp

def check(candidate):
    inputs = [[[0.1]], [[1.5, 2.5]]]
    results = [[0.4], [6.0, 10.0]]
    for arguments, result in zip(inputs, results):
        assertion(candidate(*arguments), result)
"""
DOCUMENT = {"prompt": PROMPT, "entry_point": "scaled", "test": HUMAN_EVAL}
PLUS = DOCUMENT | {"test": HUMAN_EVAL_PLUS}


def verdicts(documents: list[Mapping[str, Any]], texts: list[str]) -> list[Score]:
    programs = [
        tested.program_of(text, document["entry_point"])
        for document, text in zip(documents, texts, strict=True)
    ]
    return tested.passes(documents, [program for program in programs if program])


def asking(test: str, name: str = "f") -> dict[str, str]:
    """A document whose tests are these lines of `check`."""
    lines = "".join(f"    {line}\n" for line in test.splitlines())
    prompt = f'def {name}(*arguments):\n    """What the tests want."""\n'
    return {"prompt": prompt, "entry_point": name, "test": f"def check(candidate):\n{lines}"}


def test_right_programs_pass_in_every_form() -> None:
    whole = "def scaled(numbers):\n    return [4 * x for x in numbers]\n"
    by_prompt = "def scaled(numbers: List[float]) -> List[float]:\n" + RIGHT
    texts = [
        RIGHT,
        "\n" + RIGHT + "\n\nif __name__ == '__main__':\n    raise SystemExit\n",
        RIGHT + "```\nThis is it:\n```python\nprint(scaled([1]))\n```",
        PROMPT + RIGHT,
        whole + "```\nIt works.",
        f"Sure!\n```python\n{whole}```\nUse it:\n```python\nprint(scaled([2]))\n```\n",
        f"```\n{by_prompt}```",
        f"First\n```python\ndef scaled(x):\n    return 1\n```\nBetter:\n```py\n{whole}```",
        f"```text\nnumbers\n```\n\n```Python3\nfrom __future__ import annotations\n{whole}\n```",
        f"1. So:\n   ```python\n   {whole.replace(chr(10), chr(10) + '   ')}\n   ```\n",
        f"The body:\n```python\n{RIGHT}```",
        f"Cut at the end:\n```python\n{PROMPT}{RIGHT}",
        "```python\nimport numpy as np\nscaled = lambda x: (4 * np.array(x)).tolist()\n```",
    ]
    for document in (DOCUMENT, PLUS):
        scores = verdicts([document] * len(texts), texts)
        wrong = [pair for pair in zip(texts, scores, strict=True) if pair[1].reason != "passed"]
        assert wrong == []


def test_texts_without_a_program() -> None:
    assert tested.program_of("", "f") is tested.program_of(" \n", "f") is None
    assert tested.program_of("```python\n```", "f") is None
    assert tested.program_of("```bash\nrm -r /\n```", "f") is None


HOSTILE = {
    "does nothing": "    pass\n",
    "returns nothing": "    return None\n",
    "is no Python": "    return (\n",
    "is prose": "I cannot do this.\n",
    "is deep in the parser": "    return " + "(" * 50_000,
    "is too long": "    return 1\n" + "#" * 200_000,
    "exits": "    import os\n    os._exit(0)\n",
    "exits softly": "    import sys\n    sys.exit(0)\n",
    "raises the end": "    raise SystemExit\n",
    "exits at once": "    return 1\nimport os\nos._exit(0)\n",
    "raises the end at once": "    return 1\nraise SystemExit(0)\n",
    "raises what ends loops": "    raise StopIteration\n",
    "raises what tests expect": "    raise AssertionError('passed')\n",
    "prints a mark": "    return 1\nprint('passed')\nprint('ok')\n",
    "is equal to all": (
        "    return E()\nclass E:\n    def __eq__(self, other):\n        return True\n"
    ),
    "is a list equal to all": (
        "    return E([1])\nclass E(list):\n    def __eq__(self, other):\n        return True\n"
        "    __ne__ = lambda self, other: False\n"
    ),
    "is a number equal to all": (
        "    return E(7)\nclass E(int):\n    def __eq__(self, other):\n        return True\n"
    ),
    "is a text equal to all": (
        "    return E('7')\nclass E(str):\n    def __eq__(self, other):\n        return True\n"
    ),
    "claims another class": (
        "    return E()\nclass E:\n    __class__ = list\n    def __eq__(self, other):\n"
        "        return True\n"
    ),
    "patches builtins": (
        "    return 1\nimport builtins\nbuiltins.AssertionError = None\n"
        "builtins.list = builtins.float = builtins.isinstance = lambda *_: True\n"
    ),
    "patches unittest": (
        "    return 1\nimport sys, types\nsys.modules['unittest'] = types.ModuleType('unittest')\n"
        "sys.modules['unittest'].TestCase = object\n"
    ),
    "empties the modules": "    return 1\nimport sys\nsys.modules.clear()\n",
    "patches numpy": "    return 1\nimport numpy\nnumpy.allclose = lambda *_, **__: True\n",
    "defines check": "    return 1\ndef check(candidate):\n    return True\n",
    "defines twice": "    return 1\ndef twice(x):\n    return 0\n",
    "patches its server": (
        "    return 1\nimport __main__, sys\n"
        "from moxin_recipes.rewards import trial\n"
        "trial._conclude = trial.check = trial.pack = lambda *_: 'passed'\n"
        "trial.PASSED = trial.FAILED = 'passed'\n"
    ),
    "concludes by itself": (
        "    return 1\nfrom moxin_recipes.rewards import trial\ntrial._conclude('passed')\n"
    ),
    "writes to all descriptors": (
        "    return 1\nimport os\nfor number in range(256):\n"
        "    for mark in (b'passed', b'passed\\n', b'{\"results\": [[\"passed\", 0, \"\"]]}\\n'):\n"
        "        try:\n            os.write(number, mark)\n        except OSError:\n"
        "            pass\n"
    ),
    "answers ahead": (
        "    return 1\nimport os\nos.write(4, b'{\"returned\": null}\\n' * 9)\nos._exit(0)\n"
    ),
    "answers ahead with garbage": (
        "    return 1\nimport os\n"
        "os.write(4, b'{\"returned\": {\"verdict\": [\"passed\"]}}\\n[]\\n{}\\nnull\\n')\n"
    ),
    "answers without end": "    import os\n    while True:\n        os.write(4, b'[' * 2**16)\n",
    "reads files": (
        "    import os\n    for path in ('test.py', '/proc/self/maps', '/proc/1/environ', '.'):\n"
        "        os.open(path, 0)\n"
    ),
    "forks": "    import os\n    while True:\n        os.fork()\n",
    "starts a thread": (
        "    import threading\n    threading.Thread(target=print).start()\n    return [4 * x]\n"
    ),
    "kills": "    import os, signal\n    os.kill(os.getppid(), signal.SIGKILL)\n    return 1\n",
    "returns a function": "    return lambda: numbers\n",
    "returns a generator": "    return (4 * x for x in numbers)\n",
    "returns itself": "    x = []\n    x.append(x)\n    return x\n",
    "returns a deep list": (
        "    x = []\n    for _ in range(400):\n        x = [x]\n    return x\n"
    ),
    "fills memory": "    x = []\n    while True:\n        x.append(bytearray(2**20))\n",
    "returns too much": "    return 'x' * 2**25\n",
    "recurses": "    return scaled(numbers)\n",
}  # fmt: skip


def test_no_hostile_program_passes_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "SECONDS_A_PROGRAM", 3.0)
    texts = [text for hostile in HOSTILE.values() for text in (hostile, hostile, RIGHT)]
    scores = verdicts([DOCUMENT, PLUS, DOCUMENT] * len(HOSTILE), texts)
    for name, first, second, honest in zip(
        HOSTILE, scores[::3], scores[1::3], scores[2::3], strict=True
    ):
        assert (first.reward, second.reward, honest.reward) == (0, 0, 1), (name, first, second)


def test_hanging_programs_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "SECONDS_A_PROGRAM", 0.5)
    hanging = [
        "    while True: pass\n",
        "    import time\n    time.sleep(3600)\n",
        "    return 1\nwhile True: pass\n",
        "    try:\n        while True: pass\n    finally:\n        scaled(numbers)\n",
    ]
    scores = verdicts([DOCUMENT] * 4, hanging)
    assert [(score.reward, score.reason) for score in scores] == [(0, rewards.TIMED_OUT)] * 4


SEARCH = """
    import gc, sys
    gc.unfreeze()
    known = ''.join(['candidate() ', '== '])  # the text before the right answer, in the tests
    todo, frame = [sys.modules, *gc.get_objects()], sys._getframe()
    while frame := frame.f_back:
        todo.append(frame.f_locals)
    seen = set(map(id, (todo, frame)))
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            text = one.decode('latin-1') if isinstance(one, bytes) else one
            if isinstance(text, str) and known + "'" in text:
                return text.split(known)[1].split("'")[1]
            todo += gc.get_referents(one)
    return len(seen)
"""


def test_a_program_cannot_find_the_tests_in_its_memory() -> None:
    """It looks through all objects and frames, also for tests of jobs before its own."""
    document = asking("assert candidate() == 'the right answer'")
    looks = asking("assert candidate() > 10_000")
    scores = verdicts([document, document, looks, document], [SEARCH] * 4)
    assert [score.reward for score in scores] == [0, 0, 1, 0]
    names: dict[str, Any] = {}
    exec(document["prompt"] + SEARCH, names)  # noqa: S102 (here it does find it)
    assert names["f"]() == "the right answer"


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, -1, 2**63, -(10**50), 0.1, -0.0, 1e-320, float("inf")),
        *("", "é\ud800\0\n", b"\0\xff", 1 + 2j, (), (1, (2,)), [], [[1.0], "a"]),
        *({1, "a"}, set(), frozenset({(1, 2)}), {}, {1: "a", "1": [], (1, 2): {None: {}}}),
        {"tuple": [1], "int": "ff"},
    ],
)
def test_plain_data_arrives_as_it_was(value: Any) -> None:
    arrived = unpack(json.loads(json.dumps(pack(value))))
    assert type(arrived) is type(value)
    assert arrived == value
    assert repr(arrived) == repr(value)


def test_what_is_almost_plain_data_and_what_is_not() -> None:
    class Five(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    huge = -(10**5000)  # more digits than Python writes
    assert unpack(json.loads(json.dumps(pack(huge)))) == huge
    (arrived,) = unpack(json.loads(json.dumps(pack([Five(5)]))))
    assert type(arrived) is int
    assert np.isnan(unpack(json.loads(json.dumps(pack(float("nan"))))))
    assert unpack(pack({"a": np.int64(3), "b": np.bool_(True)})) == {"a": 3, "b": True}
    for value in (object(), len, (x for x in "a"), range(3), np.zeros(2)):
        with pytest.raises(TypeError, match="is no plain data"):
            pack([value])


def test_calls_carry_arguments_results_and_exceptions() -> None:
    echo = "    return arguments[0] if arguments else None\n"
    raising = "    raise ValueError('no')\n"
    values = "[(1, 2), {1: {2}}, b'x', 2**70, 1j, float('inf'), frozenset('a'), None, True, 'é']"
    kept = f"for value in {values}:\n    got = candidate(value)\n"
    kept += "    assert got == value and type(got) is type(value)"
    caught = "try:\n    candidate()\nexcept ValueError as error:\n    assert str(error) == 'no'\n"
    caught += "else:\n    assert False"
    untouched = "x = [2, 1]\nassert candidate(x) == [1, 2]\nassert x == [2, 1]"
    state = "assert [candidate() for _ in range(3)] == [1, 2, 3]"
    counting = "    count.append(1)\n    return len(count)\ncount = []\n"
    named = asking("assert candidate(1, key=2) == 3")
    trials = [
        (asking(kept), echo),
        (asking(caught), raising),
        (asking(untouched), "    arguments[0].sort()\n    return arguments[0]\n"),
        (asking(state), counting),
        (named, "    return\ndef f(one, key):\n    return one + key\n"),
        (asking("import random\nassert candidate(random.random()) < 1"), echo),
    ]
    scores = verdicts([document for document, _ in trials], [text for _, text in trials])
    assert [score.reason for score in scores] == ["passed"] * len(trials)


def test_reasons() -> None:
    texts = {
        "failed": "    return 1\n",
        "raised ValueError": "    raise ValueError\n",
        "raised SystemExit": "    raise SystemExit\n",
        "raised SyntaxError": "    return (\n",
        "raised NameError": "    return unknown\n",
        "raised Own": "    raise Own\nclass Own(Exception): ...\n",
        "ended early": "    import os\n    os._exit(0)\n",
        "no answer": "    import os\n    os.write(4, b'passed\\n')\n    return 1\n",
        "program too long": "    return 1\n" + "#" * 200_000,
    }
    scores = verdicts([asking("assert candidate() == 4")] * len(texts), list(texts.values()))
    assert [score.reason for score in scores] == list(texts)


def test_broadcasting_makes_nothing_close() -> None:
    test = "import numpy as np\nassert np.allclose(candidate(), 3.0)"
    documents = [
        asking(test),
        asking(test),
        asking("import numpy as np\n" + "assert np.allclose(candidate(), [1.0])"),
    ]
    scores = verdicts(documents, ["    return []\n", "    return 3.0 + 1e-9\n", "    return []\n"])
    assert [score.reward for score in scores] == [0, 1, 0]


def test_many_and_large_tests() -> None:
    """As HumanEval+ has them: a thousand calls, and a source of a megabyte."""
    numbers = list(range(100_000, 280_000))
    large = asking(
        f"x = {numbers}\nassert candidate(x) == sum(x)\n"
        "for _ in range(1000):\n    assert candidate([1, 2]) == 3"
    )
    assert len(large["test"]) > 1_000_000
    (score,) = verdicts([large], ["    return sum(arguments[0])\n"])
    assert score.reason == "passed"


def test_verdicts_do_not_depend_on_chance() -> None:
    trials = [
        trial
        for n in range(8)
        for trial in (
            (asking("assert candidate()"), f"    return hash('text {n}') % 2\n"),
            (
                asking("assert candidate()"),
                f"    import random\n    return random.randbytes({n + 1})[-1] % 2\n",
            ),
            (
                asking(f"import random\nassert candidate() != {n} + random.random() // 0.5"),
                f"    return {n}\n",
            ),
        )
    ]
    runs = []
    for _ in range(2):
        tested.pool().close()  # the next run has workers of its own
        scores = verdicts([document for document, _ in trials], [text for _, text in trials])
        runs.append([score.reason for score in scores])
    assert runs[0] == runs[1]
    assert {"passed", "failed"} == set(runs[0])


def test_an_exception_of_the_program_does_not_end_a_loop_of_the_tests() -> None:
    document = asking("assert all(map(lambda x: candidate(x) == x, [1, 2]))")
    scores = verdicts([document] * 2, ["    raise StopIteration\n", "    return arguments[0]\n"])
    assert [score.reward for score in scores] == [0, 1]


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        (
            "import no_such_module\ndef check(candidate):\n    pass\n",
            "f, the tests do not run: Mod",
        ),
        ("def check(candidate):\n    import no_such_module\n", "'no_such_module'"),
        ("def check(candidate):\n    candidate(len)\n", "an argument, builtin_function_or_method"),
        ("def check(candidate):\n    assert (\n", "SyntaxError"),
        ("assert unknown\ndef check(candidate):\n    pass\n", "NameError"),
        ("raise SystemExit\ndef check(candidate):\n    pass\n", "SystemExit"),
    ],
)
def test_tests_that_do_not_run_are_an_error_and_no_verdict(test: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        verdicts([asking("pass") | {"test": test}], ["    return 1\n"])


def test_a_program_cannot_pass_for_broken_tests() -> None:
    texts = [
        "    import no_such_module\n",
        "    raise MemoryError\n",
        "    raise SyntaxError('tests do not run: ')\n",
        "    raise type('tests do not run: ', (Exception,), {})\n",
        "    return 1\nraise type('tests do not run: ', (Exception,), {})\n",
        "    return 1\nimport os\nos.write(4, b'tests do not run: x\\n')\n",
        """    return 1\nimport os\nos.write(4, b'{"raised": {"x": 1, "y": 2}}\\n')\n""",
        """    return 1\nimport os\nos.write(4, b'{"raised": ["ImportError", "x"]}\\n')\n""",
    ]
    scores = verdicts([DOCUMENT] * len(texts), texts)
    assert {score.reward for score in scores} == {0}
