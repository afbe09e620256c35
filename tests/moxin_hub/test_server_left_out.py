"""What this Hub leaves out is refused as the public one refuses, and kept where it exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import DisabledRepoError, HfHubHTTPError
from running_hub import Hub, add, read

from moxin_hub import maintenance
from moxin_hub.store import Store

_BIG = b"\0 bytes of a big file"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda api, repo: list(api.get_repo_discussions(repo)), "Discussions are disabled"),
        (lambda api, repo: api.create_pull_request(repo, title="t"), "Discussions are disabled"),
        (lambda api, repo: api.get_discussion_details(repo, 1), "Discussions are disabled"),
        (lambda api, repo: api.merge_pull_request(repo, 1), "Discussions are disabled"),
        (
            lambda api, repo: api.create_commit(
                repo, [add("x", "1")], commit_message="m", create_pr=True
            ),
            "Discussions are disabled",
        ),
        (lambda api, repo: api.super_squash_history(repo), "Squashing is disabled"),
        (lambda api, repo: list(api.list_lfs_files(repo)), "Rewriting history is disabled"),
        (
            lambda api, repo: api.update_repo_settings(repo, gated="auto"),
            "Gated access is disabled",
        ),
        (
            lambda api, repo: list(api.list_pending_access_requests(repo)),
            "Gated access is disabled",
        ),
    ],
)
def test_what_is_switched_off_says_so(
    api: HfApi, repo: str, ask: Callable[[HfApi, str], object], message: str
) -> None:
    head = api.model_info(repo).sha
    with pytest.raises(HfHubHTTPError, match=message) as caught:
        ask(api, repo)
    answer = caught.value.response
    assert answer.status_code == 403
    assert answer.headers["X-Error-Message"] == answer.json()["error"]
    assert message in answer.json()["error"]
    info = api.model_info(repo)
    assert (info.sha, info.gated) == (head, False)


def test_spaces_are_disabled(hub: Hub, api: HfApi) -> None:
    for ask in (
        lambda: api.create_repo("local/space", repo_type="space", space_sdk="static"),
        lambda: api.space_info("local/space"),
        lambda: list(api.list_spaces()),
        lambda: api.delete_branch("local/space", branch="x", repo_type="space"),
    ):
        with pytest.raises(DisabledRepoError):
            ask()
    for path in ("/spaces/local/space", "/spaces/local/space/resolve/main/README.md"):
        assert hub.request("GET", path)[0] == hub.request("GET", path, token=None)[0] == 403


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with what only an older Hub could make: a pull request, a gate, a space."""
    hub = Hub(tmp_path / "hub").start()
    api = hub.api()
    for name in ("asked", "gated", "space"):
        repo = api.create_repo(f"local/{name}").repo_id
        big = _BIG + name.encode()
        api.create_commit(repo, [add("big.bin", big), add("a.txt", name)], commit_message="all")
    hub.stop()
    models = hub.root / "repositories/models/local"
    # refs/pr/1 holds what main has no more.
    asked = models / "asked.git"
    store = Store(hub.root)
    past = list(store.get("model", "local/asked").history(_head(asked)))
    (asked / "refs/pr").mkdir()
    (asked / "refs/pr/1").write_text(past[0].id.decode() + "\n")
    (asked / "refs/heads/main").write_text(past[-1].id.decode() + "\n")
    (asked / "discussions").mkdir()
    (asked / "discussions/1.json").write_text('{"title": "A pull request"}')
    _change(models / "gated.git", gated="manual")
    spaces = hub.root / "repositories/spaces/local"
    spaces.mkdir(parents=True)
    (models / "space.git").rename(spaces / "space.git")
    _change(spaces / "space.git", type="space", sdk="gradio")
    return hub.root


def _head(folder: Path) -> bytes:
    return (folder / "refs/heads/main").read_bytes().strip()


def _change(folder: Path, **members: str) -> None:
    path = folder / "hub.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


def test_an_old_folder_keeps_what_it_has(old: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    report = maintenance.fsck(old)
    assert (report.problems, report.repositories, report.files) == ([], 3, 3)
    assert maintenance.gc(old, grace=-1) == maintenance.Gc()
    hub = Hub(old).start()
    api = hub.api()
    assert {model.id for model in api.list_models()} == {"local/asked", "local/gated"}
    assert api.list_repo_files("local/asked") == [".gitattributes"]
    # The pull request can still be read, and nothing be added to it.
    assert read(api, "local/asked", "big.bin", "refs/pr/1") == _BIG + b"asked"
    refs = api.list_repo_refs("local/asked", include_pull_requests=True).pull_requests
    assert [ref.ref for ref in refs or []] == ["refs/pr/1"]
    with pytest.raises(HfHubHTTPError, match="Revision Not Found"):
        api.create_commit("local/asked", [add("x", "1")], commit_message="m", revision="refs/pr/1")
    with pytest.raises(DisabledRepoError):
        api.space_info("local/space")
    status, _, page = hub.request("GET", "/", headers={"Accept": "text/html"})
    assert (status, b"local/space" in page) == (200, False)
    assert hub.stop() == 0
    assert maintenance.gc(old, grace=-1).objects == 1  # of the commit that was refused
    changed = {path for path, content in before.items() if path.read_bytes() != content}
    assert {path.name for path in changed} <= {"server.log"}


def test_what_was_gated_is_private(old: Path) -> None:
    hub = Hub(old).start()
    info = hub.api().model_info("local/gated")
    assert (info.private, info.gated) == (True, False)
    stranger = hub.api(False)
    assert not stranger.repo_exists("local/gated")
    assert [model.id for model in stranger.list_models()] == ["local/asked"]
    path = "/local/gated/resolve/main/a.txt"
    assert [hub.request("GET", path, token=t)[0] for t in ("", hub.reader, None)] == [200, 200, 401]
    # Whoever owns it may open it.
    hub.api().update_repo_settings("local/gated", private=False)
    assert stranger.model_info("local/gated").private is False
    assert hub.stop() == 0
