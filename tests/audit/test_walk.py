"""A walk over repositories made by hand: what a Hub cannot read, pins of elsewhere, odd names."""

import json
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd
from tests.audit.pushed import KINDS

from moxin_recipes import environment
from moxin_recipes.audit import replay, verify
from moxin_recipes.audit.verify import Walk
from moxin_recipes.hub import session
from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.hub.pull import Parent, resolve
from moxin_recipes.hub.retention import Retention, of_run
from moxin_recipes.hub.session import HubError, api
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.strict import RecipeError

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


def ran(learning_rate: str, *steps: int, keep: int = 9) -> None:
    """Pushes checkpoints to local/walk-run as a stage does, and its end."""
    repo, key = "local/walk-run", learning_rate * 64
    told = {"recipe_name": "30-sft", "key": key, "licenses": [], "parents": [], "files": {}}
    kept: dict[str, str] = {}
    for step in steps:
        branch = f"step-{step:06d}"
        _branch(repo, branch, {**told, "payload": f"{learning_rate}{step}"})
        Retention(keep).prune(repo, "model", branch, key)
        kept = of_run(repo, "model", branch, key)
    commit = _upload(repo, "main", {**told, "payload": "p", "checkpoints": kept})
    api().create_tag(repo, tag=f"done-{key[:12]}", revision=commit)


def _branch(repo: str, branch: str, told: dict[str, Any]) -> None:
    api().create_repo(repo, private=True, exist_ok=True)
    if any(ref.name == branch for ref in api().list_repo_refs(repo).branches):
        api().delete_branch(repo, branch=branch)
    api().create_branch(repo, branch=branch)
    _upload(repo, branch, told)


def _upload(repo: str, revision: str, told: dict[str, Any]) -> str:
    content = CommitOperationAdd("moxin.json", json.dumps(told).encode())
    return str(api().create_commit(repo, [content], commit_message="x", revision=revision).oid)


def about_checkpoints(tag: str) -> tuple[list[str], list[str]]:
    """Faults of the checkpoints of local/walk-run, and the names that another run took."""
    walk, _ = walked(resolve(Reference("models", "model", "local/walk-run", tag)))
    faults = [fault for fault in walk.report.faults if "step-" in fault]
    return faults, [text.split("`")[1] for text in walk.report.unchecked if "ran again" in text]


def test_a_stage_that_ran_again_took_the_names_of_its_checkpoints() -> None:
    first, last = f"done-{'a' * 12}", f"done-{'c' * 12}"
    ran("a", 3, 6, 9)
    assert about_checkpoints(first) == ([], [])
    ran("b", 3, 6)
    assert about_checkpoints(first) == ([], ["step-000003", "step-000006"])
    assert about_checkpoints(f"done-{'b' * 12}") == ([], [])
    ran("c", 3, 6, 9, keep=1)  # and 3 and 6 are gone
    names = ["step-000003", "step-000006", "step-000009"]
    assert about_checkpoints(first) == ([], names)
    assert about_checkpoints(last) == ([], [])


def test_checkpoints_that_no_other_run_took() -> None:
    tag = f"done-{'d' * 12}"
    ran("d", 3, 6, 9)
    told = {"recipe_name": "30-sft", "key": "d" * 64, "payload": "x"}
    for other in (told, {**told, "recipe_name": "31-dpo", "key": "e" * 64}):
        _branch("local/walk-run", "step-000009", other)
        (fault,), left = about_checkpoints(tag)
        assert ("`step-000009` is another one than" in fault, left) == (True, [])
    api().delete_branch("local/walk-run", branch="step-000009")
    (fault,), left = about_checkpoints(tag)
    assert ("`step-000009` is gone" in fault, left) == (True, [])


BROKEN: dict[str, Any] = {
    "a score": {"release": {"scores": [{"stage": "s", "measure": "m", "before": "x"}]}},
    "a time": {"release": {"costs": [{"stage": "s", "seconds": float("inf")}]}},
    "a number": {"scores": [{"low": 10**400, "high": 1}]},
    "half a sign": {"counts": {"\ud800": 1}},
    "a patch": {"code": {"patch": 5}},
    "patches": {"code": {"patch": ["x"]}},
    "a file": {"files": {"x": {"sha256": "y"}}},
    "threads": {"hardware": {"processes": 1, "threads": -1}},
}


@pytest.mark.parametrize("what", [*BROKEN, "too deep"])
def test_a_broken_manifest_is_one_line(what: str) -> None:
    repo, (_, _, sound) = "local/walk-broken", KINDS["a model"]
    api().create_repo(repo, private=True, exist_ok=True)
    told = {**sound, "parents": [], **BROKEN.get(what, {})}
    text = "[" * 100_000 if what == "too deep" else json.dumps(told)
    add = CommitOperationAdd("moxin.json", text.encode())
    commit = api().create_commit(repo, [add], commit_message="x").oid
    replayed_only = what in ("a patch", "patches", "threads")
    refused = "does not say how it was made" if replayed_only else repo
    with pytest.raises((RecipeError, HubError), match=refused):
        replay.Original.of(repo)
    _, faults = walked(Parent("models", "model", repo, "main", commit, "p"))
    assert ("it is no whole manifest" in faults) == (not replayed_only)


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
