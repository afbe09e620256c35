"""A push that was stopped anywhere is mended by the same push; nothing torn is taken as done."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd
from tests.hub.test_push_and_pull import MANIFEST

from moxin_recipes.hub import commits, manifest, pull, push, session
from moxin_recipes.recipe.fields import Reference

CLOSING = ("moxin.json", "README.md")
NAMES = [
    "weights-00001.safetensors",
    "weights-00002.safetensors",
    "config.json",
    "inner/notes.txt",
    "inner/rows.parquet",
]


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    for number, name in enumerate(NAMES):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(f"{name} ".encode() * 2000 + bytes(2000 * (number % 2)))
    return made


def do(folder: Path, repo: str, key: str = "k1", **options: Any) -> str:
    return push.push(folder, repo, "model", {**MANIFEST, "key": key}, private=True, **options)


def files(repo: str, revision: str) -> set[str]:
    listed = session.api().list_repo_files(f"local/{repo}", revision=revision)
    return set(listed) - {".gitattributes"}


def references(repo: str) -> dict[str, str]:
    refs = session.api().list_repo_refs(f"local/{repo}")
    return {ref.name: ref.target_commit for ref in (*refs.branches, *refs.tags)}


def head(repo: str) -> str:
    return references(repo)["main"]


def commit_count(repo: str, revision: str = "main") -> int:
    return len(session.api().list_repo_commits(f"local/{repo}", revision=revision))


def tear(folder: Path, repo: str, branch: str, seed: int) -> None:
    """Puts a random part of a push there, some of another version, and what is not its own."""
    rng = random.Random(seed)
    whole = manifest.write(folder, {**MANIFEST, "key": rng.choice(["k1", "k0"])})
    (folder / "README.md").write_text("# A card")
    everything = [*whole["files"], "moxin.json", "README.md"]
    there = {
        name: b"of another version" if rng.random() < 0.3 else (folder / name).read_bytes()
        for name in rng.sample(everything, rng.randrange(len(everything) + 1))
    }
    stray = ["stale.json", "inner/old/rows.bin", "moxin", ".gitignore", ".hidden/x", "state-a/b"]
    stray += [f"{name}/x" for name in everything if name not in there]  # a folder where a file goes
    stray += ["inner"] * all(not name.startswith("inner/") for name in there)
    for name in rng.sample(stray, 3):
        if not any(other.startswith(f"{name}/") for other in there):
            there[name] = b"*\n" if name == ".gitignore" else b"stale " * 1000
    api = session.api()
    api.create_repo(f"local/{repo}", exist_ok=True)
    api.create_branch(f"local/{repo}", branch=branch, exist_ok=True)
    operations = [CommitOperationAdd(name, content) for name, content in there.items()]
    api.create_commit(f"local/{repo}", operations, commit_message="torn", revision=branch)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("branch", ["main", "step-000100"])
def test_a_repeat_mends_any_torn_state(folder: Path, seed: int, branch: str) -> None:
    repo = f"torn-{seed}-{branch}"
    beside = branch != "main" and seed % 2
    tear(folder, repo, f"incoming-{branch}" if beside else branch, seed)
    commit = do(folder, repo, branch=branch, tags=("sft", "done-k1"))
    assert files(repo, branch) == {*NAMES, *CLOSING}
    commits.verify(folder, f"local/{repo}", "model", commit, manifest.payload_files(folder))
    refs = references(repo)
    assert {refs[name] for name in (branch, "sft", "done-k1")} == {commit}
    assert refs.keys() == {branch, "main", "sft", "done-k1"}
    count = commit_count(repo, branch)
    assert do(folder, repo, branch=branch) == commit
    assert commit_count(repo, branch) == count


class Killed(BaseException):
    """Stands for a kill -9."""


WRITES = ("create_commit", "create_branch", "delete_branch", "create_tag", "delete_tag")


def killed_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends after so many requests that change the Hub."""
    left = [writes]

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return method(*words, **options)

        return call

    for name in WRITES:
        monkeypatch.setattr(session.api(), name, wrapped(getattr(session.api(), name)))


def test_killed_after_any_request_it_is_whole_old_or_whole_new_and_can_be_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, branch, tags = "killed", "step-000100", ("sft", "done-k1")
    monkeypatch.setattr(commits, "FILES", 3)  # a series
    ended, writes = False, 0
    before = do(folder, repo, branch=branch, tags=tags)
    while not ended:
        writes += 1
        (folder / "config.json").write_text(f"version {writes} " * 1000)
        (folder / NAMES[0]).write_bytes(b"version %d" % writes * 5000)
        (folder / f"inner/new-{writes}.json").write_text("{}")
        (folder / f"inner/new-{writes - 1}.json").unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            killed_after(writes, patch)
            with contextlib.suppress(Killed):
                do(folder, repo, branch=branch, tags=tags)
                ended = True
        seen = references(repo)
        for name in {branch, *tags} & seen.keys():
            if seen[name] != before:
                there = pull.read_manifest(f"local/{repo}", "model", seen[name]) or {}
                commits.verify(folder, f"local/{repo}", "model", seen[name], there["files"])
        after = do(folder, repo, branch=branch, tags=tags)
        refs = references(repo)
        assert {refs[name] for name in (branch, *tags)} == {after}
        assert refs.keys() == {"main", branch, *tags}
        assert files(repo, after) == {*manifest.payload_files(folder), *CLOSING}
        before = after
    assert writes > 6


def test_main_says_that_it_is_unfinished_until_the_last_commit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "FILES", 2)
    for done in range(2):  # the first push, and one over another version
        (folder / NAMES[0]).write_bytes(bytes(done) * 9000)
        (folder / NAMES[1]).write_bytes(bytes(done) * 8000)
        (folder / NAMES[2]).write_text("{}" * done)
        with monkeypatch.context() as patch:
            killed_after(1, patch)
            with pytest.raises(Killed):
                do(folder, "unfinished", key=f"k{done}")
        with pytest.raises(session.MissingError, match="did not come to its end; run the stage"):
            pull.resolve(Reference("model_name_or_path", "model", "unfinished", "main"))
        commit = do(folder, "unfinished", key=f"k{done}")
        found = pull.resolve(Reference("model_name_or_path", "model", "unfinished", "main"))
        assert found.commit == commit


def test_what_is_no_manifest_is_neither_read_nor_taken_as_done(folder: Path) -> None:
    do(folder, "garbage")
    reference = Reference("models", "model", "garbage", "main")
    for content in (b"{", b"\xff\xfe", b"[]", b"{}"):
        session.api().upload_file(
            path_or_fileobj=content, path_in_repo="moxin.json", repo_id="local/garbage"
        )
        with pytest.raises(session.MissingError, match=r"garbage@.* did not come to its end"):
            pull.resolve(reference)
        commit = do(folder, "garbage")
        assert pull.resolve(reference).commit == commit == head("garbage")
