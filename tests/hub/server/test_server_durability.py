"""The last commit is whole whatever happens: kills, damage, garbage."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest
from dulwich.objects import Blob
from huggingface_hub import CommitOperationAdd, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError
from running_hub import Hub

from moxin_recipes.hub.server import maintenance
from moxin_recipes.hub.server.store import Store


class _Pusher(threading.Thread):
    """Commits a big and a small file again and again; remembers what was acknowledged."""

    def __init__(self, hub: Hub, name: str, stop: threading.Event) -> None:
        super().__init__(name=name)
        self.acknowledged: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.failures = 0
        self.unclear: list[BaseException] = []
        self._hub = hub
        self._stop_now = stop

    def run(self) -> None:
        api = self._hub.api()
        numbers = random.Random(self.name)
        for number in range(10_000):
            if self._stop_now.is_set():
                return
            files = {
                f"{self.name}/{number}.bin": numbers.randbytes(200_000),
                f"{self.name}/{number}.txt": str(number).encode(),
            }
            while not self._stop_now.is_set():
                operations = [CommitOperationAdd(path, data) for path, data in files.items()]
                try:
                    done = api.create_commit(
                        "moxin-org/killed", operations, commit_message=f"{self.name} {number}"
                    )
                except (HfHubHTTPError, OSError, RuntimeError, ValueError) as error:
                    self._note(error)
                else:
                    self.commits.append(done.oid)
                    self.acknowledged.update(files)
                    break

    def _note(self, error: BaseException) -> None:
        """A push may fail while there is no server; what the server says must be no 500."""
        self.failures += 1
        response = getattr(error, "response", None)
        if response is not None and response.status_code == 500:
            self.unclear.append(error)


class _TransportErrors(_Pusher):
    """As above, for a client whose connection errors are no OSError."""

    def run(self) -> None:
        while not self._stop_now.is_set():
            try:
                super().run()
            except Exception as error:
                if not type(error).__module__.startswith("http"):
                    raise
                self._note(error)


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_at_random_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    # The client waits up to 8 s before it tries again; here the server is back in one.
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.1)))
    hub = Hub(tmp_path / "hub").start()
    api = hub.api()
    api.create_repo("moxin-org/killed")
    moments = random.Random(7)
    stop = threading.Event()
    pushers = [_TransportErrors(hub, f"p{i}", stop) for i in range(3)]
    for pusher in pushers:
        pusher.start()
    try:
        for _ in range(kills):
            stop.wait(moments.uniform(0.1, 0.8))
            hub.kill()
            report = maintenance.fsck(hub.root)
            assert report.problems == []
            hub.start()
    finally:
        stop.wait(0.5)
        stop.set()
        for pusher in pushers:
            pusher.join()
    history = {commit.commit_id for commit in api.list_repo_commits("moxin-org/killed")}
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    for pusher in pushers:
        assert not pusher.unclear
        assert pusher.commits
        assert set(pusher.commits) <= history
        for path, content in pusher.acknowledged.items():
            assert files.cat_file(f"moxin-org/killed/{path}") == content
    hub.stop()
    assert maintenance.fsck(hub.root).problems == []


def test_what_a_kill_leaves_behind_is_swept(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub").start()
    api = hub.api()
    repo = api.create_repo("moxin-org/swept").repo_id
    hub.kill()
    folder = hub.root / "repositories/models/moxin-org/swept.git"
    expired = hub.root / "lfs/incoming" / ("0" * 32)
    expired.mkdir()
    rests = [
        folder / "refs/heads/main.lock",
        folder / "objects/tmp-1234",
        folder / "tmp-1234",
        hub.root / "lfs/incoming/tmp-1234",
        expired / "data",
        hub.root / "trash/tmp-1234",
    ]
    for path in rests:
        path.write_text("rest")
        os.utime(path, (0, 0))
    hub.start()
    assert not any(path.exists() for path in rests)
    assert not expired.exists()
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo)
    hub.stop()


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


def test_gc_takes_garbage_only(fresh_hub: Hub) -> None:
    api = fresh_hub.api()
    for name in ("kept", "squashed", "deleted"):
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
    api.create_tag("moxin-org/squashed", tag="v1", tag_message="kept", revision="main")
    api.create_commit(
        "moxin-org/squashed", [CommitOperationAdd("x.bin", b"\0new")], commit_message="new"
    )
    assert maintenance.gc(fresh_hub.root).files == 0
    api.delete_repo("moxin-org/deleted")
    api.delete_tag("moxin-org/squashed", tag="v1")
    api.super_squash_history("moxin-org/squashed")
    # Young garbage stays: it might belong to a commit on its way.
    assert maintenance.gc(fresh_hub.root) == maintenance.Gc()
    taken = maintenance.gc(fresh_hub.root, grace=-1)
    assert taken.files == 3 + 3  # what the deleted repository had, and the squashed one's past
    assert taken.objects > 10
    assert maintenance.fsck(fresh_hub.root).problems == []
    assert maintenance.gc(fresh_hub.root, grace=-1) == maintenance.Gc()
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    assert files.cat_file("moxin-org/kept/x.bin") == b"\0" + b"kept 2" * 100
    assert files.cat_file("moxin-org/squashed/shared.bin") == b"\0shared"
    assert len(api.list_repo_commits("moxin-org/kept")) == 4
