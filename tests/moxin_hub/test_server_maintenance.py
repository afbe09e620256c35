"""Care for a root: fsck finds all damage, gc takes garbage only, commits go on beside both."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dulwich.objects import Blob
from huggingface_hub import CommitOperationAdd, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError
from running_hub import Hub

from moxin_hub import maintenance
from moxin_hub.store import Store


def test_fsck_finds_every_kind_of_damage(fresh_hub: Hub) -> None:
    api = fresh_hub.api()
    repo = api.create_repo("moxin-org/damaged").repo_id
    contents = {f"{n}.bin": os.urandom(1000) for n in range(3)} | {"a.txt": b"text", "b.txt": b"b"}
    api.create_commit(
        repo, [CommitOperationAdd(*item) for item in contents.items()], commit_message="all"
    )
    infos = {info.path: info for info in api.get_paths_info(repo, list(contents))}
    fresh_hub.stop()
    report = maintenance.fsck(fresh_hub.root)
    assert report.problems == []
    assert (report.repositories, report.files, report.bytes) == (1, 3, 3000)
    store = Store(fresh_hub.root)
    objects = store.get("model", repo).objects
    lost, changed, short = (store.files.path(infos[f"{n}.bin"].lfs.sha256) for n in range(3))
    lost.unlink()
    changed.write_bytes(bytes(1000))
    short.write_bytes(short.read_bytes()[:-1])
    objects.loose_path(infos["a.txt"].blob_id.encode()).unlink()
    path = objects.loose_path(infos["b.txt"].blob_id.encode())
    path.write_bytes(Blob.from_string(b"not b").as_legacy_object())
    problems = "\n".join(maintenance.fsck(fresh_hub.root).problems)
    for name in (lost.name, changed.name, short.name):
        assert f"big file {name} is missing, damaged or not of 1000 bytes" in problems
    assert f"object {infos['a.txt'].blob_id} is missing" in problems
    assert f"object {infos['b.txt'].blob_id} is damaged" in problems
    with pytest.raises(RuntimeError, match="missing or damaged"):
        maintenance.gc(fresh_hub.root, grace=-1)  # it would not know what is garbage
    path.write_bytes(b"no zlib")
    problems = "\n".join(maintenance.fsck(fresh_hub.root).problems)
    assert f"object {infos['b.txt'].blob_id} is damaged" in problems


@pytest.mark.parametrize(
    ("content", "name"),
    [
        *((b"", "refs/heads/damaged"), (b"\n", "refs/heads/damaged"), (b"abc\n", "abc")),
        *((b"ref: refs/heads/none\n", "refs/heads/damaged"), (b"0" * 40 + b"\n", "0" * 40)),
        (b"ref: refs/heads/damaged\n", "refs/heads/damaged"),
    ],
)
def test_a_damaged_reference_is_no_licence_to_collect(
    tmp_path: Path, content: bytes, name: str
) -> None:
    """Nobody knows what it led to, which may be all that is garbage otherwise."""
    repository = Store(tmp_path).create("model", "local/damaged", "public")
    repository.move("refs/heads/damaged", None, repository.resolve("main"))
    (repository.folder / "refs/heads/damaged").write_bytes(content)
    assert maintenance.fsck(tmp_path).problems == [f"local/damaged: object {name} is missing"]
    with pytest.raises(RuntimeError, match=f"object {name} is missing or damaged"):
        maintenance.gc(tmp_path, grace=-1)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([sys.executable, "-m", "moxin_hub"], id="moxin_hub"),
        pytest.param([str(Path(sys.executable).with_name("moxin")), "hub"], id="moxin hub"),
    ],
)
def test_the_commands_say_what_they_did(fresh_hub: Hub, tmp_path: Path, command: list[str]) -> None:
    api = fresh_hub.api()
    repo = api.create_repo("moxin-org/said").repo_id
    api.upload_file(path_or_fileobj=b"\0big", path_in_repo="x.bin", repo_id=repo)

    def said(action: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [*command, action, "--root", str(fresh_hub.root)],
            env={**os.environ, "MOXIN_HOME": str(tmp_path / "home"), "MOXIN_HUB": "local"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    counts = "1 repositories, 6 objects, 1 big files, 4 bytes: 0 problems\n"
    nothing = "deleted 0 objects and 0 big files, 0 bytes, and 0 files of unfinished uploads\n"
    assert said("fsck") == (0, counts, "")
    assert said("gc") == (0, nothing, "")
    missing = "0" * 39 + "1"
    [head] = fresh_hub.root.glob("repositories/models/moxin-org/said.git/refs/heads/main")
    head.write_text(missing + "\n")
    code, out, _ = said("fsck")
    assert (code, out.splitlines()[-1]) == (1, f"{repo}: object {missing} is missing")
    assert said("gc") == (1, "", f"error: {repo}: object {missing} is missing or damaged\n")


def test_fsck_beside_a_push_and_a_lost_file_sent_again(
    fresh_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, store = fresh_hub.api(), Store(fresh_hub.root)
    repo = api.create_repo("moxin-org/mended").repo_id
    commit = api.upload_file(path_or_fileobj=b"\0big", path_in_repo="x.bin", repo_id=repo).oid
    [oid] = store.files
    with monkeypatch.context() as patch:  # listed before the push, checked after it
        patch.setattr(type(store.files), "__iter__", lambda _: iter(()))
        assert maintenance.fsck(fresh_hub.root).problems == []
    store.files.path(oid).unlink()
    assert len(maintenance.fsck(fresh_hub.root).problems) == 1
    again = api.upload_file(path_or_fileobj=b"\0big", path_in_repo="x.bin", repo_id=repo).oid
    assert again == commit
    assert maintenance.fsck(fresh_hub.root).problems == []


def test_gc_takes_garbage_only(fresh_hub: Hub) -> None:
    api = fresh_hub.api()
    for name in ("kept", "shortened", "deleted"):
        repo = api.create_repo(f"moxin-org/{name}").repo_id
        for version in range(3):
            content = f"{name} {version}".encode() * 100
            api.create_commit(
                repo,
                [
                    CommitOperationAdd("x.bin", b"\0" + content),
                    CommitOperationAdd("x.txt", content),
                    CommitOperationAdd("shared.bin", b"\0shared"),
                ],
                commit_message=str(version),
            )
    past = api.list_repo_commits("moxin-org/shortened")
    api.create_tag("moxin-org/shortened", tag="v1", tag_message="kept", revision="main")
    api.create_branch("moxin-org/shortened", branch="first", revision=past[-1].commit_id)
    assert maintenance.gc(fresh_hub.root).files == 0
    api.delete_repo("moxin-org/deleted")
    api.delete_tag("moxin-org/shortened", tag="v1")
    # As after a squash by an older Hub: the branch begins anew, without its past.
    main = fresh_hub.root / "repositories/models/moxin-org/shortened.git/refs/heads/main"
    main.write_text(past[-1].commit_id + "\n")
    api.create_commit(
        "moxin-org/shortened",
        [CommitOperationAdd("x.bin", b"\0new"), CommitOperationAdd("shared.bin", b"\0shared")],
        commit_message="new",
    )
    # Young garbage stays: it might belong to a commit on its way.
    assert maintenance.gc(fresh_hub.root) == maintenance.Gc()
    taken = maintenance.gc(fresh_hub.root, grace=-1)
    assert taken.files == 3 + 3  # what the deleted repository had, and the shortened one's past
    assert taken.objects > 10
    assert maintenance.fsck(fresh_hub.root).problems == []
    assert maintenance.gc(fresh_hub.root, grace=-1) == maintenance.Gc()
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    assert files.cat_file("moxin-org/kept/x.bin") == b"\0" + b"kept 2" * 100
    assert files.cat_file("moxin-org/shortened/shared.bin") == b"\0shared"
    assert len(api.list_repo_commits("moxin-org/kept")) == 4


def test_a_move_waits_for_a_collector(fresh_hub: Hub) -> None:
    fresh_hub.api().create_repo("moxin-org/before")
    store = Store(fresh_hub.root)  # as another process has it
    folder = fresh_hub.root / "repositories/models/moxin-org/before.git"
    with store.collecting(exclusive=True):
        mover = threading.Thread(
            target=fresh_hub.api().move_repo, args=("moxin-org/before", "moxin-org/after")
        )
        mover.start()
        mover.join(1)
        assert mover.is_alive()
        assert folder.exists()
    mover.join(30)
    assert not folder.exists()


def test_a_collector_that_spares_nothing_breaks_no_commit(fresh_hub: Hub) -> None:
    """Without any grace, again and again during commits: they fail clearly, or they are whole."""
    api = fresh_hub.api()
    repo = api.create_repo("moxin-org/collected").repo_id
    stop = threading.Event()
    collected = []

    def collect() -> None:
        pauses = random.Random(3)
        while not stop.wait(pauses.uniform(0, 0.2)):
            collected.append(maintenance.gc(fresh_hub.root, grace=-1))

    collector = threading.Thread(target=collect)
    collector.start()
    contents: dict[str, bytes] = {}
    refusals: list[str] = []
    try:
        while len(contents) < 20:
            number = len(contents) // 2
            files = {f"{number}.bin": b"\0%d" % number * 50_000, f"{number}.txt": b"%d" % number}
            operations = [CommitOperationAdd(*item) for item in files.items()]
            try:
                api.create_commit(repo, operations, commit_message=str(number))
            except HfHubHTTPError as error:
                refusals.append(str(error))
            else:
                contents |= files
    finally:
        stop.set()
        collector.join()
    assert collected
    assert all("not uploaded" in text or "send it again" in text for text in refusals)
    assert maintenance.fsck(fresh_hub.root).problems == []
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    for path, content in contents.items():
        assert files.cat_file(f"{repo}/{path}") == content
