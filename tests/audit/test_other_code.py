"""Code of others for a replay: what is trusted runs, byte by byte, and stays in its folder."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.hub.test_code import checkout, content, git

from moxin_recipes.audit import replay
from moxin_recipes.hub import code
from moxin_recipes.recipe.strict import RecipeError

__all__ = ["checkout"]  # the fixture
ADDRESS = "https://host/o/r.git"


@pytest.fixture
def told(checkout: Path) -> dict[str, Any]:
    """What a manifest says of a changed checkout."""
    (checkout / "src" / "a.py").write_bytes(b"x = 1 \r\ny = 2\t\nz = '\xc3\xbc' \n\n\n")
    (checkout / "src" / "windows.bat").write_bytes(b"rem \r\n" * 3 + b"rem")
    (checkout / "src" / "table.bin").write_bytes(bytes(range(256)) * 9 + b"\r\n")
    commit = git(checkout, "rev-parse", "HEAD").strip()
    return {
        **{"version": "0", "commit": commit, "address": ADDRESS},
        "patch": code.patch(checkout),
    }


@pytest.mark.parametrize("where", [".gitconfig", "xdg/git/config"])
def test_a_patch_stays_as_it_is_whatever_git_is_told(
    told: dict[str, Any],
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    home = tmp_path / "someone"
    config = home / where
    config.parent.mkdir(parents=True)
    config.write_text(
        "[core]\n\tautocrlf = true\n\teol = crlf\n\tsafecrlf = true\n"
        "[apply]\n\twhitespace = fix\n\tignorewhitespace = change\n[diff]\n\tnoprefix = true\n"
        "[core]\n\twhitespace = trailing-space,space-before-tab,cr-at-eol\n"
        '[filter "shout"]\n\tsmudge = tr a-z A-Z\n\tclean = cat\n'
    )
    attributes = home / "xdg" / "git" / "attributes"
    attributes.parent.mkdir(parents=True, exist_ok=True)
    attributes.write_text("* text eol=crlf\n*.yaml filter=shout\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.autocrlf'='true'")
    made = replay._checkout(str(checkout), told["commit"], told["patch"], tmp_path / "made")
    assert content(made) == content(checkout)
    assert "[remote" not in (made / ".git" / "config").read_text()


def test_a_patch_is_pinned_by_its_digest(
    told: dict[str, Any], checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RecipeError, match="other code made it") as refused:
        replay._source(told, None, tmp_path / "a")
    given = shlex.split(str(refused.value).rpartition("--trust-code ")[2])[0]
    assert given == f"{ADDRESS}@{code.pinned(told)}"
    assert told["patch"].replace("\r", "\\r") in capsys.readouterr().out
    pinned = f"{checkout}@{code.pinned(told)}"
    found = replay._source(told, pinned, tmp_path / "b")
    assert found is not None
    assert content(found) == content(checkout)
    other = {**told, "patch": told["patch"].replace("x = 1", "x = 2")}
    none = {**told, "patch": None}
    commit = f"{checkout}@{told['commit']}"
    for edited, trusted in (
        (other, pinned),
        (none, pinned),
        (told, commit),
        (told, f"{commit}+sha256:"),
        (told, f"{checkout}@{code.pinned(other)}"),
    ):
        with pytest.raises(RecipeError, match="--trust-code: it must be ADDRESS@") as no:
            replay._source(edited, trusted, tmp_path / "c")
        assert code.pinned(edited) in str(no.value)
        assert not (tmp_path / "c").exists()
    assert replay._source(none, commit, tmp_path / "d") is not None


@pytest.mark.parametrize("commit", [None, "--upload-pack=x", "main", "abc", "a" * 39])
def test_only_a_commit_is_checked_out(
    told: dict[str, Any], checkout: Path, tmp_path: Path, commit: str | None
) -> None:
    edited = {**told, "commit": commit}
    with pytest.raises(RecipeError, match="outside of a checkout"):
        replay._source(edited, f"{checkout}@{code.pinned(edited)}", tmp_path / "c")


def test_what_is_to_be_copied_is_one_word_of_a_shell(told: dict[str, Any], tmp_path: Path) -> None:
    hostile = {**told, "address": "https://h/$(touch x);`y` \x1b[2J'"}
    with pytest.raises(RecipeError, match="other code made it") as refused:
        replay._source(hostile, None, tmp_path / "a")
    said = str(refused.value)
    assert "\x1b" not in said
    assert len(shlex.split(said.rpartition("--trust-code ")[2])) == 1


def test_a_password_of_an_address_is_not_said(told: dict[str, Any], tmp_path: Path) -> None:
    address = "http://me:geheim@127.0.0.1:9/r?key=geheim"
    with pytest.raises(RecipeError, match="git clone") as no:
        replay._source(told, f"{address}@{code.pinned(told)}", tmp_path / "a")
    assert "geheim" not in str(no.value)


@pytest.mark.parametrize(
    "written",
    [
        *("/etc/passwd", "../../../x.yaml", "recipes/../../x", "..", ".", "", "/", "~/x.yaml"),
        *("recipes\\..\\x.yaml", "C:\\x", "a/\0/b", "recipes/a b/ü.yaml", ".hidden/.x", "a" * 999),
    ],
)
def test_a_recipe_is_written_in_the_replays_folder(tmp_path: Path, written: str) -> None:
    inside = tmp_path / "recipes"
    path = replay.recipe_path(inside, written)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert path.resolve().is_relative_to(inside.resolve())
    assert len(path.relative_to(inside).parts) == 2
    assert not any(part.startswith(".") for part in path.relative_to(inside).parts)
    assert replay.recipe_path(inside, "recipes/mini/10-init.yaml") == inside / "mini/10-init.yaml"
