"""A stream on its way into a file: joined to large buffers, hashed as it is written."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from moxin_hub.errors import bad_request

_BUFFER = 1 << 20
_WRITTEN_BEHIND = 16 << 20  # bytes


class Sink:
    """Takes a stream into one region of a file: at most `size` bytes from `offset` on."""

    def __init__(self, path: Path, offset: int, size: int, hasher: hashlib._Hash | None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._position = offset
        self._end = offset + size
        self._sent_to_disk = offset
        self._hasher = hasher

    @property
    def hasher(self) -> hashlib._Hash:
        assert self._hasher is not None  # noqa: S101
        return self._hasher

    async def fill(self, chunks: AsyncIterator[bytes]) -> None:
        """Writes and hashes all chunks.

        Raises:
            HubError: 400 unless exactly `size` bytes came.
        """
        takers = (self._write, *([self._hasher.update] if self._hasher else []))
        await pour(chunks, takers, self._end - self._position)
        if self._position != self._end:
            raise bad_request("Fewer bytes came than were announced")

    def close(self) -> None:
        os.close(self._file)

    def write(self, data: bytes) -> None:
        """Appends to the region, and to what is hashed.

        Raises:
            HubError: 400 beyond its end.
        """
        self._write(memoryview(data))
        self.hasher.update(data)

    def _write(self, view: memoryview) -> None:
        if self._position + len(view) > self._end:
            raise bad_request("More bytes came than were announced")
        while view:
            written = os.pwrite(self._file, view, self._position)
            self._position += written
            view = view[written:]
        if self._position - self._sent_to_disk >= _WRITTEN_BEHIND:
            # Linux begins to write the range to the disk, without waiting for it; left to itself it
            # would keep gigabytes back, and the fsync at the end would take as long as the rest.
            length = self._position - self._sent_to_disk
            os.posix_fadvise(self._file, self._sent_to_disk, length, os.POSIX_FADV_DONTNEED)
            self._sent_to_disk = self._position


async def pour(
    chunks: AsyncIterator[bytes], takers: Sequence[Callable[[memoryview], None]], size: int
) -> None:
    """Hands the chunks, joined to 1 MiB, to each taker in a thread; `size` bytes are expected.

    Of two buffers one is filled while the other is taken. They are allocated once: buffers that
    grow, or come and go, cost more than the copy that they are for.
    """
    loop = asyncio.get_running_loop()
    length = max(1, min(_BUFFER, size))
    buffer, other = memoryview(bytearray(length)), None
    filled = 0
    taking: list[asyncio.Future[None]] = []
    try:
        async for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                count = min(length - filled, len(rest))
                buffer[filled : filled + count] = rest[:count]
                rest, filled = rest[count:], filled + count
                if filled == length:
                    await _finish(taking)
                    taking = [loop.run_in_executor(None, take, buffer) for take in takers]
                    buffer, other = other or memoryview(bytearray(length)), buffer
                    filled = 0
        await _finish(taking)
        taking = [loop.run_in_executor(None, take, buffer[:filled]) for take in takers]
        await _finish(taking)
    finally:
        if taking:
            await asyncio.wait(taking)  # never leave a thread writing to a file that is closed


async def _finish(taking: list[asyncio.Future[None]]) -> None:
    if taking:
        await asyncio.wait(taking)
        for taken in taking:
            taken.result()
