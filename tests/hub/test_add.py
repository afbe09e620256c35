"""`moxin hub add`: each file gets a path of its own, or nothing is added and one line says why."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from tests.conftest import Workplace, serving

from moxin_hub import launcher


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("added")
    made = Workplace(folder / "home", folder)
    with serving(made):
        yield made


def api(place: Workplace) -> HfApi:
    who = launcher.identity(place.home / "hub")
    return HfApi(endpoint=who.endpoint, token=who.token)


def write(folder: Path, **contents: str) -> Path:
    """Files of a folder: name, with `/` as `__` → content."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def added(place: Workplace, repo: str, *paths: Path) -> dict[str, bytes]:
    """What is in the repository after the command: path → bytes."""
    done = place.moxin("hub", "add", *map(str, paths), "--as", repo)
    assert done.returncode == 0, done.stderr
    client = api(place)
    assert done.stdout == f"{repo}@{client.model_info(repo).sha}\n"
    return {
        path: Path(client.hf_hub_download(repo, path, cache_dir=place.home / "cache")).read_bytes()
        for path in client.list_repo_files(repo)
        if path != ".gitattributes"
    }


def refused(place: Workplace, *paths: Path | str) -> str:
    """The one line that the command ends with; nothing was made."""
    done = place.moxin("hub", "add", *map(str, paths), "--as", "some/refused")
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert not api(place).repo_exists("some/refused")
    return line.removeprefix("error: ")


def test_a_folder_is_added_with_the_paths_below_it(place: Workplace, tmp_path: Path) -> None:
    data = {
        "a__test.jsonl": "a",
        "ä\u3000ö.txt": "wide space",
        "b__test.jsonl": "b",
        "b__c__d.txt": "d",
        "top.txt": "top",
    }
    folder = write(tmp_path / "data", **data, **{".hidden__.x": "kept", ".git__config": "git"})
    (folder / "link.txt").symlink_to(folder / "top.txt")
    (folder / "b" / "empty").mkdir()
    (tmp_path / "linked").symlink_to(folder)
    alone = write(tmp_path / "other", **{"alone.txt": "alone"}) / "alone.txt"
    expected = {path.replace("__", "/"): text.encode() for path, text in data.items()}
    expected |= {".hidden/.x": b"kept", "link.txt": b"top"}
    assert added(place, "some/folder", folder) == expected
    # A link that is named is followed; a file beside the folder gets its name.
    expected["alone.txt"] = b"alone"
    assert added(place, "some/linked", tmp_path / "linked", alone) == expected


def test_names_that_differ_in_case_are_two_files(place: Workplace, tmp_path: Path) -> None:
    one = write(tmp_path / "one", **{"Readme.txt": "one"})
    other = write(tmp_path / "other", **{"README.txt": "other"})
    assert added(place, "some/cases", one, other) == {"Readme.txt": b"one", "README.txt": b"other"}


def test_what_gitignore_leaves_out_is_said(place: Workplace, tmp_path: Path) -> None:
    folder = write(tmp_path, **{".gitignore": "*.log\n", "a.log": "a", "a.txt": "a"})
    done = place.moxin("hub", "add", str(folder), "--as", "some/ignored")
    assert done.returncode == 0
    assert "a.log: left out, as .gitignore says" in done.stderr
    assert "a.txt" not in done.stderr


def test_two_files_of_one_path_are_an_error(place: Workplace, tmp_path: Path) -> None:
    a = write(tmp_path / "a", **{"test.jsonl": "a", "x__y.txt": "y"})
    b = write(tmp_path / "b", **{"test.jsonl": "b"})
    below = write(tmp_path / "below", **{"test.jsonl__part": "p"})
    one, other = a / "test.jsonl", b / "test.jsonl"
    for paths, path, names in (
        ((one, other), "test.jsonl", (one, other)),  # two files
        ((a, other), "test.jsonl", (one, other)),  # a folder and a file
        ((other, a), "test.jsonl", (other, one)),
        ((a, b), "test.jsonl", (one, other)),  # two folders
        ((one, one), "test.jsonl", (one, one)),  # one file given twice
        ((a, a / "x", a / "x"), "y.txt", (a / "x/y.txt", a / "x/y.txt")),
        ((below, one), "test.jsonl", (one, below / "test.jsonl/part")),  # a file where a folder is
    ):
        line = refused(place, *paths)
        assert line.startswith(f"{path}: both {names[0]} and {names[1]} would stand there")
        assert "the folder that holds both" in line
    # The way out that is named.
    assert set(added(place, "some/both", tmp_path)) == {
        *("a/test.jsonl", "a/x/y.txt", "b/test.jsonl", "below/test.jsonl/part"),
    }


def test_a_repository_that_cannot_be_named_so_is_an_error(place: Workplace, tmp_path: Path) -> None:
    file = write(tmp_path, **{"a.txt": "a"}) / "a.txt"
    for repo in ("a/b/c", "bad name", "a..b/c"):
        done = place.moxin("hub", "add", str(file), "--as", repo)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {repo}: ")
        assert len(done.stderr.splitlines()) == 1


def test_what_is_neither_file_nor_folder_is_an_error(place: Workplace, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "within" / ".git").mkdir(parents=True)
    (empty / "within" / ".git" / "config").write_text("git")
    assert refused(place, empty) == f"{empty}: there is no file in this folder"
    assert refused(place, tmp_path / "none") == (
        f"{tmp_path / 'none'}: there is no such file or folder"
    )
    (tmp_path / "named").mkdir()
    git = write(tmp_path / "named", **{".GIT": "gitdir: elsewhere"}) / ".GIT"
    assert refused(place, git) == f"{git}: a repository can hold no .git; rename it"
    for name, make, what in (
        ("loop", lambda path: path.symlink_to(tmp_path), "a link to a folder"),
        ("gone", lambda path: path.symlink_to(tmp_path / "none"), "a link to nothing"),
        ("pipe", os.mkfifo, "no file and no folder"),
        ("new\nline", lambda path: path.write_text("x"), "characters that cannot be shown"),
        ("\udcff", lambda path: path.write_text("x"), "characters that cannot be shown"),
    ):
        folder = write(tmp_path / what.replace(" ", "-"), **{"a.txt": "a"})
        make(folder / name)
        assert what in refused(place, folder)
        (folder / name).unlink()
