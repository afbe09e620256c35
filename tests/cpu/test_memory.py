"""Freed memory is used again, where a launch is for a CPU."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from moxin_recipes.cpu import memory


@pytest.mark.parametrize("on_cpu", ["true", "false"])
def test_a_cpu_launch_uses_freed_memory_again(on_cpu: str) -> None:
    code = """
import resource
from moxin_recipes.cpu.memory import keep_freed_memory
keep_freed_memory()
def pages_taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * 2**28
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = pages_taken()
print(first, pages_taken())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ACCELERATE_USE_CPU": on_cpu},
        capture_output=True,
        text=True,
        check=True,
    )
    first, again = map(int, done.stdout.split())
    assert (again < first / 4) == (on_cpu == "true")


@pytest.mark.parametrize(("most", "taken"), [(2**31, 2), (2**25, 3), (2**20, 2)])
def test_a_glibc_with_a_lower_limit_keeps_less_or_is_left_alone(
    most: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the first parameter, the second would make it worse than it is by itself."""
    asked: list[int] = []

    def mallopt(parameter: int, value: int) -> int:
        asked.append(parameter)
        return int(parameter == -1 or value <= most)

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    memory.keep_freed_memory()
    assert len(asked) == taken
    assert (asked[-1] == -1) == (most >= 2**25)
