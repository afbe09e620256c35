"""Bad input: one line that names the key or file and the way out, exit code 1, nothing lost."""

import subprocess
from pathlib import Path

import pytest
import yaml

from moxin_recipes import run
from tests.conftest import ROOT, Workplace
from tests.test_ladder import status


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line a failed command ended with."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines, done.stderr[-2000:]
    return lines[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"learnin_rate": 1e-4}, "unknown key `learnin_rate`; did you mean `learning_rate`?"),
        ({"max_steps": 2.5}, "`max_steps` must be int, not 2.5 (float)"),
        ({"dataset_name": "moxin-nano-nothing@data"}, "no such repository"),
        ({"dataset_name": "moxin-nano-chat@nowhere"}, "no such revision"),
        (
            {"dataset_name": "moxin-nano-preferences@data"},
            "no column `messages` or `conversations` (it has: prompt,",
        ),
    ],
)
def test_a_stage_refuses_a_wrong_recipe(
    finished: Workplace, change: dict[str, object], expected: str
) -> None:
    before = status(finished)
    path = finished.ladder / "broken.yaml"
    values = yaml.safe_load((finished.ladder / "30-sft.yaml").read_text())
    path.write_text(yaml.safe_dump({**values, **change}))
    done = finished.launch("sft", "broken")
    path.unlink()
    assert expected in error_of(done)
    assert status(finished) == before


def test_check_accepts_both_ladders_and_names_what_is_unresolved(finished: Workplace) -> None:
    nano = finished.cold().moxin("check", str(ROOT / "recipes" / "moxin-nano"), "--hub", "local")
    assert nano.returncode == 0, nano.stderr
    large = finished.moxin("check", str(ROOT / "recipes" / "moxin-7b"), "--hub", "local")
    assert large.returncode == 0, large.stderr
    assert large.stderr.count(": ok") == 12
    assert "unresolved  dataset_name: allenai/tulu-3-sft-mixture@main" in large.stderr
    recipe = str(ROOT / "recipes" / "moxin-7b" / "30-sft.yaml")
    online = finished.moxin("check", recipe, "--online", "--hub", "local")
    assert "inputs are unresolved" in error_of(online)


def test_a_hub_that_is_down(finished: Workplace) -> None:
    done = finished.cold().moxin("run", str(finished.ladder), "--hub", "http://127.0.0.1:9")
    message = error_of(done)
    assert "the Hub at http://127.0.0.1:9 does not answer" in message
    assert "give the same command again" in message


# It makes a stage that is not done, and that leaves nothing on the Hub when it is cut.
ANOTHER = "max_grad_norm: 0.5\npush_checkpoints: false\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--only", "30-sft"), "-sft: the release "),
        (("--only", "00-data"), ": the release "),
        (("--from", "41-cot-sft"), "-cot: the release "),
    ],
)
def test_what_a_release_pins_is_not_made_again(
    finished: Workplace, words: tuple[str, str], what: str
) -> None:
    done = finished.run(*words, "--force", words[1])
    assert what in error_of(done)
    assert "it would move: give `hub_" in error_of(done)
    assert "starts" not in done.stderr


def test_nor_by_a_launch_of_its_own(finished: Workplace) -> None:
    done = finished.launch("sft", "30-sft")
    assert "it would move: give `hub_model_id` another repository" in error_of(done)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("600k", "checkpoints with the final model need"),  # before the first step
        ("1290k", "is full; free some space and give the same command again"),
    ],
)
def test_a_full_disk(finished: Workplace, tmp_path: Path, size: str, expected: str) -> None:
    before = status(finished)
    recipe = finished.ladder / "30-sft.yaml"
    text = recipe.read_text()
    disk = tmp_path / "disk"
    disk.mkdir()
    recipe.write_text(f"{text}\noutput_dir: {disk}\n{ANOTHER}")
    # A small file system there: the weights, or all files, need more.
    command = finished.command("run", str(finished.ladder), "--only", "30-sft")
    assert finished.warm
    done = finished.warm.completed(
        ["tests.small_disk", str(disk), size, *command], finished.environment(MOXIN_HUB="local")
    )
    recipe.write_text(text)
    assert expected in error_of(done)
    assert ("going on" in done.stderr or "loss" in done.stderr) == (size != "600k"), done.stderr
    assert status(finished) == before


def test_a_write_that_failed_is_a_full_disk_though_there_is_room_again(tmp_path: Path) -> None:
    """As torch raises it: the first error stands behind the one of its half written file."""
    error = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
    error.__context__ = RuntimeError("basic_ios::clear: iostream error")
    assert run._disk_is_full(error, tmp_path)
    assert not run._disk_is_full(RuntimeError("something else"), tmp_path)


def test_a_running_stage_is_not_started_twice(finished: Workplace) -> None:
    import fcntl

    folder = finished.home / "runs" / "mini" / "30-sft"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = finished.ladder / "30-sft.yaml"
    text = recipe.read_text()
    recipe.write_text(f"{text}\n{ANOTHER}")
    with (folder / ".lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        done = finished.run("--only", "30-sft")
    recipe.write_text(text)
    assert "another process runs this stage" in error_of(done)


def test_no_token_in_what_is_left_behind(finished: Workplace) -> None:
    token = (finished.home / "hub" / "token").read_text().strip()
    assert (finished.home / "hub" / "token").stat().st_mode & 0o777 == 0o600
    for path in finished.home.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".log", ".md", ".txt", ".yaml"):
            text = path.read_text(errors="replace")
            assert token not in text, path
            assert "hf_not_real" not in text, path
