"""The hand-off, against a running Hub: what is pushed once, pinned, found again, and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from moxin_recipes.hub import session
from moxin_recipes.hub.manifest import payload_digest, payload_files
from moxin_recipes.hub.pull import (
    Parent,
    commit_of,
    download,
    read_manifest,
    resolve,
    resolve_all,
)
from moxin_recipes.hub.push import move_tag, push
from moxin_recipes.recipe.fields import Reference

MANIFEST: dict[str, Any] = {
    "stage": "sft",
    "recipe_name": "30-sft",
    "recipe_file": "recipes/x/30-sft.yaml",
    "key": "k1",
    "recipe": {"stage": "sft"},
    "parents": [],
    "licenses": [],
    "code": {"version": "0"},
    "flags": {},
    "launcher": {},
    "libraries": {"python": "3"},
    "hardware": {"machine": "m", "cpus": 1, "gpus": [], "processes": 1},
    "seconds": 1.0,
    "summary": "A thing.",
}


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "weights.safetensors").write_bytes(bytes(200_000))
    (made / "inner" / "notes.txt").write_text("a note")
    (made / "state-abc").mkdir()
    (made / "state-abc" / "optimizer.pt").write_bytes(b"x")
    return made


def do(folder: Path, repo: str, key: str = "k1", **options: Any) -> str:
    return push(folder, repo, "model", {**MANIFEST, "key": key}, private=True, **options)


def test_a_push_carries_its_manifest_and_nothing_local(folder: Path) -> None:
    commit = do(folder, "push-a", tags=("sft", "done-k1"))
    parent = resolve(Reference("model_name_or_path", "model", "push-a", "sft"))
    assert parent.commit == commit
    assert parent.payload == payload_digest(payload_files(folder))
    there = download(parent)
    names = {p.relative_to(there).as_posix() for p in there.rglob("*") if p.is_file()}
    assert names == {
        ".gitattributes", "README.md", "inner/notes.txt", "moxin.json", "weights.safetensors"
    }  # fmt: skip
    manifest = json.loads((there / "moxin.json").read_text())
    assert manifest["files"]["inner/notes.txt"]["size"] == 6
    assert session.api().model_info("local/push-a").private


def test_the_same_push_is_not_made_twice(folder: Path) -> None:
    first = do(folder, "push-b", tags=("sft",))
    assert do(folder, "push-b", tags=("sft", "done-k1")) == first
    assert len(session.api().list_repo_commits("local/push-b")) == 2  # its creation, and the push
    assert do(folder, "push-b", key="k2") != first


def test_what_is_gone_from_the_folder_is_gone_from_the_tree(folder: Path) -> None:
    do(folder, "push-c")
    (folder / "inner" / "notes.txt").unlink()
    (folder / "more.json").write_text("{}")
    commit = do(folder, "push-c", tags=("sft",))
    files = session.api().list_repo_files("local/push-c", revision=commit)
    assert "inner/notes.txt" not in files
    assert "more.json" in files


def test_tags_move_and_scores_pushed_later_change_no_payload(folder: Path) -> None:
    first = do(folder, "push-d", tags=("sft",))
    (folder / "more.json").write_text("{}")
    second = do(folder, "push-d", key="k2", tags=("sft",))
    assert commit_of("local/push-d", "model", "sft") == second
    move_tag("local/push-d", "model", "sft", first)
    assert commit_of("local/push-d", "model", "sft") == first
    session.api().upload_file(
        path_or_fileobj=b"# card with scores", path_in_repo="README.md", repo_id="local/push-d"
    )
    head = resolve(Reference("models", "model", "push-d", "main"))
    before = read_manifest("local/push-d", "model", second)
    assert before
    assert head.payload == before["payload"]


@pytest.mark.parametrize(
    ("repo", "revision", "words"),
    [("push-none", "main", "no such repository"), ("push-a", "nowhere", "no such revision")],
)
def test_a_reference_that_leads_nowhere_names_its_key(
    folder: Path, repo: str, revision: str, words: str
) -> None:
    do(folder, "push-a")
    with pytest.raises(session.MissingError, match=words) as caught:
        resolve(Reference("dataset_name", "model", repo, revision))
    assert f"`dataset_name`: local/{repo}@{revision}" in str(caught.value)


def test_a_repository_without_a_manifest_is_known_by_its_files_but_the_card() -> None:
    api = session.api()
    api.create_repo("local/plain", exist_ok=True)

    def resolved(path: str, content: bytes) -> Parent:
        done = api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id="local/plain")
        found = resolve(Reference("k", "model", "plain", "main"))
        assert (found.repo, found.commit) == ("local/plain", str(done.oid))
        return found

    first = resolved("data/rows.bin", bytes(1000))
    assert first.payload.startswith("tree:")
    assert resolved("README.md", b"# Of another day").payload == first.payload
    assert resolved("data/more.txt", b"x").payload != first.payload


def test_all_results_of_a_repository_are_its_tags_and_weights(folder: Path) -> None:
    do(folder, "push-all", tags=("sft", "done-k1"))
    results = ["p-step-000001", "state-p"]
    for number, branch in enumerate((*results, "state-p-step-000001", "state-step-000001")):
        (folder / "weights.safetensors").write_bytes(bytes([number]))
        do(folder, "push-all", branch=branch)
    found = resolve_all([Reference("models", "model", "push-all", "*")])
    assert sorted(parent.revision for parent in found) == sorted([*results, "sft"])
