"""Which Hub a process uses, by its variables alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, sys
from moxin_recipes import environment
environment.choose()
print(os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN"), environment.is_local())
print(sorted(m for m in sys.modules if m in ("torch", "huggingface_hub", "transformers", "trl")))
"""


def choose(home: Path, **variables: str) -> tuple[list[str], str]:
    """Endpoint, token, local or not; and the heavy modules that the import pulled in."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "MOXIN_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.splitlines()
    return first.split(), second


def test_an_import_changes_no_variable_and_writes_no_file(tmp_path: Path) -> None:
    code = """
import os
before = dict(os.environ)
import moxin_recipes, moxin_recipes.rewards, moxin_recipes.hub.push, moxin_recipes.stages
import moxin_recipes.cli, moxin_recipes.rewards.answers, moxin_recipes.stages.release
print({n for n in before.keys() | os.environ if before.get(n) != os.environ.get(n)} or "none")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MOXIN_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "none"
    assert not list(tmp_path.iterdir())


def test_the_launch_of_a_stage_chooses_a_hub(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "moxin_recipes.stages.release", "--config", "none.yaml"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MOXIN_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "none.yaml: No such file or directory" in done.stderr
    assert (tmp_path / "hub" / "token").exists()


def test_without_a_token_it_is_the_embedded_hub(tmp_path: Path) -> None:
    (endpoint, token, local), modules = choose(tmp_path)
    assert endpoint.startswith("http://127.0.0.1:")
    assert token == (tmp_path / "hub" / "token").read_text().strip()
    assert (tmp_path / "hub" / "token").stat().st_mode & 0o777 == 0o600
    assert local == "True"
    assert modules == "[]"
    assert choose(tmp_path)[0] == [endpoint, token, local]  # a root keeps both


def test_with_a_token_it_is_the_public_hub(tmp_path: Path) -> None:
    assert choose(tmp_path, HF_TOKEN="hf_abc")[0] == ["None", "hf_abc", "False"]
    stored = tmp_path / ".cache" / "huggingface"
    stored.mkdir(parents=True)
    (stored / "token").write_text("hf_stored")
    assert choose(tmp_path)[0] == ["None", "None", "False"]


def test_the_embedded_hub_can_be_asked_for(tmp_path: Path) -> None:
    endpoint, token, local = choose(tmp_path, HF_TOKEN="hf_abc", MOXIN_HUB="local")[0]
    assert endpoint.startswith("http://127.0.0.1:")
    assert token != "hf_abc"
    assert local == "True"


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "MOXIN_HUB"])
def test_another_hub_is_left_alone(tmp_path: Path, name: str) -> None:
    chosen = choose(tmp_path, HF_TOKEN="hf_abc", **{name: "http://127.0.0.1:9"})[0]
    assert chosen == ["http://127.0.0.1:9", "hf_abc", "False"]


def test_the_command_line_loads_neither_torch_nor_trl(tmp_path: Path) -> None:
    code = """
import sys
import moxin_recipes.cli, moxin_recipes.hub.pull, moxin_recipes.hub.push
import moxin_recipes.ladder.status
heavy = {"torch", "trl", "transformers", "datasets", "lm_eval", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MOXIN_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
