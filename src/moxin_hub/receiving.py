"""A stream on its way into a file: joined to large pieces, hashed as it is written."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

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
    loop = asyncio.get_running_loop()
    taking: list[asyncio.Future[object]] = []
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.seek(offset)
        takers: list[Callable[[bytes], object]] = [
            partial(_write, file),
            *([hasher.update] if hasher else []),
        ]
        try:
            async for piece in _joined(chunks):
                size -= len(piece)
                if size < 0:
                    raise bad_request("More bytes came than were announced")
                await _finish(taking)
                taking = [loop.run_in_executor(None, take, piece) for take in takers]
            await _finish(taking)
        finally:
            if taking:
                await asyncio.wait(taking)  # never leave a thread writing to a file that is closed
    if size:
        raise bad_request("Fewer bytes came than were announced")


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


async def _finish(taking: list[asyncio.Future[object]]) -> None:
    if taking:
        await asyncio.wait(taking)
        for taken in taking:
            taken.result()


def _write(file: BinaryIO, piece: bytes) -> None:
    file.write(piece)
    position = file.tell()
    if position % _WRITTEN_BEHIND < len(piece):
        # Linux begins to write the range to the disk, without waiting for it; left to itself it
        # would keep gigabytes back, and the fsync at the end would take as long as the rest.
        behind = min(position, 2 * _WRITTEN_BEHIND)
        os.posix_fadvise(file.fileno(), position - behind, behind, os.POSIX_FADV_DONTNEED)
