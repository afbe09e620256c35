"""`moxin hub mirror` between running Hubs: killed on the way, given again, and nothing differs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from mirroring import ALPHA, GSM8K, MORTAL, REPOS, commit, contents, moxin, seed
from running_hub import Hub

from moxin_hub import launcher, maintenance
from moxin_recipes.hub import mirror
from moxin_recipes.hub.session import HubError


def heads(hub: Hub) -> dict[str, str]:
    """The commit of each branch and tag of the model."""
    refs = hub.api().list_repo_refs(ALPHA[1])
    return {ref.ref: str(ref.target_commit) for ref in (*refs.branches, *refs.tags)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOXIN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def seeded(hub: Hub) -> Hub:
    api = hub.api()
    if not api.repo_exists(ALPHA[1]):
        seed(api)
    return hub


def until_done(home: Path, words: list[str], allowance: int, **variables: str) -> int:
    """Gives the command again and again, killed each time after some calls; how often it was."""
    for kills in range(100):
        moment = "late" if kills % 2 else "early"
        done = moxin(
            home, str(allowance), moment, "hub", "mirror", *words, script=MORTAL, **variables
        )
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stderr[-3000:]
            return kills
    raise AssertionError("it never ends")


@pytest.mark.parametrize(
    ("ends", "allowance"),
    [
        *(("addresses", 16), ("folders", 16)),
        *(pytest.param(ends, 8, marks=pytest.mark.soak) for ends in ("addresses", "folders")),
    ],
)
def test_killed_again_and_again_nothing_differs_but_ids(
    seeded: Hub, fresh_hub: Hub, tmp_path: Path, ends: str, allowance: int
) -> None:
    if ends == "folders":
        words, tokens = ["--from", str(seeded.root), "--to", str(fresh_hub.root)], {}
    else:
        words = ["--from", seeded.who.endpoint, "--to", fresh_hub.who.endpoint]
        tokens = {"MOXIN_FROM_TOKEN": seeded.reader, "MOXIN_TO_TOKEN": fresh_hub.who.token}
    words += [word for repo in REPOS for word in ("--repo", repo)]
    assert until_done(tmp_path, words, allowance, **tokens) > 1
    assert contents(fresh_hub) == {repo: contents(seeded)[repo] for repo in REPOS}
    assert set(heads(fresh_hub)) == set(heads(seeded))
    # Each of the four big files went over once, though they lie under many names and commits.
    assert fresh_hub.log.count("PUT '/lfs/upload' 200") == 4
    commits = fresh_hub.log.count("/commit/")
    done = moxin(tmp_path, "hub", "mirror", *words, **tokens)
    assert done.stderr.count("up to date") == len(REPOS), done.stderr
    assert fresh_hub.log.count("/commit/") == commits
    assert not list((tmp_path / "cache").rglob("*.part"))
    assert maintenance.fsck(fresh_hub.root).problems == []
    known = json.loads((tmp_path / "mirror.json").read_text())
    for ref, old in heads(seeded).items():
        new = known[f"{seeded.who.endpoint}/{ALPHA[1]}@{old}"]
        assert new == f"{fresh_hub.who.endpoint}/{ALPHA[1]}@{heads(fresh_hub)[ref]}"
    for secret in (seeded.reader, seeded.who.token, fresh_hub.who.token, "signature"):
        assert secret not in done.stdout + done.stderr


def here(source: Hub | str, target: Hub | str | Path, *repos: str) -> None:
    """The same in this process, which saves starting one; a Hub stands for its address."""
    ends = [
        mirror.End(None, hub.who.endpoint, hub.who.token)
        if isinstance(hub, Hub)
        else mirror.End.named(str(hub), "MOXIN_NO_TOKEN")
        for hub in (source, target)
    ]
    mirror.mirror(*ends, list(repos))


def refused(source: Hub | str, target: Hub | str | Path, *repos: str) -> str:
    """The one line that a mirror ends with."""
    with pytest.raises(HubError) as caught:
        here(source, target, *repos)
    assert "\n" not in str(caught.value)
    assert "hf_" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_mirrored_is_said_in_one_line(
    seeded: Hub, fresh_hub: Hub, home: Path
) -> None:
    roots, alpha = (str(seeded.root), str(fresh_hub.root)), ALPHA[1]
    done = moxin(home, "hub", "mirror", "--from", "lcoal", "--to", "hf")
    assert done.returncode == 1
    assert done.stderr.startswith("error: lcoal: not `local`, `hf`, a URL, or the path of a Hub")
    assert "same Hub" in refused(seeded, seeded)
    assert "no Hub in this folder" in refused(str(home / "none"), "local")
    assert "no such repository" in refused(*roots, "local/nothing")
    for name in ("alpha", "spaces/local/alpha"):
        assert "write NAMESPACE/NAME" in refused(*roots, name)
    assert "no such repository" in refused(seeded, fresh_hub, "openai/gsm8k")
    assert "no such repository" in refused(seeded.who.endpoint, fresh_hub, alpha)  # it is private
    assert "Name them with --repo" in refused(seeded.who.endpoint, fresh_hub)
    assert "MOXIN_TO_TOKEN" in refused(seeded, fresh_hub.who.endpoint, alpha)
    assert "does not answer" in refused("http://127.0.0.1:9", fresh_hub, alpha)
    # A public repository of that name would show what was private.
    api = fresh_hub.api()
    api.create_repo(alpha, private=False)
    assert "nothing was copied" in refused(*roots)
    assert "nothing was copied" in refused(seeded, fresh_hub, alpha)
    # What the target has on a branch, and the source has not, is not thrown away.
    api.update_repo_settings(alpha, private=True)
    kept = commit(api, ALPHA, "main", "of the target", **{"x.txt": b"x"})
    assert "branch main of" in refused(*roots, alpha)
    assert "branch main of" in refused(seeded, fresh_hub, alpha)
    assert api.model_info(alpha).sha == kept


def test_an_id_without_a_namespace_and_a_branch_left_by_a_kill(fresh_hub: Hub, home: Path) -> None:
    api, other = fresh_hub.api(), Hub(home / "other").start()
    try:
        api.create_repo("_/gpt2")
        kept = commit(api, ("model", "gpt2"), "main", "one", **{"a.txt": b"a", "b.bin": b"\0b"})
        api.create_tag("gpt2", tag="v1", revision=kept)
        here(str(fresh_hub.root), other)
        target = other.api()
        assert [model.id for model in target.list_models()] == ["gpt2"]
        # As after a kill between making the tag and taking its branch away; and one made by hand.
        for branch in (f"mirror-of-{kept}", "mirror-v1"):
            target.create_branch("gpt2", branch=branch, revision="v1")
        here(str(fresh_hub.root), other)
        branches = [ref.name for ref in target.list_repo_refs("gpt2").branches]
        assert branches == ["main", "mirror-v1"]
    finally:
        other.stop()


def test_what_is_gated_in_the_source_becomes_private(
    seeded: Hub, fresh_hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the public Hub: everybody sees it there, but not everybody may read it."""
    look = HfApi.repo_info

    def gated(api: HfApi, *args: object, **options: object) -> object:
        info = look(api, *args, **options)
        info.gated = "auto" if api.endpoint == seeded.who.endpoint else False
        return info

    monkeypatch.setattr(HfApi, "repo_info", gated)
    here(seeded, fresh_hub, REPOS[1])
    assert fresh_hub.api().dataset_info(GSM8K[1]).private
    fresh_hub.api().update_repo_settings(GSM8K[1], repo_type="dataset", private=False)
    assert "nothing was copied" in refused(seeded, fresh_hub, REPOS[1])


def test_damage_in_the_source_goes_nowhere(fresh_hub: Hub, home: Path) -> None:
    api = fresh_hub.api()
    api.create_repo("local/bad")
    commit(api, ("model", "local/bad"), "main", "files", **{"a.bin": b"\0 right"})
    [path] = fresh_hub.root.glob("lfs/objects/*/*/*")
    path.write_bytes(b"\0 wrong")
    other = home / "other"
    done = moxin(home, "hub", "mirror", "--from", str(fresh_hub.root), "--to", str(other))
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "a.bin does not have the digest that is listed for it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(other.glob("lfs/objects/*/*/*"))
    assert maintenance.fsck(other).problems == []


def test_a_full_disk_stops_it_and_loses_nothing(seeded: Hub, home: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
    script = full + "from moxin_recipes.cli import main; main()"
    words = ("hub", "mirror", "--from", str(seeded.root), "--to", str(home / "other"))
    words += ("--repo", "datasets/openai/gsm8k")
    done = moxin(home, *words, script=script)
    assert done.returncode == 1
    assert done.stderr.startswith("error: datasets/openai/gsm8k to http://127.0.0.1:")
    assert "disk is full; free some space" in done.stderr
    assert maintenance.fsck(home / "other").problems == []
    assert moxin(home, *words).returncode == 0
    assert maintenance.fsck(home / "other").files == 3


def test_a_mirror_goes_on_from_what_came_since(
    seeded: Hub, fresh_hub: Hub, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """New commits, a moved tag and a new branch follow; a local root given by path is started."""
    caplog.set_level("INFO")
    repo, old = ("model", "local/growing"), seeded.api()
    old.create_repo(repo[1])
    commit(old, repo, "main", "one", **{"w.bin": b"\0one"})
    old.create_tag(repo[1], tag="sft", revision="main")
    for source, target in ((seeded, fresh_hub), (str(seeded.root), home / "other")):
        here(source, target, repo[1])
    commit(old, repo, "main", "two", **{"w.bin": b"\0two"})
    old.delete_tag(repo[1], tag="sft")
    old.create_tag(repo[1], tag="sft", revision="main")
    old.create_branch(repo[1], branch="step-1", revision="main")
    caplog.clear()
    for source, target in ((seeded, fresh_hub), (str(seeded.root), home / "other")):
        here(source, target, repo[1])
    assert caplog.text.count("local/growing: 1 commits, 1 big files of 4 bytes sent") == 2
    wanted = contents(seeded, repo[1])
    assert contents(fresh_hub, repo[1]) == wanted
    started = launcher.identity(home / "other")
    assert launcher.answers(started)  # until this process ends
    assert contents(Hub(home / "other"), repo[1]) == wanted
