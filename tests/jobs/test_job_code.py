"""The code that a Job gets is that of this checkout, or the command ends before."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from moxin_recipes.hub import code as hub_code
from moxin_recipes.jobs import code
from moxin_recipes.jobs.code import Code
from moxin_recipes.recipe.strict import RecipeError


def git(folder: Path, *words: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    command = ["git", *author, *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A checkout with a ladder, committed."""
    top = tmp_path / "top"
    files = ("recipes/mine/10-init.yaml", "src/moxin_recipes/a.py", "accelerate_configs/cpu.yaml")
    for name in (*files, "requirements.txt", "pyproject.toml", "setup.cfg", "Makefile"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("1\n")
    (top / ".gitignore").write_text("__pycache__\n")
    git(top, "init", "--quiet")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "first")
    return top


@pytest.fixture
def told(top: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is said of the code that runs, as if it ran from there, with its commit pushed."""
    git(top, "update-ref", "refs/remotes/origin/main", "HEAD")
    told: dict[str, Any] = {"commit": "HEAD", "address": "https://localhost/code", "patch": None}
    monkeypatch.setattr(hub_code, "checkout", lambda: top)
    monkeypatch.setattr(hub_code, "code", lambda: told)
    return told


def refused(ladder: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        code.of_ladder(ladder)
    return str(caught.value)


def test_code_that_a_job_cannot_get_is_refused(
    top: Path, told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = top / "recipes" / "mine"
    assert code.of_ladder(mine) == Code("https://localhost/code", "HEAD", "recipes/mine", "")
    assert "is not below" in refused(tmp_path / "elsewhere")
    told["patch"] = "".join(f"{number * number}\n" for number in range(60_000))
    assert "commit it and `git push`" in refused(mine)
    told["address"] = None
    assert "has no remote `origin`" in refused(mine)
    monkeypatch.setattr(hub_code, "checkout", lambda: None)
    assert "run it from a git checkout" in refused(mine)


@pytest.mark.usefixtures("told")
def test_the_commit_is_where_a_job_clones_it(top: Path) -> None:
    """Another remote has it, and so has a branch of this machine with the remote's name."""
    git(top, "update-ref", "-d", "refs/remotes/origin/main")
    assert "`git push origin` first" in refused(top / "recipes" / "mine")
    git(top, "update-ref", "refs/remotes/fork/main", "HEAD")
    git(top, "branch", "origin/main")
    git(top, "tag", "origin/first")
    assert "`git push origin` first" in refused(top / "recipes" / "mine")
    git(top, "update-ref", "refs/remotes/origin/deep/branch", "HEAD")
    assert code.of_ladder(top / "recipes" / "mine").commit == "HEAD"


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    "name",
    [
        "accelerate_configs/cpu.yaml",
        "accelerate_configs/new/mine é.yaml",
        *("requirements.txt", "pyproject.toml", "setup.cfg"),
    ],
)
def test_what_does_not_travel_is_as_committed(top: Path, name: str) -> None:
    ladder, file = top / "recipes" / "mine", top / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("2\n")
    git(top, "config", "status.showUntrackedFiles", "no")
    assert f"{file} is changed and not committed" in refused(ladder)
    git(top, "add", ".")
    assert f"{file} is changed and not committed" in refused(ladder)
    git(top, "commit", "--quiet", "-m", "second")
    git(top, "update-ref", "refs/remotes/origin/main", "HEAD")
    code.of_ladder(ladder)
    file.unlink()
    assert f"{file} is changed and not committed" in refused(ladder)


@pytest.mark.usefixtures("told")
def test_what_a_job_does_not_read_may_change(top: Path) -> None:
    for name in ("Makefile", "notes.txt", "src/moxin_recipes/a.py", "recipes/mine/10-init.yaml"):
        (top / name).write_text("2\n")
    (top / "accelerate_configs" / "__pycache__").mkdir()
    (top / "accelerate_configs" / "__pycache__" / "a.pyc").write_text("2\n")
    code.of_ladder(top / "recipes" / "mine")


@pytest.mark.parametrize(
    ("address", "https"),
    [
        ("git@localhost:me/code.git", "https://localhost/me/code.git"),
        ("git@localhost:12345/code.git", "https://localhost/12345/code.git"),
        ("git@localhost:12345/67/code.git", "https://localhost/12345/67/code.git"),
        ("ssh://git@localhost/12345/code.git", "https://localhost/12345/code.git"),
        ("ssh://git@localhost:22/me/code", "https://localhost/me/code"),
        ("ssh://git@localhost:22/12345/code", "https://localhost/12345/code"),
        ("ssh://me@localhost/me/code", "https://localhost/me/code"),
        ("ssh://localhost:2222/me/code", "https://localhost/me/code"),
        ("ssh://me:word@[::1]:22/me/code", "https://[::1]/me/code"),
        ("ssh://localhost", "https://localhost"),
        ("https://localhost:8443/12345/code", "https://localhost:8443/12345/code"),
        ("http://localhost/ssh://git@host/code", "http://localhost/ssh://git@host/code"),
    ],
)
def test_a_job_clones_without_a_key(
    top: Path, told: dict[str, Any], address: str, https: str
) -> None:
    told["address"] = hub_code.public(address)
    assert code.of_ladder(top / "recipes" / "mine").address == https
