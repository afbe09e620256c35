"""A stand-in for the Hub's Jobs API, before an embedded Hub; a Job is a real process.

Addresses and fields are those of the unchanged client. What is no Job's goes to the Hub behind it,
and `/code.git/` is a repository, as a public host serves it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.busy_hub import Door, Handler

ENDED = ("COMPLETED", "CANCELED", "ERROR")


def gpu(name: str, model: str, count: int, memory: int, price: float) -> dict[str, Any]:
    """A machine as the Hub lists it; `memory` is GB of all GPUs, `price` dollars a minute."""
    accelerator = {"type": "gpu", "model": model, "quantity": str(count), "vram": f"{memory} GB"}
    accelerator["manufacturer"] = "Nvidia"
    return {**cpu(name, price), "accelerator": accelerator}


def cpu(name: str, price: float) -> dict[str, Any]:
    sizes = {"cpu": "2 vCPU", "ram": "16 GB", "ephemeralStorage": "50 GB", "prettyName": name}
    prices = {"unitCostMicroUSD": round(price * 1e6), "unitCostUSD": price, "unitLabel": "minute"}
    return {"name": name, **sizes, **prices, "accelerator": None}


HARDWARE = [
    cpu("cpu-basic", 0.01),
    gpu("t4-small", "T4", 1, 16, 0.5),
    gpu("a100-large", "A100", 1, 80, 0.04),
    gpu("a100x8", "A100", 8, 640, 0.3),
]


@dataclass
class Job:
    """What was asked for, what it said, and how it stands."""

    id: str
    namespace: str
    spec: dict[str, Any]
    stage: str = "RUNNING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def as_json(self) -> dict[str, Any]:
        kept = {key: self.spec.get(key) for key in ("dockerImage", "command", "flavor", "labels")}
        return {
            "id": self.id,
            **kept,
            "environment": self.spec["environment"],
            "secrets": sorted(self.spec.get("secrets", {})),
            "createdAt": "2026-01-01T00:00:00.000Z",
            "owner": {"id": "1", "name": self.namespace, "type": "user"},
            "status": {"stage": self.stage, "message": self.message},
        }


class JobsHub(Door):
    """`image` is the environment of a Job's process; without it Jobs go as `script` says.

    That is the lines of their log, their end, and its message.
    """

    def __init__(self, hub: str, folder: Path, image: dict[str, str] | None) -> None:
        super().__init__(hub)
        self.RequestHandlerClass = JobsHandler
        self.folder, self.image = folder, image
        self.jobs: list[Job] = []
        self.refused: tuple[int, str] | None = None  # what every start is answered with
        self.cuts: list[int] = []  # lines after which a stream of a log is cut off, one a stream
        self.script: tuple[list[str], str, str | None] = ([], "COMPLETED", None)

    def start(self, namespace: str, spec: dict[str, Any]) -> Job:
        job = Job(f"{len(self.jobs):024x}", namespace, spec)
        self.jobs.append(job)
        if self.image is None:
            job.lines = self.script[0]
        else:
            threading.Thread(target=self.work, args=(job, self.image), daemon=True).start()
        return job

    def work(self, job: Job, image: dict[str, str]) -> None:
        """Runs a Job's command to its end, or to its time-out."""
        place = self.folder / job.id
        place.mkdir(parents=True)
        job.process = subprocess.Popen(
            job.spec["command"],
            env={**image, **job.spec["environment"], **job.spec["secrets"], "TMPDIR": str(place)},
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        timer = threading.Timer(job.spec["timeoutSeconds"], self.time_out, [job])
        timer.start()
        for line in job.process.stdout or ():
            job.lines.append(line.rstrip("\n"))
        code = job.process.wait()
        timer.cancel()
        if job.stage == "RUNNING":
            job.stage = "ERROR" if code else "COMPLETED"
            job.message = f"Job failed with exit code: {code}." if code else None

    def time_out(self, job: Job) -> None:
        job.stage, job.message = "ERROR", "Job timeout"
        self.kill(job)

    def kill(self, job: Job) -> None:
        if job.process and job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)

    def log(self, job: Job) -> Iterator[str]:
        """The lines of a Job as they come, to its end."""
        if self.image is None:  # it ends when it has said all
            yield from job.lines
            _, job.stage, job.message = self.script
            return
        given = 0
        while True:
            over = job.stage in ENDED
            yield from job.lines[given:]
            given = max(given, len(job.lines))
            if over:
                return
            time.sleep(0.05)


class JobsHandler(Handler):
    server: JobsHub

    def answer(self) -> None:
        """A Job's answer, a file of the code, or what the Hub says."""
        path = urlsplit(self.path).path
        found = re.fullmatch(r"/api/jobs/([^/]+)(?:/([^/]+))?(?:/(\w+))?", path)
        if found:
            return self.of_jobs(*found.groups())
        if path.startswith("/code.git/"):
            file = self.server.folder / path.removeprefix("/")
            content = file.read_bytes() if file.is_file() else b""
            return self.reply(200 if file.is_file() else 404, {}, content)
        return super().answer()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def of_jobs(self, namespace: str, job_id: str | None, what: str | None) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        server = self.server
        server.asked[f"{self.command} jobs {what or ('one' if job_id else 'all')}"] += 1
        if namespace == "hardware":
            return self.say(HARDWARE)
        if job_id is None and self.command == "POST":
            if server.refused:
                return self.say({"error": server.refused[1]}, server.refused[0])
            return self.say(server.start(namespace, json.loads(body)).as_json())
        if job_id is None:
            asked = parse_qsl(urlsplit(self.path).query)
            stages = [value for key, value in asked if key == "stage"]
            labels = [tuple(value.split("=", 1)) for key, value in asked if key == "label"]
            return self.say(
                [
                    job.as_json()
                    for job in server.jobs
                    if job.namespace == namespace
                    and job.stage in stages
                    and set(labels) <= set(job.spec["labels"].items())
                ]
            )
        (job,) = [job for job in server.jobs if (job.namespace, job.id) == (namespace, job_id)]
        if what == "logs":
            return self.stream(job)
        if what == "cancel":
            job.stage = "CANCELED"
            server.kill(job)
        return self.say(job.as_json())

    def say(self, content: Any, status: int = 200) -> None:
        self.reply(status, {"content-type": "application/json"}, json.dumps(content).encode())

    def stream(self, job: Job) -> None:
        """Server-sent events; a cut stream ends amid a chunk."""
        with self.server.lock:
            cut = self.server.cuts.pop(0) if self.server.cuts else sys.maxsize
        self.send_response_only(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")  # said, or the client would ask on it again
        self.end_headers()
        self.close_connection = True
        for number, line in enumerate(self.server.log(job)):
            if number == cut:
                self.wfile.write(b"40\r\ndata: {")
                return
            event = {"timestamp": datetime.now(UTC).isoformat(), "data": line}
            data = f"data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


@contextmanager
def jobs_hub(hub: str, folder: Path, image: dict[str, str] | None = None) -> Iterator[JobsHub]:
    """A Hub with Jobs before the Hub at this address; its processes end with the block."""
    with JobsHub(hub, folder, image) as opened:
        thread = threading.Thread(target=opened.serve_forever, daemon=True)
        thread.start()
        try:
            yield opened
        finally:
            for job in opened.jobs:
                opened.kill(job)
            opened.shutdown()
