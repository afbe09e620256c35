"""Freed memory is used again, where a launch is for a CPU."""

import os
import subprocess
import sys

import pytest


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
