"""Commits, branches, tags, trees and history, seen through huggingface_hub's own client."""

from __future__ import annotations

import threading

import pytest
from huggingface_hub import (
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    RepoFile,
    RepoFolder,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RevisionNotFoundError,
)
from running_hub import Hub, add, read


def test_commit_operations(api: HfApi, repo: str) -> None:
    first = api.create_commit(
        repo, [add("a/one.txt", "1"), add("a/two.txt", "2"), add("b.bin", b"\0" * 5000)],
        commit_message="first", commit_description="with words",
    )  # fmt: skip
    assert first.commit_url == f"{api.endpoint}/{repo}/commit/{first.oid}"
    api.create_commit(
        repo,
        [
            CommitOperationCopy("b.bin", "copies/b.bin"),
            CommitOperationCopy("a/one.txt", "copies/one.txt"),
            CommitOperationDelete("a/two.txt"),
            add("a/three.txt", "3"),
        ],
        commit_message="second",
    )
    assert sorted(api.list_repo_files(repo)) == [
        ".gitattributes", "a/one.txt", "a/three.txt", "b.bin", "copies/b.bin", "copies/one.txt",
    ]  # fmt: skip
    assert read(api, repo, "copies/b.bin") == b"\0" * 5000
    assert read(api, repo, "copies/one.txt") == b"1"
    third = api.create_commit(repo, [CommitOperationDelete("a/")], commit_message="third")
    assert sorted(api.list_repo_files(repo)) == [
        ".gitattributes", "b.bin", "copies/b.bin", "copies/one.txt",
    ]  # fmt: skip
    for missing in ("copies/two.txt", "copies/b.bin/"):
        with pytest.raises(EntryNotFoundError, match="with this name doesn't exist"):
            api.create_commit(repo, [CommitOperationDelete(missing)], commit_message="missing")
    commits = api.list_repo_commits(repo)
    assert [commit.title for commit in commits] == ["third", "second", "first", "initial commit"]
    assert commits[2].message == "with words"
    assert commits[0].commit_id == third.oid
    assert commits[0].authors == ["local"]
    assert api.list_repo_commits(repo, revision=first.oid, formatted=True)[0].formatted_title


def test_unchanged_files_are_not_sent_again(api: HfApi, repo: str) -> None:
    operations = lambda: [add("x.txt", "same"), add("x.bin", b"\0same")]  # noqa: E731
    first = api.create_commit(repo, operations(), commit_message="first")
    again = api.create_commit(repo, operations(), commit_message="again")
    assert again.oid == first.oid
    assert len(api.list_repo_commits(repo)) == 2


def test_stale_parent(api: HfApi, repo: str) -> None:
    parent = api.model_info(repo).sha
    api.create_commit(repo, [add("x", "1")], commit_message="mine", parent_commit=parent)
    with pytest.raises(HfHubHTTPError, match="The branch was updated since") as caught:
        api.create_commit(repo, [add("x", "2")], commit_message="late", parent_commit=parent)
    assert caught.value.response.status_code == 412
    assert read(api, repo, "x") == b"1"
    head = api.model_info(repo).sha
    short = head[:8]
    api.create_commit(repo, [add("x", "3")], commit_message="short", parent_commit=short)


def test_a_commit_sent_twice_is_made_once(hub: Hub, api: HfApi, repo: str) -> None:
    parent = api.model_info(repo).sha
    lines = (
        b'{"key": "header", "value": {"summary": "s", "parentCommit": "%s"}}\n'
        b'{"key": "file", "value": {"path": "x", "content": "eA=="}}\n' % str(parent).encode()
    )
    answers = [hub.request("POST", f"/api/models/{repo}/commit/main", lines) for _ in range(2)]
    assert [status for status, _, _ in answers] == [200, 200]
    assert answers[0][2] == answers[1][2]
    assert len(api.list_repo_commits(repo)) == 2


def test_sixteen_committers_lose_nothing(api: HfApi, repo: str) -> None:
    failures: list[Exception] = []

    def commit(name: str, number: int) -> int:
        """The status of one attempt on top of the newest commit."""
        operation = add(f"{name}/{number}", name)
        parent = api.model_info(repo).sha
        try:
            api.create_commit(
                repo, [operation], commit_message=f"{name} {number}", parent_commit=parent
            )
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    def work(name: str) -> None:
        try:
            for number in range(3):
                while (status := commit(name, number)) != 200:
                    assert status == 412
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    expected = {f"w{i}/{number}" for i in range(16) for number in range(3)}
    assert set(api.list_repo_files(repo)) == expected | {".gitattributes"}
    titles = [commit.title for commit in api.list_repo_commits(repo)]
    assert len(titles) == len(set(titles)) == 16 * 3 + 1


def test_branches(api: HfApi, repo: str) -> None:
    start = api.model_info(repo).sha
    second = api.create_commit(repo, [add("x", "1")], commit_message="second").oid
    api.create_branch(repo, branch="pretrain-2k-step-000100")
    api.create_branch(repo, branch="a/b/c", revision=start)
    api.create_branch(repo, branch="a/b/c", exist_ok=True)
    for taken in ("a/b/c", "main"):
        with pytest.raises(
            HfHubHTTPError, match=f"Reference refs/heads/{taken} already exists"
        ) as caught:
            api.create_branch(repo, branch=taken)
        assert caught.value.response.status_code == 409
    with pytest.raises(RevisionNotFoundError):
        api.create_branch(repo, branch="from-nowhere", revision="nowhere")
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(repo, tag="bad name", revision="nowhere")
    for bad in ("refs/heads/x", "a..b", "x.lock", "a b", "0" * 40, "a~1", "é" * 300):
        with pytest.raises(BadRequestError):
            api.create_branch(repo, branch=bad)
    for clash in ("a/b", "main/x"):  # git keeps a/b/c in a folder a/b
        with pytest.raises(HfHubHTTPError) as caught:
            api.create_branch(repo, branch=clash)
        assert caught.value.response.status_code in (400, 409)
    refs = api.list_repo_refs(repo)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {
        "main": second, "a/b/c": start, "pretrain-2k-step-000100": second,
    }  # fmt: skip
    assert refs.branches[0].ref == "refs/heads/main"
    api.create_commit(repo, [add("y", "1")], commit_message="on c", revision="a/b/c")
    assert api.file_exists(repo, "y", revision="a/b/c")
    assert not api.file_exists(repo, "y")
    with pytest.raises(HfHubHTTPError, match="Cannot delete refs/heads/main"):
        api.delete_branch(repo, branch="main")
    api.delete_branch(repo, branch="a/b/c")
    with pytest.raises(HfHubHTTPError, match="Invalid rev id"):
        api.delete_branch(repo, branch="a/b/c")
    api.create_branch(repo, branch="a")  # the folder that a/b/c needed is gone
    assert not api.revision_exists(repo, "a/b/c")


def test_tags(api: HfApi, repo: str) -> None:
    start = api.model_info(repo).sha
    api.create_commit(repo, [add("x", "1")], commit_message="second")
    api.create_tag(repo, tag="v0", revision=start)
    api.create_tag(repo, tag="done-0123456789ab", tag_message="annotated")
    refs = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
    assert refs == {"v0": start, "done-0123456789ab": api.model_info(repo).sha}
    assert api.model_info(repo, revision="done-0123456789ab").sha == api.model_info(repo).sha
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag(repo, tag="v0")
    assert caught.value.response.status_code == 409
    api.create_tag(repo, tag="v0", exist_ok=True)
    with pytest.raises(HfHubHTTPError):
        api.create_tag(repo, tag="foo..bar")
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(repo, tag="v1", revision="nowhere")
    api.delete_tag(repo, tag="v0")
    for gone in ("v0", "main"):
        with pytest.raises(RevisionNotFoundError):
            api.delete_tag(repo, tag=gone)
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(repo, [add("x", "2")], commit_message="x", revision="done-0123456789ab")


def test_trees_and_paths(api: HfApi, repo: str) -> None:
    api.create_commit(
        repo, [add(f"d/{i:04}.txt", str(i)) for i in range(1100)], commit_message="many"
    )
    api.create_commit(repo, [add("d/0001.txt", "new")], commit_message="one")
    entries = list(api.list_repo_tree(repo, recursive=True))
    assert len(entries) == 1 + 1 + 1100  # two pages
    assert len({entry.path for entry in entries}) == len(entries)
    [folder] = [entry for entry in entries if isinstance(entry, RepoFolder)]
    assert folder.path == "d"
    assert [entry.path for entry in api.list_repo_tree(repo)] == [".gitattributes", "d"]
    expanded = {entry.path: entry for entry in api.list_repo_tree(repo, "d", expand=True)}
    assert len(expanded) == 1100
    titles = {path: entry.last_commit.title for path, entry in expanded.items()}
    assert titles.pop("d/0001.txt") == "one"
    assert set(titles.values()) == {"many"}
    found = api.get_paths_info(repo, ["d", "d/0001.txt", "nowhere", "../x"], expand=True)
    assert [(type(entry), entry.path) for entry in found] == [
        (RepoFolder, "d"),
        (RepoFile, "d/0001.txt"),
    ]
    assert all(entry.last_commit.title == "one" for entry in found)
    for missing in ("nowhere", "d/0001.txt", "./d"):
        with pytest.raises(EntryNotFoundError):
            list(api.list_repo_tree(repo, missing))
    with pytest.raises(RevisionNotFoundError):
        list(api.list_repo_tree(repo, revision="nowhere"))


def test_history_is_paged(hub: Hub, api: HfApi, repo: str) -> None:
    for number in range(120):
        body = (
            b'{"key": "header", "value": {"summary": "n%d"}}\n'
            b'{"key": "file", "value": {"path": "x", "content": "%s", "encoding": "utf-8"}}\n'
        ) % (number, str(number).encode())
        assert hub.request("POST", f"/api/models/{repo}/commit/main", body)[0] == 200
    titles = [commit.title for commit in api.list_repo_commits(repo)]
    assert titles == [f"n{number}" for number in reversed(range(120))] + ["initial commit"]
