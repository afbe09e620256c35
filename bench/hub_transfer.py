"""Sends one large file to the local Hub and back, and compares it with `cp` and fsync of the file.

    python -m bench hub_transfer [MIB]      1,024 MiB

The source lies in the page cache, if it fits there. `server` is the Hub's own rate, with a client
that only sends, or only receives into a file. `huggingface_hub` is its whole path, which reads and
hashes the file before it sends it. When the Hub answers, an upload is on the disk and its sha256 is
verified. No client fsyncs a download; the benchmark verifies its sha256 after the clock has
stopped. When a contender starts, nothing is left to write, and a file of the same size was just
deleted, because memory that was in use a moment ago is faster than other memory, above all in a
virtual machine. Server and client share the cores that the benchmark may use.
"""

import functools
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import in_rounds, spread
from bench.machine import machine
from moxin_hub import launcher

MIB, ROUNDS = 1 << 20, 5
REPO, NAME = "bench/large", "w.safetensors"


class Hub:
    """A server, a plain client for its protocol, and the server's memory."""

    def __init__(self, root: Path) -> None:
        from huggingface_hub import HfApi

        self.identity = launcher.identity(root)
        self.process = launcher.ensure(self.identity)
        self.api = HfApi(endpoint=self.identity.endpoint, token=self.identity.token)
        self.api.create_repo(REPO)

    def peak(self) -> int:
        """Returns the server's peak memory in MiB."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10

    def close(self) -> None:
        """Ends the server."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait()

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
        answer = self.ask("POST", f"/{REPO}.git/info/lfs/objects/batch", body).read()
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
        answer = self.ask("GET", f"/{REPO}/resolve/main/{NAME}")
        buffer = memoryview(bytearray(MIB))
        with into.open("wb", buffering=0) as file:
            while count := answer.readinto(buffer):
                file.write(buffer[:count])


def write_source(path: Path, size: int) -> str:
    """Writes a file of `size` MiB, whose pieces all differ; returns its sha256."""
    block, hasher = hashlib.sha512(b"seed").digest() * (MIB // 64), hashlib.sha256()
    with path.open("wb") as file:
        for number in range(size):
            piece = number.to_bytes(8, "big") + block[8:]
            hasher.update(piece)
            file.write(piece)
    return hasher.hexdigest()


def contenders(folder: Path, source: Path, hub: Hub, oid: str) -> dict[str, Callable[[], object]]:
    """Returns what each one does; a download ends as `folder`/w.safetensors."""
    from huggingface_hub import hf_hub_download

    def copy() -> None:
        subprocess.run(["cp", str(source), str(folder / NAME)], check=True)  # noqa: S607
        with (folder / NAME).open("rb") as file:
            os.fsync(file.fileno())

    def upload() -> None:
        path = f"{time.monotonic_ns()}/{NAME}"  # a file that is there is not sent
        hub.api.upload_file(path_or_fileobj=source, path_in_repo=path, repo_id=REPO)

    return {
        "cp, fsync": copy,
        "server, up": lambda: hub.put(source, oid),
        "huggingface_hub, up": upload,
        "server, down": lambda: hub.get(folder / NAME),
        "huggingface_hub, down": lambda: hf_hub_download(
            REPO, NAME, endpoint=hub.identity.endpoint, token=hub.identity.token, local_dir=folder
        ),
    }


def main() -> None:
    """Prints MiB/s of each contender, and its share of cp's rate in the same round."""
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 1024
    with tempfile.TemporaryDirectory(prefix="moxin-bench-", dir=os.environ.get("TMPDIR")) as name:
        folder, source = Path(name) / "got", Path(name) / "source"
        oid = write_source(source, size)
        hub = Hub(Path(name) / "hub")
        hub.api.upload_file(path_or_fileobj=source, path_in_repo=NAME, repo_id=REPO)

        def timed(contender: str, work: Callable[[], object]) -> float:
            if contender.endswith("up"):  # what is stored is not sent again
                shutil.rmtree(hub.identity.root / "lfs/objects")
            folder.mkdir()
            shutil.copyfile(source, folder / "deleted")
            (folder / "deleted").unlink()
            os.sync()
            start = time.monotonic()
            work()
            seconds = time.monotonic() - start
            if not contender.endswith("up"):
                with (folder / NAME).open("rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == oid
            shutil.rmtree(folder)
            return seconds

        works = contenders(folder, source, hub, oid)
        seconds = in_rounds(
            {each: functools.partial(timed, each, work) for each, work in works.items()}, ROUNDS
        )
        peak = hub.peak()
        hub.close()
    cores = len(os.sched_getaffinity(0))
    print(f"a file of {size} MiB, server and client on {cores} cores; medians of {ROUNDS}")
    print(machine("huggingface_hub", "uvicorn"))
    for contender, own in seconds.items():
        shares = [cp / mine for cp, mine in zip(seconds["cp, fsync"], own, strict=True)]
        rates = spread([size / each for each in own], 0)
        print(f"  {contender:22} {rates:>24} MiB/s   {spread(shares)} of cp")
    print(f"server's peak memory: {peak} MiB")
