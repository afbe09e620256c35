"""A walk over repositories made by hand: what a Hub cannot read, pins of elsewhere, odd names."""

import json
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd

from moxin_recipes import environment
from moxin_recipes.audit import verify
from moxin_recipes.audit.verify import Walk
from moxin_recipes.hub import session
from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.hub.pull import Parent
from moxin_recipes.hub.session import api

NAMES = ["plain.txt", "ü b 中.txt", "a/b?c#d%20.txt", "model.safetensors"]


def made(repo: str, parents: list[dict[str, str]] | None = None, **more: bytes) -> Parent:
    """A repository of the stage `init` as far as its manifest says; its pin."""
    api().create_repo(repo, private=True, exist_ok=True)
    told = {"parents": parents or [], "licenses": [], "key": "k" * 64, "files": {}, "payload": "p"}
    content = {**{name: name.encode() * 9 for name in NAMES}, **more}
    content["moxin.json"] = json.dumps(told).encode()
    operations = [CommitOperationAdd(path, data) for path, data in content.items()]
    commit = api().create_commit(repo, operations, commit_message="Made").oid
    return Parent("models", "model", repo, "main", commit, "p")


def walked(pin: Parent) -> tuple[Walk, str]:
    walk = Walk()
    for _ in walk.run(pin):
        pass
    return walk, "\n".join(walk.report.faults)


@pytest.fixture(scope="module", autouse=True)
def _hub() -> None:
    session.start()


def test_a_file_that_the_hub_cannot_read_is_named_and_the_rest_is_read() -> None:
    below = made("local/walk-below")
    pin = made("local/walk-above", [below.as_dict()], **{"broken.safetensors": b"x" * 99})
    before, _ = walked(pin)
    lfs = environment.home() / "hub" / "lfs"
    wanted = [path for path in lfs.rglob("*") if path.is_file() and path.stat().st_size == 99]
    (held,) = [path for path in wanted if sha256_file(path) == path.name]
    held.unlink()
    held.mkdir()  # which nobody can read as a file
    after, faults = walked(pin)
    assert f"local/walk-above@{pin.commit[:12]}:broken.safetensors: " in faults
    assert "refused" in faults
    assert (after.report.revisions, after.report.files) == (2, before.report.files)
    assert after.report.size == before.report.size - 99
    others = [fault for fault in after.report.faults if fault not in before.report.faults]
    assert len(others) == 1


@pytest.mark.parametrize("of", ["another repository", "nowhere", "a deleted repository"])
def test_a_parent_that_is_not_where_it_is_pinned(of: str) -> None:
    other, gone = made("local/walk-other", extra=b"x"), made("local/walk-gone")
    pins: dict[str, dict[str, Any]] = {
        "another repository": {**gone.as_dict(), "commit": other.commit},
        "nowhere": {**gone.as_dict(), "commit": "0" * 40},
        "a deleted repository": gone.as_dict(),
    }
    pin = made("local/walk-child", [pins[of]])
    if of == "a deleted repository":
        api().delete_repo("local/walk-gone")
    _, faults = walked(pin)
    commit = pins[of]["commit"][:12]
    assert f"local/walk-gone@{commit}: it is not on the Hub, or closed to this token" in faults
    assert f"local/walk-child@{pin.commit[:12]} was made of it (`models`)" in faults


@pytest.mark.parametrize("commit", ["main", "refs/heads/main", "", "A" * 40, "../x"])
def test_a_pin_of_a_branch_is_no_manifest(commit: str) -> None:
    below = made("local/walk-below")
    pin = made("local/walk-branch", [{**below.as_dict(), "commit": commit}])
    _, faults = walked(pin)
    assert "moxin.json: it is no whole manifest" in faults


def test_a_moved_tag_is_named_though_its_payload_is_the_same() -> None:
    first = made("local/walk-tagged")
    api().create_tag("local/walk-tagged", tag="x", revision=first.commit)
    pin = made("local/walk-user", [{**first.as_dict(), "revision": "x"}])
    assert "has moved" not in walked(pin)[1]
    second = made("local/walk-tagged", extra=b"x")
    api().delete_tag("local/walk-tagged", tag="x")
    api().create_tag("local/walk-tagged", tag="x", revision=second.commit)
    assert f"local/walk-tagged: `x` has moved to {second.commit[:12]}" in walked(pin)[1]


def test_names_of_any_signs_are_read() -> None:
    walk, faults = walked(made("local/walk-names"))
    for name in NAMES:
        assert f"{name}: its moxin.json does not list it" in faults
    assert "what the Hub serves" not in faults
    assert "refused" not in faults
    assert walk.report.size > sum(len(name.encode()) * 9 for name in NAMES)
    assert verify.start("local/walk-names").repo == "local/walk-names"
