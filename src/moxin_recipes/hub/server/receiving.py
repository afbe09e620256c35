"""A stream on its way into a file: joined to large buffers, hashed as it is written."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from moxin_recipes.hub.server.errors import bad_request

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
        """Writes all chunks; one buffer is filled while the one before is written and hashed.

        Raises:
            HubError: 400 unless exactly `size` bytes came.
        """
        await pour(chunks, self.write, self._end - self._position)
        if self._position != self._end:
            raise bad_request("Fewer bytes came than were announced")

    def close(self) -> None:
        os.close(self._file)

    def write(self, data: bytes | memoryview) -> None:
        """Appends to the region.

        Raises:
            HubError: 400 beyond its end.
        """
        if self._position + len(data) > self._end:
            raise bad_request("More bytes came than were announced")
        if self._hasher is not None:
            self._hasher.update(data)
        view = memoryview(data)
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
    chunks: AsyncIterator[bytes], write: Callable[[memoryview], None], size: int
) -> None:
    """Hands the chunks to `write` in a thread, joined to 1 MiB; `size` bytes are expected.

    Of two buffers one is filled while the other is written. They are allocated once: buffers that
    grow, or come and go, cost more than the copy that they are for.
    """
    loop = asyncio.get_running_loop()
    length = max(1, min(_BUFFER, size))
    buffer, other = memoryview(bytearray(length)), None
    filled = 0
    writing: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                taken = min(length - filled, len(rest))
                buffer[filled : filled + taken] = rest[:taken]
                rest, filled = rest[taken:], filled + taken
                if filled == length:
                    if writing is not None:
                        await asyncio.shield(writing)
                    writing = loop.run_in_executor(None, write, buffer)
                    buffer, other = other or memoryview(bytearray(length)), buffer
                    filled = 0
        if writing is not None:
            await asyncio.shield(writing)
        writing = loop.run_in_executor(None, write, buffer[:filled])
        await asyncio.shield(writing)
    finally:
        if writing is not None:
            await asyncio.wait({writing})  # never leave a thread writing to a file that is closed
