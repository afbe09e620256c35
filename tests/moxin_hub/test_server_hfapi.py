"""The Hub's endpoint table, seen through huggingface_hub's own clients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitScheduler,
    DatasetCard,
    HfApi,
    HfFileSystem,
    ModelCard,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RepositoryNotFoundError,
)
from running_hub import Hub, add

from moxin_hub import launcher


def test_whoami_and_roles(hub: Hub, api: HfApi) -> None:
    assert api.whoami()["name"] == "local"
    assert api.whoami()["auth"]["accessToken"]["role"] == "write"
    assert hub.api(hub.reader).whoami()["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError) as caught:
        hub.api("hf_wrong").whoami()
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_life_of_a_repository(api: HfApi, kind: str) -> None:
    name = f"some-org/Case-{kind}"
    url = api.create_repo(name, repo_type=kind, private=True)
    assert (url.repo_id, url.repo_type) == (name, kind)
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo(name.lower(), repo_type=kind)
    assert caught.value.response.status_code == 409
    # The id keeps its case, and is found in any.
    assert api.create_repo(name.lower(), repo_type=kind, exist_ok=True).repo_id == name
    info = api.repo_info(name.upper(), repo_type=kind)
    assert (info.id, info.author, info.private) == (name, "some-org", True)
    assert [sibling.rfilename for sibling in info.siblings] == [".gitattributes"]
    api.update_repo_settings(name, private=False, repo_type=kind)
    info = api.repo_info(name, repo_type=kind)
    assert (info.private, info.gated) == (False, False)
    api.move_repo(name, f"other-org/Moved-{kind}", repo_type=kind)
    assert (
        api.repo_info(name, repo_type=kind).id == f"other-org/Moved-{kind}"
    )  # the old id leads on
    with pytest.raises(RepositoryNotFoundError):  # but nobody deletes by a name that is gone
        api.delete_repo(name, repo_type=kind)
    moved = api.repo_info(f"other-org/Moved-{kind}", repo_type=kind)
    assert (moved.id, moved.sha) == (f"other-org/Moved-{kind}", info.sha)
    api.create_repo(name, repo_type=kind)
    with pytest.raises(HfHubHTTPError, match=rf"A {kind} repository called .* already"):
        api.move_repo(name, f"other-org/Moved-{kind}", repo_type=kind)
    assert api.repo_info(name, repo_type=kind).id == name  # the new one, now and for good
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
    command = [sys.executable, "-m", "moxin_hub", "--root", str(tmp_path / "hub")]
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
    done = api.create_commit("gpt2", [add("a/b.bin", b"\0x")], commit_message="seeded")
    api.create_branch("gpt2", branch="refs-are-paths/too")
    assert api.model_info("GPT2", revision="refs-are-paths/too").sha == done.oid
    assert api.model_info("gpt2").id == "gpt2"
    assert [entry.path for entry in api.list_repo_tree("gpt2", "a")] == ["a/b.bin"]
    got = hf_hub_download(
        "gpt2", "a/b.bin", endpoint=api.endpoint, token=api.token, cache_dir=tmp_path
    )
    assert Path(got).read_bytes() == b"\0x"
    assert "gpt2" in {info.id for info in api.list_models()}
    # One segment more could be a namespace and a name, too: as such it is found only without gpt2.
    branches = {ref.name for ref in api.list_repo_refs("gpt2").branches}
    assert branches == {"main", "refs-are-paths/too"}
    api.auth_check("gpt2")
    assert api.list_repo_refs(api.create_repo("nobody/refs").repo_id).branches
    assert api.model_info("nobody/refs").id == "nobody/refs"
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
    with pytest.raises(ValueError, match="line 3: while parsing a flow sequence"):
        api.upload_file(
            path_or_fileobj=b"---\ntags: [a\n---\n", path_in_repo="README.md", repo_id=repo
        )
    assert ModelCard(text + "# A card").data.license == "apache-2.0"
    assert DatasetCard("---\nlicense: mit\n---\n").data.license == "mit"
    with pytest.raises(ValueError, match='"license" must be one of'):
        ModelCard("---\nlicense: my-own\n---\n").validate()
    with pytest.raises(ValueError, match='"model-index" must be an array'):
        api.create_commit(
            repo, [add("README.md", "---\nmodel-index: foo\n---\n")], commit_message="no list"
        )
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        api.create_commit(repo, [add("README.md", "# Only words")], commit_message="bare")


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


def test_a_number_of_too_many_digits(hub: Hub, repo: str) -> None:
    for cursor in ("9" * 5000, "x", "-1", "%D9%A3"):
        assert hub.request("GET", f"/api/models/{repo}/tree/main?cursor={cursor}")[0] == 400
