"""Sends one large file to the local Hub and back, and compares it with `cp` and fsync of the file.

Run `python -m bench.hub_transfer [MIB [ROUNDS]]`. The source lies in the page cache, if it fits
there. `server` is the Hub's own rate, with a client that only sends, or only receives into a file.
`hub client` is huggingface_hub's whole path, which reads and hashes the file before it sends it.
When the Hub answers, an upload is on the disk and its sha256 is verified. No client fsyncs a
download; the benchmark verifies its sha256 after the clock has stopped. When a contender starts,
nothing is left to write, and a file of the same size was just deleted, because memory that was in
use a moment ago is faster than other memory, above all in a virtual machine. The result is the
ratio of medians.
"""

import hashlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from moxin_hub import launcher

MIB = 1 << 20


class Hub:
    """A server, a plain client for its protocol, and the server's memory."""

    def __init__(self, root: Path) -> None:
        from huggingface_hub import HfApi

        self.identity = launcher.identity(root)
        self.process = launcher.ensure(self.identity)
        self.api = HfApi(endpoint=self.identity.endpoint, token=self.identity.token)
        self.api.create_repo("bench/large")

    def peak(self) -> int:
        """Returns the server's peak memory in MiB."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10

    def ask(self, method: str, url: str, body: object = None) -> http.client.HTTPResponse:
        """Sends one request; a file as body is streamed."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", self.identity.port, blocksize=MIB)
        headers = {"Authorization": f"Bearer {self.identity.token}"}
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body, headers)  # type: ignore[arg-type]
        return connection.getresponse()

    def put(self, source: Path, oid: str) -> None:
        """Uploads in one part, as a client may do that does not ask for several."""
        size = source.stat().st_size
        request = {"operation": "upload", "transfers": ["basic"]}
        body = json.dumps({**request, "objects": [{"oid": oid, "size": size}]}).encode()
        answer = self.ask("POST", "/bench/large.git/info/lfs/objects/batch", body).read()
        href = json.loads(answer)["objects"][0]["actions"]["upload"]["href"]
        parts = urlsplit(href)
        connection = http.client.HTTPConnection("127.0.0.1", self.identity.port, blocksize=MIB)
        with source.open("rb") as file:
            connection.request(
                "PUT", f"{parts.path}?{parts.query}", file, {"Content-Length": str(size)}
            )
        assert connection.getresponse().status == 200

    def get(self, into: Path) -> None:
        """Downloads to a file with one buffer."""
        answer = self.ask("GET", "/bench/large/resolve/main/w.safetensors")
        buffer = memoryview(bytearray(MIB))
        with into.open("wb", buffering=0) as file:
            while count := answer.readinto(buffer):
                file.write(buffer[:count])


def contenders(
    folder: Path, source: Path, hub: Hub, oid: str
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields the name and the work of each contender, in the order of a round."""
    from huggingface_hub import hf_hub_download

    def copy() -> None:
        subprocess.run(["cp", str(source), str(folder / "copy")], check=True)  # noqa: S607
        with (folder / "copy").open("rb") as file:
            os.fsync(file.fileno())

    def check(path: Path) -> None:
        with path.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == oid
        path.unlink()

    def forget() -> None:
        """Deletes the stored objects, so that the next upload sends everything."""
        shutil.rmtree(hub.identity.root / "lfs/objects")

    repo, name = "bench/large", "w.safetensors"
    yield "cp, fsync", copy
    (folder / "copy").unlink()
    yield "server up", lambda: hub.put(source, oid)
    forget()
    yield (
        "hub client up",
        lambda: hub.api.upload_file(path_or_fileobj=source, path_in_repo=name, repo_id=repo),
    )
    yield "cp, fsync", copy
    (folder / "copy").unlink()
    yield "server down", lambda: hub.get(folder / "got")
    check(folder / "got")
    access = {"endpoint": hub.identity.endpoint, "token": hub.identity.token}
    yield (
        "hub client down",
        lambda: hf_hub_download(repo, name, **access, local_dir=folder / "down"),
    )
    check(folder / "down" / name)
    shutil.rmtree(folder / "down")
    forget()
    hub.api.delete_repo(repo)
    hub.api.create_repo(repo)


def main(size: int = 1024, rounds: int = 3) -> None:
    """Prints MiB/s of each contender, by round, and the ratios of medians."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="moxin-bench-", dir=os.environ.get("TMPDIR")) as name:
        folder, source = Path(name), Path(name) / "w.safetensors"
        block = hashlib.sha512(b"seed").digest() * (MIB // 64)
        hasher = hashlib.sha256()
        with source.open("wb") as file:
            for number in range(size):
                piece = number.to_bytes(8, "big") + block[8:]
                hasher.update(piece)
                file.write(piece)
        shutil.copyfile(source, folder / "deleted")  # as before later rounds
        (folder / "deleted").unlink()
        hub = Hub(folder / "hub")
        for _ in range(rounds):
            for contender, work in contenders(folder, source, hub, hasher.hexdigest()):
                os.sync()
                start = time.monotonic()
                work()
                seconds.setdefault(contender, []).append(time.monotonic() - start)
        peak = hub.peak()
    yardstick = statistics.median(seconds["cp, fsync"])
    for contender, times in seconds.items():
        rates = ", ".join(f"{size / t:.0f}" for t in times)
        ratio = yardstick / statistics.median(times)
        print(f"{contender:16} {ratio:.2f} of cp with fsync; {rates} MiB/s")
    print(f"server's peak memory: {peak} MiB, file of {size} MiB")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
