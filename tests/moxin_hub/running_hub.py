"""A real server process on a root, and the ways the tests talk to it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, HfFileSystem

from moxin_hub import launcher


@dataclass
class Hub:
    """A server of the root, started and stopped at will."""

    root: Path
    process: subprocess.Popen[bytes] | None = None
    who: launcher.Identity = field(init=False)

    def __post_init__(self) -> None:
        self.who = launcher.identity(self.root)

    def start(self) -> Hub:
        self.process = launcher.ensure(self.who)
        assert self.process is not None, "somebody else serves this root"
        return self

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    @property
    def log(self) -> str:
        return (self.root / "server.log").read_text()

    @property
    def reader(self) -> str:
        """The token that may read only."""
        return launcher.read_token(self.root)

    def api(self, token: str | bool | None = None) -> HfApi:
        return HfApi(endpoint=self.who.endpoint, token=self.who.token if token is None else token)

    def peak_memory(self) -> int:
        """The most memory the server ever held, in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = "",
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request as raw as http.client allows; token "" is the write token, None is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.who.port, timeout=30)
        given = dict(headers or {})
        if token is not None:
            given.setdefault("Authorization", f"Bearer {token or self.who.token}")
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask(self, request: bytes, whole: bool = True) -> bytes:
        """Sends bytes, whatever they are, and reads until the server closes.

        After a request that is not `whole` the server is told that there is no more.
        """
        with socket.create_connection(("127.0.0.1", self.who.port), timeout=30) as connection:
            answer = b""
            try:
                connection.sendall(request)
                if not whole:
                    connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(1 << 16):
                    answer += chunk
            except ConnectionError:
                pass  # it closes on what is no HTTP, at once
        return answer

    def run(self, script: str, *arguments: str, cache: Path) -> str:
        """Runs a Python script as a user of this Hub would, in a process of its own."""
        environment = {
            **os.environ,
            "HF_ENDPOINT": self.who.endpoint,
            "HF_TOKEN": self.who.token,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
        }
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            environment.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=environment,
            cwd=cache,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout


def add(path: str, content: bytes | str) -> CommitOperationAdd:
    """The operation that places a file."""
    data = content if isinstance(content, bytes) else content.encode()
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=data)


def read(api: HfApi, repo: str, path: str, revision: str = "main") -> bytes:
    """The bytes of a file."""
    file_system = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    return file_system.cat_file(f"{repo}@{revision.replace('/', '%2F')}/{path}")
