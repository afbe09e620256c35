"""The Hub's endpoint table, seen through huggingface_hub's own clients."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    CommitScheduler,
    DatasetCard,
    HfApi,
    HfFileSystem,
    ModelCard,
    RepoFile,
    RepoFolder,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from running_hub import Hub

from moxin_recipes.hub.server import launcher

_numbers = count()


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return hub.api()


@pytest.fixture
def repo(api: HfApi) -> str:
    return api.create_repo(f"moxin-org/Model-{next(_numbers)}").repo_id


def _add(path: str, content: bytes | str) -> CommitOperationAdd:
    data = content if isinstance(content, bytes) else content.encode()
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=data)


def _read(api: HfApi, repo: str, path: str, revision: str = "main") -> bytes:
    file_system = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    return file_system.cat_file(f"{repo}@{revision.replace('/', '%2F')}/{path}")


def test_whoami_and_roles(hub: Hub, api: HfApi) -> None:
    assert api.whoami()["name"] == "local"
    assert api.whoami()["auth"]["accessToken"]["role"] == "write"
    assert hub.api(hub.reader).whoami()["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError) as caught:
        hub.api("hf_wrong").whoami()
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_life_of_a_repository(api: HfApi, kind: str) -> None:
    more = {"space_sdk": "static"} if kind == "space" else {}
    name = f"some-org/Case-{kind}"
    url = api.create_repo(name, repo_type=kind, private=True, **more)
    assert (url.repo_id, url.repo_type) == (name, kind)
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo(name.lower(), repo_type=kind, **more)
    assert caught.value.response.status_code == 409
    # The id keeps its case, and is found in any.
    assert api.create_repo(name.lower(), repo_type=kind, exist_ok=True, **more).repo_id == name
    info = api.repo_info(name.upper(), repo_type=kind)
    assert (info.id, info.author, info.private) == (name, "some-org", True)
    first = [".gitattributes", "README.md"] if kind == "space" else [".gitattributes"]
    assert [sibling.rfilename for sibling in info.siblings] == first
    api.update_repo_settings(name, private=False, gated="manual", repo_type=kind)
    info = api.repo_info(name, repo_type=kind)
    assert (info.private, info.gated) == (False, "manual")
    api.move_repo(name, f"other-org/Moved-{kind}", repo_type=kind)
    assert (
        api.repo_info(name, repo_type=kind).id == f"other-org/Moved-{kind}"
    )  # the old id leads on
    with pytest.raises(RepositoryNotFoundError):  # but nobody deletes by a name that is gone
        api.delete_repo(name, repo_type=kind)
    moved = api.repo_info(f"other-org/Moved-{kind}", repo_type=kind)
    assert (moved.id, moved.sha) == (f"other-org/Moved-{kind}", info.sha)
    api.create_repo(name, repo_type=kind, **more)
    with pytest.raises(HfHubHTTPError, match=rf"A {kind} repository called .* already"):
        api.move_repo(name, f"other-org/Moved-{kind}", repo_type=kind)
    for repo_id in (name, f"other-org/Moved-{kind}"):
        api.delete_repo(repo_id, repo_type=kind)
        with pytest.raises(RepositoryNotFoundError):
            api.delete_repo(repo_id, repo_type=kind)


def test_a_name_without_namespace_is_the_users(api: HfApi) -> None:
    assert api.create_repo("plain").repo_id == "local/plain"
    assert api.create_repo("plain", exist_ok=True).repo_id == "local/plain"
    api.delete_repo("plain")


def test_listing(hub: Hub, api: HfApi) -> None:
    for name, private in (("listed/alpha", False), ("listed/beta", False), ("listed/secret", True)):
        api.create_repo(name, repo_type="dataset", private=private)
    card = "---\nlicense: mit\ntags:\n- special\n---\n# hello\n"
    api.upload_file(
        path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="listed/beta",
        repo_type="dataset",
    )  # fmt: skip

    def names(of: HfApi, **query: object) -> set[str]:
        return {info.id for info in of.list_datasets(author="listed", **query)}

    assert names(api) == {"listed/alpha", "listed/beta", "listed/secret"}
    assert names(hub.api(False)) == {"listed/alpha", "listed/beta"}
    assert names(api, search="ALPH") == {"listed/alpha"}
    assert names(api, filter="special") == {"listed/beta"}
    info = api.dataset_info("listed/beta")
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert {"license:mit", "special"} <= set(info.tags)


def test_commit_operations(api: HfApi, repo: str) -> None:
    first = api.create_commit(
        repo, [_add("a/one.txt", "1"), _add("a/two.txt", "2"), _add("b.bin", b"\0" * 5000)],
        commit_message="first", commit_description="with words",
    )  # fmt: skip
    assert first.commit_url == f"{api.endpoint}/{repo}/commit/{first.oid}"
    api.create_commit(
        repo,
        [
            CommitOperationCopy("b.bin", "copies/b.bin"),
            CommitOperationCopy("a/one.txt", "copies/one.txt"),
            CommitOperationDelete("a/two.txt"),
            _add("a/three.txt", "3"),
        ],
        commit_message="second",
    )
    assert sorted(api.list_repo_files(repo)) == [
        ".gitattributes", "a/one.txt", "a/three.txt", "b.bin", "copies/b.bin", "copies/one.txt",
    ]  # fmt: skip
    assert _read(api, repo, "copies/b.bin") == b"\0" * 5000
    assert _read(api, repo, "copies/one.txt") == b"1"
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
    operations = lambda: [_add("x.txt", "same"), _add("x.bin", b"\0same")]  # noqa: E731
    first = api.create_commit(repo, operations(), commit_message="first")
    again = api.create_commit(repo, operations(), commit_message="again")
    assert again.oid == first.oid
    assert len(api.list_repo_commits(repo)) == 2


def test_stale_parent(api: HfApi, repo: str) -> None:
    parent = api.model_info(repo).sha
    api.create_commit(repo, [_add("x", "1")], commit_message="mine", parent_commit=parent)
    with pytest.raises(HfHubHTTPError, match="The branch was updated since") as caught:
        api.create_commit(repo, [_add("x", "2")], commit_message="late", parent_commit=parent)
    assert caught.value.response.status_code == 412
    assert _read(api, repo, "x") == b"1"
    head = api.model_info(repo).sha
    short = head[:8]
    api.create_commit(repo, [_add("x", "3")], commit_message="short", parent_commit=short)


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
        operation = _add(f"{name}/{number}", name)
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
    second = api.create_commit(repo, [_add("x", "1")], commit_message="second").oid
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
    api.create_commit(repo, [_add("y", "1")], commit_message="on c", revision="a/b/c")
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
    api.create_commit(repo, [_add("x", "1")], commit_message="second")
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
        api.create_commit(repo, [_add("x", "2")], commit_message="x", revision="done-0123456789ab")


def test_super_squash(api: HfApi, repo: str) -> None:
    for number in range(5):
        api.create_commit(repo, [_add("x", str(number))], commit_message=f"number {number}")
    api.create_tag(repo, tag="before")
    api.super_squash_history(repo, commit_message="all of it")
    assert [commit.title for commit in api.list_repo_commits(repo)] == ["all of it"]
    assert len(api.list_repo_commits(repo, revision="before")) == 6
    assert _read(api, repo, "x") == b"4"
    with pytest.raises(RevisionNotFoundError):
        api.super_squash_history(repo, branch="nowhere")
    with pytest.raises(BadRequestError):
        api.super_squash_history(repo, branch="before")


def test_trees_and_paths(api: HfApi, repo: str) -> None:
    api.create_commit(
        repo, [_add(f"d/{i:04}.txt", str(i)) for i in range(1100)], commit_message="many"
    )
    api.create_commit(repo, [_add("d/0001.txt", "new")], commit_message="one")
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


def test_upload_and_download_folders(api: HfApi, repo: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    files = {
        "config.json": b"{}",
        "deep/er/weights.safetensors": bytes(range(256)) * 100,
        "ünï cödé/%2F file#?.txt": "grüße".encode(),
        "empty": b"",
        "skipped.tmp": b"x",
        ".gitignore": b"*.tmp\nout/\n",
        "out/deep/x": b"x",
    }
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    api.upload_folder(repo_id=repo, folder_path=source)
    kept = {name: content for name, content in files.items() if name[:4] not in ("skip", "out/")}
    arguments = {"endpoint": api.endpoint, "token": api.token, "cache_dir": tmp_path / "cache"}
    snapshot = Path(snapshot_download(repo, **arguments))
    got = {
        str(path.relative_to(snapshot)): path.read_bytes()
        for path in snapshot.rglob("*")
        if path.is_file()
    }
    got.pop(".gitattributes")
    assert got == kept
    assert snapshot.name == api.model_info(repo).sha
    for name, content in kept.items():
        assert Path(hf_hub_download(repo, name, **arguments)).read_bytes() == content
    weights = api.get_paths_info(repo, "deep/er/weights.safetensors")[0]
    assert weights.lfs is not None
    assert weights.lfs.size == weights.size == 25600
    # The next upload replaces what the pattern names, and nothing else.
    (source / "config.json").unlink()
    (source / "new.json").write_text("{}")
    api.upload_folder(repo_id=repo, folder_path=source, delete_patterns="*.json")
    assert set(api.list_repo_files(repo)) == {*kept, "new.json", ".gitattributes"} - {"config.json"}


def test_whose_hub_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "moxin_recipes.hub.server", "--root", str(tmp_path / "hub")]
    refused = subprocess.run(
        [*command, "--user", "a b"], capture_output=True, text=True, check=False
    )
    assert (refused.returncode, "--user" in refused.stderr) == (2, True)
    launcher.user_name(tmp_path / "hub", "ada")  # what --user does
    hub = Hub(tmp_path / "hub").start()
    api = hub.api()
    api.create_repo("moxin-org/other")
    who = api.whoami()
    assert (who["name"], [org["name"] for org in who["orgs"]]) == ("ada", ["moxin-org"])
    repo = api.create_repo("plain").repo_id
    assert repo == "ada/plain"
    assert api.list_repo_commits(repo)[0].authors == ["ada"]
    assert hub.stop() == 0


def test_ids_without_a_namespace(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    """As the public gpt2 has none; `moxin hub add … --as gpt2` makes them."""
    status, _, _ = hub.request("GET", "/api/models/gpt2", token=None)
    api.create_repo("_/gpt2", private=True)
    assert hub.request("GET", "/api/models/gpt2", token=None)[0] == status == 401  # still closed
    done = api.create_commit("gpt2", [_add("a/b.bin", b"\0x")], commit_message="seeded")
    api.create_branch("gpt2", branch="refs-are-paths/too")
    assert api.model_info("GPT2", revision="refs-are-paths/too").sha == done.oid
    assert api.model_info("gpt2").id == "gpt2"
    assert [entry.path for entry in api.list_repo_tree("gpt2", "a")] == ["a/b.bin"]
    got = hf_hub_download(
        "gpt2", "a/b.bin", endpoint=api.endpoint, token=api.token, cache_dir=tmp_path
    )
    assert Path(got).read_bytes() == b"\0x"
    assert "gpt2" in {info.id for info in api.list_models()}
    assert hub.request("GET", "/gpt2/resolve/main/a/b.bin", token=None)[0] == 401


def test_scheduler(api: HfApi, tmp_path: Path) -> None:
    with CommitScheduler(
        repo_id="local/scheduled", folder_path=tmp_path, every=60, hf_api=api, repo_type="dataset"
    ) as scheduler:
        with scheduler.lock:
            (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
        scheduler.trigger().result()
    assert "rows.jsonl" in api.list_repo_files("local/scheduled", repo_type="dataset")


def test_file_system(api: HfApi, repo: str) -> None:
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    with files.open(f"{repo}/data/a.txt", "w") as file:
        file.write("hello")
    files.pipe_file(f"{repo}/data/b.bin", bytes(10_000))
    assert files.ls(f"{repo}/data", detail=False) == [f"{repo}/data/a.txt", f"{repo}/data/b.bin"]
    assert files.cat_file(f"{repo}/data/b.bin", start=100, end=200) == bytes(100)
    assert files.glob(f"{repo}/**/*.txt") == [f"{repo}/data/a.txt"]
    assert files.info(f"{repo}/data/b.bin")["size"] == 10_000
    files.cp_file(f"{repo}/data/a.txt", f"{repo}/copy.txt")
    files.mv(f"{repo}/copy.txt", f"{repo}/moved.txt")
    files.rm(f"{repo}/data", recursive=True)
    assert files.find(repo) == [f"{repo}/.gitattributes", f"{repo}/moved.txt"]
    assert files.isdir(repo)
    assert not files.exists(f"{repo}/data")
    assert files.modified(f"{repo}/moved.txt")


def test_cards(hub: Hub, api: HfApi, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.who.endpoint)
    text = (
        "---\nlicense: apache-2.0\nbase_model: moxin-org/base\npipeline_tag: text-generation\n---\n"
    )
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=repo)
    info = api.model_info(repo)
    assert info.pipeline_tag == "text-generation"
    assert "base_model:moxin-org/base" in info.tags
    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    with pytest.raises(ValueError, match="never closed"):
        api.upload_file(
            path_or_fileobj=b"---\ntags: [a\n---\n", path_in_repo="README.md", repo_id=repo
        )
    assert ModelCard(text + "# A card").data.license == "apache-2.0"
    assert DatasetCard("---\nlicense: mit\n---\n").data.license == "mit"
    with pytest.raises(ValueError, match='"license" must be one of'):
        ModelCard("---\nlicense: my-own\n---\n").validate()
    with pytest.raises(ValueError, match='"model-index" must be an array'):
        api.create_commit(
            repo, [_add("README.md", "---\nmodel-index: foo\n---\n")], commit_message="no list"
        )
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        api.create_commit(repo, [_add("README.md", "# Only words")], commit_message="bare")


def test_what_is_not_there(hub: Hub, api: HfApi, repo: str) -> None:
    for missing in ("moxin-org/none", "gpt-none"):
        with pytest.raises(RepositoryNotFoundError):
            api.repo_info(missing, revision="main")
        with pytest.raises(RepositoryNotFoundError):
            list(api.list_repo_tree(missing))
        status, headers, _ = hub.request("GET", f"/{missing}/resolve/main/config.json")
        assert (status, headers["X-Error-Code"]) == (404, "RepoNotFound")
    with pytest.raises(RepositoryNotFoundError):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="moxin-org/none")
    status, _, body = hub.request("GET", f"/api/models/{repo}/xet-read-token/main")
    assert (status, b"no such endpoint" in body) == (404, True)
    assert hub.request("GET", "/api/agent-harnesses", token=None)[0] == 404
    assert hub.request("PATCH", f"/api/models/{repo}")[0] == 405


def test_auth_checks(hub: Hub, api: HfApi, repo: str) -> None:
    api.auth_check(repo)
    hub.api(hub.reader).auth_check(repo)
    assert hub.request("GET", f"/api/models/{repo}/auth-check/write")[0] == 200
    status, _, _ = hub.request("GET", f"/api/models/{repo}/auth-check/write", token=hub.reader)
    assert status == 403
    assert hub.request("GET", f"/api/models/{repo}/auth-check/write", token=None)[0] == 401
