"""A stream on its way into a file: joined to large pieces, hashed as it is written."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from moxin_hub.errors import bad_request

_PIECE = 1 << 20
_WRITTEN_BEHIND = 16 << 20  # bytes


async def receive(
    chunks: AsyncIterator[bytes], path: Path, offset: int, size: int, hasher: hashlib._Hash | None
) -> None:
    """Puts a stream of exactly `size` bytes into a file from `offset` on, and into the hash.

    Of two pieces one is hashed and written, in two threads, while the other comes in.

    Raises:
        HubError: 400 if fewer or more bytes come.
    """
    region = await run_in_threadpool(_Region, path, offset, size)
    takers = [region.write, *([hasher.update] if hasher else [])]
    loop = asyncio.get_running_loop()
    taking: list[asyncio.Future[None]] = []
    try:
        async for piece in _joined(chunks):
            await _finish(taking)
            taking = [loop.run_in_executor(None, take, piece) for take in takers]
        await _finish(taking)
        if region.rest:
            raise bad_request("Fewer bytes came than were announced")
    finally:
        if taking:
            await asyncio.wait(taking)  # never leave a thread writing to a file that is closed
        await run_in_threadpool(region.close)


async def _joined(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, joined to pieces of about 1 MiB."""
    waiting: list[bytes] = []
    length = 0
    async for chunk in chunks:
        waiting.append(chunk)
        length += len(chunk)
        if length >= _PIECE:
            yield b"".join(waiting)
            waiting, length = [], 0
    yield b"".join(waiting)


async def _finish(taking: list[asyncio.Future[None]]) -> None:
    if taking:
        await asyncio.wait(taking)
        for taken in taking:
            taken.result()


class _Region:
    """Some bytes of a file that are being written."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._position = self._sent_to_disk = offset
        self.rest = size

    def write(self, piece: bytes) -> None:
        if len(piece) > self.rest:
            raise bad_request("More bytes came than were announced")
        view = memoryview(piece)
        while view:
            written = os.pwrite(self._file, view, self._position)
            self._position += written
            self.rest -= written
            view = view[written:]
        if self._position - self._sent_to_disk >= _WRITTEN_BEHIND:
            # Linux begins to write the range to the disk, without waiting for it; left to itself it
            # would keep gigabytes back, and the fsync at the end would take as long as the rest.
            length = self._position - self._sent_to_disk
            os.posix_fadvise(self._file, self._sent_to_disk, length, os.POSIX_FADV_DONTNEED)
            self._sent_to_disk = self._position

    def close(self) -> None:
        os.close(self._file)
