"""Files on their way out: whole or in ranges, in constant memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moxin_hub.errors import HubError

_BUFFER = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Span:
    """The bytes [start, end) of a file of `size` bytes."""

    start: int
    end: int
    size: int

    @property
    def is_part(self) -> bool:
        return self.end - self.start < self.size


def requested(request: Request, size: int, etag: str) -> Span:
    """The range that a request asks for; several ranges, or none understood, mean the whole file.

    Raises:
        HubError: 416 if the range begins past the end.
    """
    whole = Span(0, size, size)
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or request.headers.get("if-range", etag) != etag:
        return whole
    first, last = match.groups()
    if (not first and not last) or max(len(first), len(last)) > 18:
        return whole
    if first and last and int(last) < int(first):
        return whole
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or (not first and int(last) == 0):
        error = HubError(416, "The range begins past the end of the file")
        error.headers["Content-Range"] = f"bytes */{size}"
        raise error
    return Span(start, end, size)


@dataclass
class FileResponse(Response):
    """Answers a span of a file, or of bytes at hand, a buffer at a time."""

    source: Path | bytes
    span: Span
    more_headers: dict[str, str] = field(default_factory=dict)
    is_head: bool = False

    def __post_init__(self) -> None:
        span = self.span
        super().__init__(status_code=206 if span.is_part else 200)
        self.headers.update(self.more_headers)
        self.headers["Content-Length"] = str(span.end - span.start)
        self.headers["Accept-Ranges"] = "bytes"
        if span.is_part:
            self.headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{span.size}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        # Opened before the first byte goes out, while an error can still be answered.
        file = None
        if isinstance(self.source, Path) and not self.is_head:
            file = await run_in_threadpool(os.open, self.source, os.O_RDONLY)
        try:
            start = {"type": "http.response.start", "status": self.status_code}
            await send({**start, "headers": self.raw_headers})
            position = self.span.end if self.is_head else self.span.start
            while position < self.span.end:
                count = min(_BUFFER, self.span.end - position)
                if file is None:
                    assert isinstance(self.source, bytes)  # noqa: S101
                    data = self.source[position : position + count]
                else:
                    data = await run_in_threadpool(os.pread, file, count, position)
                if not data:
                    raise OSError("a stored file is shorter than it was")
                position += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if file is not None:
                os.close(file)
