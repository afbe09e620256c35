"""The last commit is whole whatever happens: kills at any moment, power cuts."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi, HfFileSystem
from running_hub import Hub

from moxin_hub import maintenance
from moxin_hub.store import Store

# A client of its own process, as on a cluster: commits a big and a small file again and again, each
# time until it is acknowledged, and writes down every answer and every error as a line of JSON.
PUSHER = """
import json, random, sys, time
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import logging
logging.set_verbosity_error()
name, notes = sys.argv[1], open(sys.argv[2], "w", buffering=1)
# The client waits up to 8 s before it tries again; here the server is back in one.
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.1))
numbers, number, done = random.Random(name), 0, True
while True:
    if done:
        number += 1
        # In many small folders: each commit writes its folder anew, and fsck reads them all.
        stem = f"{name}/{number // 20}/{number}"
        files = {f"{stem}.bin": numbers.randbytes(200_000), f"{stem}.txt": str(number).encode()}
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    try:
        made = HfApi().create_commit(
            "moxin-org/killed", operations, commit_message=f"{name} {number}"
        )
        note = {"number": number, "commit": made.oid}
    except Exception as error:
        status = None
        for cause in (error, error.__cause__):
            response = getattr(cause, "response", None)
            status = status if response is None else response.status_code
        if isinstance(error, RuntimeError) and error.__cause__:  # a big file's upload
            error = error.__cause__
        kinds = [kind.__name__ for kind in type(error).__mro__]
        note = {"status": status, "kinds": kinds, "text": str(error)[-300:]}
    done = "commit" in note
    notes.write(json.dumps(note) + "\\n")
"""


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_at_random_moments(
    tmp_path: Path, kills: int, record_property: Callable[[str, object], None]
) -> None:
    hub = Hub(tmp_path / "hub").start()
    api = hub.api()
    api.create_repo("moxin-org/killed")
    moments = random.Random(7)
    notes = {f"p{n}": tmp_path / f"p{n}.jsonl" for n in range(3)}
    environment = {**os.environ, "HF_ENDPOINT": hub.who.endpoint, "HF_TOKEN": hub.who.token}
    pushers = [
        subprocess.Popen([sys.executable, "-c", PUSHER, name, str(path)], env=environment)
        for name, path in notes.items()
    ]
    try:
        deadline = time.monotonic() + 120
        while not all(path.exists() and '"commit"' in path.read_text() for path in notes.values()):
            assert not any(pusher.poll() for pusher in pushers)
            assert time.monotonic() < deadline, "a client has no commit acknowledged"
            time.sleep(0.05)
        for _ in range(kills):
            time.sleep(moments.uniform(0.1, 0.8))
            hub.kill()
            report = maintenance.fsck(hub.root)
            assert report.problems == []
            hub.start()
        time.sleep(1)
        assert not any(pusher.poll() for pusher in pushers), "a client gave up"
    finally:
        for pusher in pushers:
            pusher.kill()
            pusher.wait()
    acknowledged, failed = check_notes(api, notes)
    record_property("kills, acknowledged commits, clear errors", (kills, acknowledged, failed))
    hub.stop()
    assert maintenance.fsck(hub.root).problems == []


def check_notes(api: HfApi, notes: dict[str, Path]) -> tuple[int, int]:
    """What was acknowledged is there with its bytes, each error is clear: how many of both."""
    history = {commit.commit_id for commit in api.list_repo_commits("moxin-org/killed")}
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    acknowledged = failed = 0
    for name, path in notes.items():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        commits = [line for line in lines if "commit" in line]
        assert commits
        assert {line["commit"] for line in commits} <= history
        numbers = random.Random(name)
        for line in commits:
            number = line["number"]
            stem = f"moxin-org/killed/{name}/{number // 20}/{number}"
            assert files.cat_file(f"{stem}.bin") == numbers.randbytes(200_000)
            assert files.cat_file(f"{stem}.txt") == str(number).encode()
        errors = [line for line in lines if "commit" not in line]
        for error in errors:  # clear: there was nobody to answer, or the server says try again
            assert error["status"] in (None, 409, 412, 502, 503, 504), error
            assert error["status"] or "TransportError" in error["kinds"], error
        acknowledged, failed = acknowledged + len(commits), failed + len(errors)
    return acknowledged, failed


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


def test_nothing_is_left_to_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed was fsynced: files and folders, a file before the folder that names it."""
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    def inodes(*paths: Path) -> set[int]:
        return {path.stat().st_ino for path in paths}

    store = Store(tmp_path)
    repository = store.create("model", "local/kept", "public")
    folder = repository.folder
    assert inodes(folder, folder.parent, folder.parent.parent, *folder.rglob("*")) <= set(synced)
    head = repository.resolve("main")
    synced.clear()
    repository.move("refs/heads/steps/100", None, head)
    steps = folder / "refs/heads/steps"
    names = inodes(steps, steps.parent)
    assert names <= set(synced[synced.index((steps / "100").stat().st_ino) :])
    synced.clear()
    repository.delete("refs/heads/steps/100")
    assert inodes(folder / "refs/heads") <= set(synced)
    synced.clear()
    store.move(repository, "other/kept")
    moved = store.get("model", "other/kept").folder
    assert inodes(folder.parent, moved.parent, moved / "hub.json") <= set(synced)
