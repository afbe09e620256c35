"""Workers: replaced when they die, gone when the process that uses them is."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from moxin_recipes.rewards import pool as pools
from moxin_recipes.rewards.pool import DIED, Job, Pool, Unavailable

RIGHT = Job([("\\frac{4}{2}", "2")], 20.0)


def ended(pids: list[int]) -> bool:
    """Whether processes are gone, waiting up to half a minute."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        alive = [pid for pid in pids if psutil.pid_exists(pid)]
        if all(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in alive):
            return True
        time.sleep(0.05)
    return False


def test_a_worker_that_was_killed_is_replaced() -> None:
    pool = Pool("compare", 1)
    assert pool.run([RIGHT])[0][0].output == "equal"
    (pid,) = pool.processes()
    os.kill(pid, signal.SIGKILL)
    assert [results[0].output for results in pool.run([RIGHT] * 3)] == ["equal"] * 3
    assert pool.processes() != [pid]
    left = pool.processes()
    pool.close()
    assert ended(left)
    assert pool.run([]) == []


def test_what_kills_its_worker_twice_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool("compare", 1)
    pool.run([RIGHT])
    original_give = pools._Worker.give

    def killed(worker: pools._Worker, place: int, job: Job) -> None:
        original_give(worker, place, job)
        if job is not RIGHT:
            worker.process.kill()

    monkeypatch.setattr(pools._Worker, "give", killed)
    deadly = Job([("x", "y")], 20.0)
    job_results = pool.run([RIGHT, deadly, RIGHT])
    assert [results[0].output for results in job_results] == ["equal", "", "equal"]
    assert job_results[1][0].failure == DIED
    pool.close()


def test_no_worker_outlives_a_killed_user_even_when_it_is_busy() -> None:
    code = """
from moxin_recipes.rewards import answers, pool
workers = answers.pool()
workers.run([pool.Job([("1", "1")], 5.0)])
print(*workers.processes(), flush=True)
workers.run([pool.Job([("9^{9^{9^{9^{9}}}}", "1")], 3600.0)])
"""
    user = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    workers = [int(word) for word in user.stdout.readline().split()]
    working: list[int] = []
    while not working:  # until the hanging comparison is under way
        assert user.poll() is None
        working = [child.pid for pid in workers for child in psutil.Process(pid).children()]
    user.kill()
    user.wait()
    assert ended(workers + working)


def test_a_worker_that_cannot_do_its_work_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="its worker did not start"):
        Pool("nothing of the kind", 1).run([RIGHT])
