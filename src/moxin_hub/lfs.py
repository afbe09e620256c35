"""Big files: stored once under their sha256, received in a stream, visible only when verified."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from moxin_hub import durable
from moxin_hub.auth import UPLOAD_SECONDS
from moxin_hub.errors import HubError, bad_request
from moxin_hub.receiving import receive

# Files above it arrive in parts of this size, so that a broken connection costs one part only.
PART = 64 << 20
_MOST_PARTS = 1000
_OID = re.compile(r"[0-9a-f]{64}")
_RESERVE = 16 << 20  # bytes left free for the commit that follows an upload


@dataclass(frozen=True)
class Upload:
    """One announced object on its way in; the id belongs to one batch, never to two."""

    id: str
    oid: str
    size: int

    @property
    def part_size(self) -> int:
        """Bytes of each part but the last; the whole size for files that come in one piece."""
        if self.size <= PART:
            return max(self.size, 1)
        return max(PART, -(-self.size // _MOST_PARTS))

    @property
    def parts(self) -> int:
        return -(-self.size // self.part_size)


@dataclass
class _Progress:
    """How far the running hash has come; parts of one upload are received one after another."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    hashed: int = 0


class BigFiles:
    """The store of big files under one folder, shared by all repositories."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._incoming = folder / "incoming"
        for path in (self._objects, self._incoming):
            durable.make_folders(path)
        self._running: dict[str, _Progress] = {}

    def path(self, oid: str) -> Path:
        """Where the object is, or would be.

        Raises:
            HubError: 400 if `oid` is no sha256 in lower-case hexadecimal.
        """
        if not _OID.fullmatch(oid):
            raise bad_request("An object id is 64 hexadecimal digits")
        return self._objects / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int | None:
        """Bytes of a stored object, None if there is none."""
        try:
            return self.path(oid).stat().st_size
        except FileNotFoundError:
            return None

    def touch(self, oid: str) -> int | None:
        """As `size`, and keeps the collector away from the object while a commit is on its way."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path(oid))
        return self.size(oid)

    def announce(self, oid: str, size: int) -> Upload:
        """A new upload.

        Raises:
            HubError: 507 if the disk cannot hold it.
        """
        self.path(oid)
        if size + _RESERVE > shutil.disk_usage(self._incoming).free:
            raise HubError(507, f"No space left on the Hub's disk for {size} bytes")
        return Upload(secrets.token_hex(16), oid, size)

    async def receive(self, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
        """Stores an object that comes in one piece."""
        temporary, hasher = durable.temporary_name(self._incoming), hashlib.sha256()
        try:
            await receive(chunks, temporary, 0, upload.size, hasher)
            await run_in_threadpool(self._keep, temporary, upload, hasher.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)

    async def receive_part(self, upload: Upload, number: int, chunks: AsyncIterator[bytes]) -> str:
        """Stores part `number` (from 1) and returns its etag; a part may be sent again."""
        if not 1 <= number <= upload.parts:
            raise bad_request(f"This upload has parts 1 to {upload.parts}")
        folder = self._incoming / upload.id
        offset = (number - 1) * upload.part_size
        size = min(upload.part_size, upload.size - offset)
        progress = self._progress(upload)
        async with progress.lock:
            await run_in_threadpool(durable.make_folders, folder)
            # The file is hashed while it comes in, as long as the parts come in order, once each.
            hasher = progress.hasher.copy() if progress.hashed == offset else None
            progress.hashed = offset if hasher else -1
            await receive(chunks, folder / "data", offset, size, hasher)
            if hasher is not None:
                progress.hasher, progress.hashed = hasher, offset + size
            etag = secrets.token_hex(16)
            # Not fsynced: after a power cut the file is hashed anew, so a marker without its bytes
            # deceives nobody.
            await run_in_threadpool((folder / f"part-{number}").write_text, etag)
            return etag

    async def complete(self, upload: Upload, etags: dict[int, str]) -> None:
        """Verifies the parts (number → etag) and stores the object; saying it twice is no error."""
        progress = self._progress(upload)
        async with progress.lock:
            folder = self._incoming / upload.id
            if not folder.exists() and self.size(upload.oid) == upload.size:
                return
            await run_in_threadpool(self._assemble, folder, upload, etags, progress)
            self._running.pop(upload.id, None)

    def sweep(self) -> int:
        """Deletes what expired uploads left behind; returns how many files."""
        expired = time.time() - UPLOAD_SECONDS
        paths = (*self._incoming.glob("tmp-*"), *self._incoming.glob("*/*"))
        swept = sum(durable.remove_stale(path, expired) is not None for path in paths)
        for folder in self._incoming.iterdir():
            with contextlib.suppress(OSError):  # a file, or a folder in use
                folder.rmdir()
        return swept

    def __iter__(self) -> Iterator[str]:
        """The ids of all stored objects."""
        paths = self._objects.glob("*/*/*")
        return (path.name for path in paths if _OID.fullmatch(path.name))

    def _progress(self, upload: Upload) -> _Progress:
        while len(self._running) > 256:  # forgotten uploads; to forget one costs a second hashing
            idle = (name for name, running in self._running.items() if not running.lock.locked())
            if (name := next(idle, None)) is None:
                break
            del self._running[name]
        return self._running.setdefault(upload.id, _Progress())

    def _assemble(
        self, folder: Path, upload: Upload, etags: dict[int, str], progress: _Progress
    ) -> None:
        for number in range(1, upload.parts + 1):
            marker = folder / f"part-{number}"
            if not marker.exists() or marker.read_text() != etags.get(number):
                raise bad_request(f"Part {number} is missing or was replaced; send it again")
        if progress.hashed == upload.size:
            digest = progress.hasher.hexdigest()
        else:
            with (folder / "data").open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._keep(folder / "data", upload, digest)
        shutil.rmtree(folder)

    def _keep(self, temporary: Path, upload: Upload, digest: str) -> None:
        if temporary.stat().st_size != upload.size or digest != upload.oid:
            raise bad_request("The bytes received are not those that were announced")
        final = self.path(upload.oid)
        durable.make_folders(final.parent)
        durable.sync(temporary)
        temporary.rename(final)
        durable.sync(final.parent)


def parse_parts(body: object) -> dict[int, str]:
    """Part number → etag of a completion request's body."""
    try:
        parts = body["parts"]  # type: ignore[index]
        return {int(part["partNumber"]): str(part["etag"]).strip('"') for part in parts}
    except (KeyError, TypeError, ValueError) as error:
        raise bad_request("A completion lists its parts, each with a number and an etag") from error
