"""Big files: constant memory, parts, ranges, full disks, and nothing stored unverified."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from running_hub import Hub

from moxin_hub import auth, lfs, maintenance

MIB = 1 << 20


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _announce(hub: Hub, repo: str, content: bytes, size: int | None = None) -> dict[str, object]:
    """One object of a batch's answer."""
    oid = hashlib.sha256(content).hexdigest()
    wanted = {"oid": oid, "size": len(content) if size is None else size}
    body = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": [wanted]}
    path = f"/{repo}.git/info/lfs/objects/batch"
    status, _, answer = hub.request("POST", path, json.dumps(body).encode())
    assert status == 200, answer
    [found] = json.loads(answer)["objects"]
    return found


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@pytest.fixture
def repo(hub: Hub) -> str:
    return hub.api().create_repo("moxin-org/files", exist_ok=True).repo_id


@pytest.mark.parametrize("size", [200, pytest.param(4096, marks=pytest.mark.soak)])
def test_memory_stays_constant(
    fresh_hub: Hub, tmp_path: Path, size: int, record_property: Callable[[str, object], None]
) -> None:
    """`size` MiB up and down, against `cp` and its fsync on the same disk."""
    source = tmp_path / "weights.safetensors"
    block = hashlib.sha512(b"seed").digest() * (MIB // 64)
    with source.open("wb") as file:
        for number in range(size):
            file.write(number.to_bytes(8, "big") + block[8:])
    marks = [time.monotonic()]
    with (tmp_path / "copied").open("wb") as copied, source.open("rb") as original:
        shutil.copyfileobj(original, copied, MIB)
        copied.flush()
        os.fsync(copied.fileno())
    marks.append(time.monotonic())
    api = fresh_hub.api()
    repo = api.create_repo("moxin-org/large").repo_id
    api.upload_file(path_or_fileobj=source, path_in_repo="weights.safetensors", repo_id=repo)
    marks.append(time.monotonic())
    copy = hf_hub_download(
        repo,
        "weights.safetensors",
        endpoint=api.endpoint,
        token=api.token,
        local_dir=tmp_path / "copy",
    )
    marks.append(time.monotonic())
    for name, start, end in zip(("cp", "up", "down"), marks, marks[1:], strict=False):
        record_property(f"{name}, MiB/s", round(size / (end - start)))
    assert _digest(Path(copy)) == _digest(source)
    record_property("server, MiB", fresh_hub.peak_memory() // MIB)
    assert fresh_hub.peak_memory() < 100 * MIB
    [info] = api.get_paths_info(repo, "weights.safetensors")
    assert info.lfs is not None
    assert info.lfs.sha256 == _digest(source)
    # What is there already is not sent again.
    before = fresh_hub.log.count("PUT")
    api.upload_file(path_or_fileobj=source, path_in_repo="again.safetensors", repo_id=repo)
    assert fresh_hub.log.count("PUT") == before


def test_parts_may_be_sent_again(hub: Hub, repo: str) -> None:
    size = lfs.PART + 1000
    content = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    found = _announce(hub, repo, content)
    upload = found["actions"]["upload"]  # type: ignore[index]
    chunk = int(upload["header"].pop("chunk_size"))
    parts = [content[start : start + chunk] for start in range(0, size, chunk)]
    assert len(parts) == len(upload["header"]) == 2
    urls = [_target(upload["header"][name]) for name in sorted(upload["header"])]

    def finish(etags: list[str]) -> tuple[int, bytes]:
        listed = [{"partNumber": n, "etag": etag} for n, etag in enumerate(etags, 1)]
        body = json.dumps({"oid": found["oid"], "parts": listed}).encode()
        status, _, answer = hub.request("POST", _target(upload["href"]), body, token=None)
        return status, answer

    def put(number: int, data: bytes) -> tuple[int, str]:
        status, headers, _ = hub.request("PUT", urls[number], data, token=None)
        return status, headers.get("ETag", "")

    assert put(1, parts[1])[0] == 200  # out of order
    assert put(0, parts[0][:-5])[0] == 400  # cut short
    assert put(0, parts[0] + b"more")[0] == 400
    assert finish(["x", "y"])[0] == 400
    status, first = put(0, b"\xff" * chunk)  # the right length, the wrong bytes
    _, second = put(1, parts[1])
    assert status == 200
    status, answer = finish([first, second])
    assert (status, b"not those" in answer) == (400, True)
    _, newer = put(0, parts[0])
    assert finish([first, second])[0] == 400  # an etag of a part that was replaced
    assert finish([newer, second])[0] == 200
    assert finish([newer, second])[0] == 200  # the answer was lost, and asked for again
    assert "actions" not in _announce(hub, repo, content)
    stored = hub.root / "lfs/objects"
    assert _digest(next(stored.glob(f"*/*/{found['oid']}"))) == found["oid"]
    assert not [path for path in (hub.root / "lfs/incoming").iterdir() if path.is_dir()]


def test_bytes_are_verified_before_they_count(hub: Hub, repo: str) -> None:
    found = _announce(hub, repo, b"the right bytes")
    url = _target(found["actions"]["upload"]["href"])  # type: ignore[index]
    for wrong in (b"the wrong bytes", b"short", b"much too long for that"):
        assert hub.request("PUT", url, wrong, token=None)[0] == 400
    assert hub.request("PUT", url, b"the right bytes", token=None)[0] == 200
    assert not list((hub.root / "lfs/incoming").glob("tmp-*"))
    missing = hashlib.sha256(b"never sent").hexdigest()
    for operation in (
        {"path": "x", "algo": "sha256", "oid": missing, "size": 10},
        {"path": "x", "algo": "sha256", "oid": found["oid"], "size": 14},
        {"path": "x", "algo": "sha256", "oid": "../../token", "size": 14},
    ):
        lines = [
            {"key": "header", "value": {"summary": "s"}},
            {"key": "lfsFile", "value": operation},
        ]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        assert hub.request("POST", f"/api/models/{repo}/commit/main", body)[0] == 400
    assert "error" in _announce(hub, repo, b"", 1 << 44)  # no disk of ours holds it


def test_upload_urls_are_signed_and_expire(
    hub: Hub, repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _announce(hub, repo, b"signed")
    url = _target(found["actions"]["upload"]["href"])  # type: ignore[index]
    for forged in (
        url.replace("size=6", "size=7"),
        url.replace(found["oid"], "0" * 64),  # type: ignore[arg-type]
        url.replace("expires=", "expires=9"),
        url[:-4] + "0000",
        url.partition("?")[0],
        url + "&part=1",
    ):
        assert hub.request("PUT", forged, b"signed", token=None)[0] == 403
    monkeypatch.setattr(auth, "UPLOAD_SECONDS", -1)
    gate = auth.Gate(hub.who.token, hub.reader)
    late = gate.sign_upload("/lfs/upload", {"id": "0" * 32, "oid": found["oid"], "size": 6})  # type: ignore[dict-item]
    status, _, answer = hub.request("PUT", late, b"signed", token=None)
    assert (status, b"expired" in answer) == (403, True)
    assert hub.request("PUT", url, b"signed", token=None)[0] == 200


@pytest.mark.parametrize("name", ["big.bin", "small.txt"])
def test_ranges(hub: Hub, repo: str, name: str) -> None:
    content = bytes(range(48, 58)) * 100
    hub.api().upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo)
    path = f"/{repo}/resolve/main/{name}"
    for asked, start, end in (
        ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=990-", 990, 1000),
        ("bytes=-5", 995, 1000), ("bytes=990-5000", 990, 1000), ("bytes=-5000", 0, 1000),
    ):  # fmt: skip
        status, headers, body = hub.request("GET", path, headers={"Range": asked})
        assert body == content[start:end]
        if end - start < 1000:
            assert (status, headers["Content-Range"]) == (206, f"bytes {start}-{end - 1}/1000")
    for asked in ("bytes=1000-", "bytes=5000-6000", "bytes=-0"):
        status, headers, body = hub.request("GET", path, headers={"Range": asked})
        assert (status, headers["Content-Range"]) == (416, "bytes */1000")
    for asked in ("bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=", "bytes=-", "bytes=0-1,3-4"):
        status, _, body = hub.request("GET", path, headers={"Range": asked})
        assert (status, body) == (200, content)
    status, headers, body = hub.request("HEAD", path)
    assert (status, headers["Content-Length"], body) == (200, "1000", b"")
    assert headers["Accept-Ranges"] == "bytes"
    changed = {"Range": "bytes=0-1", "If-Range": '"another"'}
    assert hub.request("GET", path, headers=changed)[2] == content
    status, headers, _ = hub.request("HEAD", f"/{repo}/resolve/main/missing")
    assert (status, headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert headers["X-Repo-Commit"] == hub.api().model_info(repo).sha


def test_a_full_disk_changes_nothing(fresh_hub: Hub) -> None:
    api = fresh_hub.api()
    repo = api.create_repo("moxin-org/full").repo_id
    api.upload_file(path_or_fileobj=b"kept", path_in_repo="kept.txt", repo_id=repo)
    head = api.model_info(repo).sha
    assert fresh_hub.process is not None
    # To the server, a limit on the size of its files feels like a disk without room.
    limits = resource.prlimit(fresh_hub.process.pid, resource.RLIMIT_FSIZE)
    log = (fresh_hub.root / "server.log").stat().st_size
    resource.prlimit(fresh_hub.process.pid, resource.RLIMIT_FSIZE, (log + MIB, limits[1]))
    noise = hashlib.shake_256(b"noise").digest(8 * MIB)
    for name, content in (("big.bin", noise), ("plain.txt", noise.hex().encode()[: 9 * MIB])):
        with pytest.raises((HfHubHTTPError, RuntimeError)) as caught:
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo)
        cause = caught.value.__cause__ or caught.value
        response = getattr(caught.value, "response", None) or getattr(cause, "response", None)
        assert response is not None
        assert response.status_code == 507
    assert api.model_info(repo).sha == head
    resource.prlimit(fresh_hub.process.pid, resource.RLIMIT_FSIZE, limits)
    api.upload_file(path_or_fileobj=noise, path_in_repo="big.bin", repo_id=repo)
    assert fresh_hub.peak_memory() < 150 * MIB
    fresh_hub.stop()
    report = maintenance.fsck(fresh_hub.root)
    assert report.problems == []
    assert not list(fresh_hub.root.glob("lfs/incoming/tmp-*"))


def test_large_regular_files_are_committed_one_by_one(fresh_hub: Hub) -> None:
    """Text below the limit travels in the commit itself, 9 MiB a line; one line is held at most."""
    repo = fresh_hub.api().create_repo("moxin-org/texts").repo_id
    operations = [
        CommitOperationAdd(f"text-{n}.txt", bytes([65 + n]) * (9 * MIB)) for n in range(12)
    ]
    fresh_hub.api().create_commit(repo, operations, commit_message="108 MiB of text")
    status, _, body = fresh_hub.request("GET", f"/{repo}/resolve/main/text-3.txt")
    assert (status, body == b"D" * (9 * MIB)) == (200, True)
    assert fresh_hub.peak_memory() < 150 * MIB
