"""`moxin run --on`: real Jobs of a real checkout, by the command that users type."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from huggingface_hub import HfApi
from tests.conftest import ROOT, Workplace, serving
from tests.jobs.jobs_api import JobsHub, jobs_hub
from tests.tiny import tiny_tokenizer
from tests.warm import Process, Warm

from moxin_hub import launcher

SECRET = "s3cret-of-a-teacher"
FIRST = {
    "stage": "init",
    "tokenizer_name_or_path": "tiny-tokenizer",
    "hub_model_id": "tiny-base",
    **dict.fromkeys(
        ("hidden_size", "intermediate_size", "max_position_embeddings", "sliding_window"), 32
    ),
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads", "num_key_value_heads"), 1),
}
SECOND = {
    "stage": "init",
    "method": "average",
    "models": ["tiny-base@first", "tiny-base@first"],
    "hub_model_id": "tiny-mean",
}
# An image: its `pip` has nothing to install, and its `moxin` is the code that was cloned.
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m pip" ] && echo "pip $@" && exit 0
exec {python} "$@"
"""
MOXIN = """#!/bin/sh
PYTHONPATH="$PWD/src" exec {python} -m moxin_recipes.cli "$@"
"""


# Imported before a command is forked: the command itself, and what it loads on its way.
COMMAND = "moxin_recipes.cli"
LOADED = (
    "moxin_recipes.jobs.job",
    "moxin_recipes.recipe.door",
    "trl",
    "accelerate.commands.launch",
)


@dataclass
class Place:
    """A checkout with a ladder of two stages, a remote that has its commit, and Jobs."""

    checkout: Path
    hub: JobsHub
    environment: dict[str, str]
    warm: Warm  # of the checkout's code

    def words(self, *words: str) -> list[str]:
        on = ["--hub", self.hub.endpoint, "--on", "hf-jobs:cpu-basic"]
        return [COMMAND, "run", "recipes/tiny", *on, *words]

    def start(self, *words: str) -> Process:
        return self.warm.begin(self.words(*words), self.environment)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.warm.completed(self.words(*words), self.environment)


def git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    command = ["git", *author, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_checkout(folder: Path) -> Path:
    """The code with a ladder of its own, committed, and its remote's files in `code.git`."""
    top = folder / "checkout"
    for name in ("src", "accelerate_configs"):
        left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, top / name, ignore=left_out)
    for name in ("requirements.txt", ".gitignore"):
        shutil.copy(ROOT / name, top)
    (top / "recipes" / "tiny").mkdir(parents=True)
    for name, values in {"10-first": FIRST, "20-second": SECOND}.items():
        (top / "recipes" / "tiny" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    git(top, "init", "--quiet", "--initial-branch", "main")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "--message", "the code")
    git(folder, "clone", "--quiet", "--bare", str(top), "code.git")
    git(folder / "code.git", "update-server-info")
    return top


def make_image(folder: Path, home: Path) -> dict[str, str]:
    """The environment of a Job: nothing of this machine's but its programs."""
    folder.mkdir()
    for name, text in {"python": PYTHON, "moxin": MOXIN}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("jobs")
    workplace = Workplace(folder / "home", folder)
    who = launcher.identity(workplace.home / "hub")
    checkout = make_checkout(folder)
    with (
        serving(workplace),
        jobs_hub(who.endpoint, folder, make_image(folder / "image", folder)) as hub,
    ):
        tiny_tokenizer().save_pretrained(folder / "tokenizer")
        api = HfApi(endpoint=who.endpoint, token=who.token)
        api.create_repo("local/tiny-tokenizer")
        api.upload_folder(repo_id="local/tiny-tokenizer", folder_path=folder / "tokenizer")
        git(checkout, "remote", "add", "origin", f"{hub.endpoint}/code.git")
        git(checkout, "fetch", "--quiet", "origin")
        environment = workplace.environment(
            HF_TOKEN=who.token, TEACHER=SECRET, PYTHONPATH=str(checkout / "src")
        )
        with Warm([COMMAND, *LOADED], environment | {"MOXIN_HUB": hub.endpoint}, checkout) as warm:
            yield Place(checkout, hub, environment, warm)


def test_each_stage_is_a_job_with_this_very_code(place: Place) -> None:
    """What is changed and not committed goes along; a stage that is done starts none."""
    changed = place.checkout / "recipes" / "tiny" / "10-first.yaml"
    changed.write_text(yaml.safe_dump({**FIRST, "hidden_size": 16}))
    done = place.run("--yes", "--secret", "TEACHER", "--timeout", "10m")
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    first, second = place.hub.jobs
    assert [job.stage for job in (first, second)] == ["COMPLETED", "COMPLETED"]
    assert "tiny-mean@second" in done.stdout
    # The table of costs: ten minutes each at a dollar cent a minute, at most.
    assert "$0.60 an hour" in done.stdout
    assert done.stdout.index("0.20") < done.stdout.index("pip -m pip install")
    assert [line for line in first.lines if "pip install" in line]

    spec = first.spec
    assert (spec["dockerImage"], spec["flavor"], spec["timeoutSeconds"]) == (
        *("python:3.12", "cpu-basic"),
        600,
    )
    token = place.environment["HF_TOKEN"]
    assert spec["secrets"] == {"TEACHER": SECRET, "HF_TOKEN": token}
    told = json.dumps({key: value for key, value in spec.items() if key != "secrets"})
    for value in (SECRET, token):
        assert value not in told + done.stdout + done.stderr + "".join(first.lines)

    again = place.run("--yes", "--secret", "TEACHER")
    assert again.returncode == 0, again.stderr[-3000:]
    assert len(place.hub.jobs) == 2
    assert again.stderr.count("done already") == 2

    # The second stage is done for the first one's present result, which will be another.
    changed.write_text(yaml.safe_dump(FIRST))
    unpaid = place.run()
    changed.write_text(yaml.safe_dump({**FIRST, "hidden_size": 16}))
    assert unpaid.returncode == 1
    assert "error: `--on` would start 2 Jobs, one after another; nobody" in unpaid.stderr
    assert len(place.hub.jobs) == 2

    manifest = HfApi(endpoint=place.hub.endpoint, token=token).hf_hub_download(
        "local/tiny-base", "moxin.json", revision="first"
    )
    code = json.loads(Path(manifest).read_text())["code"]
    assert code["commit"] == git(place.checkout, "rev-parse", "HEAD")
    assert code["address"] == f"{place.hub.endpoint}/code.git"
    assert "+hidden_size: 16" in code["patch"]


def wait_for(process: Process, what: Callable[[], bool]) -> None:
    while not what():
        assert process.running(), process.errors.read_text()[-3000:]
        time.sleep(0.05)


def waits(process: Process) -> bool:
    """Whether it sleeps. Python notices a signal that comes just before a wait only after it."""
    return psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING


def test_a_command_that_was_stopped_finds_its_job_again(place: Place) -> None:
    """Killed with no time for a word, then by Ctrl-C; the Job is one and the same."""
    hub, before = place.hub, len(place.hub.jobs)
    words = ("--yes", "--only", "10-first", "--force", "10-first")
    killed = place.start(*words)
    wait_for(killed, lambda: len(hub.jobs) > before and hub.jobs[-1].process is not None)
    killed.kill()
    job = hub.jobs[-1]
    assert job.process is not None
    os.killpg(job.process.pid, signal.SIGSTOP)  # it is at work for as long as this test wants

    streams = hub.asked["GET jobs logs"]
    stopped = place.start(*words)
    wait_for(stopped, lambda: hub.asked["GET jobs logs"] > streams and waits(stopped))
    os.kill(stopped.pid, signal.SIGINT)
    assert (stopped.wait(), job.stage) == (1, "RUNNING")
    told = stopped.errors.read_text()
    assert "Jobs to start" not in stopped.log.read_text()
    assert f"Job {job.id} runs: {hub.endpoint}/jobs/local/{job.id}" in told
    assert f"Job {job.id} goes on by itself" in told
    assert f"`hf jobs cancel local/{job.id}` ends it" in told
    assert told.rstrip().endswith("interrupted; the same command goes on")

    streams = hub.asked["GET jobs logs"]
    last = place.start(*words)
    wait_for(last, lambda: hub.asked["GET jobs logs"] > streams)
    os.killpg(job.process.pid, signal.SIGCONT)
    assert last.wait() == 0, last.errors.read_text()[-3000:] + last.log.read_text()[-3000:]
    assert job.stage == "COMPLETED"
    assert hub.jobs[before:] == [job]
