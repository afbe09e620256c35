"""Git objects of one repository: read through dulwich, written so that they survive a stop."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dulwich.object_store import DiskObjectStore
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree

from moxin_hub import durable

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_LARGEST_POINTER = 200  # bytes
_MOST_KNOWN = 1 << 16
_MOST_TREES = 256


@dataclass(frozen=True)
class Content:
    """What a blob stands for: itself, or a big file (then `lfs` is its sha256)."""

    size: int  # bytes of the file a user sees
    lfs: str | None
    blob_size: int  # bytes of the git object: of the pointer, for a big file


# The same id means the same bytes in every repository, for ever: one memory for all of them.
_KNOWN: dict[ObjectID, Content] = {}


def pointer(oid: str, size: int) -> Blob:
    """The git blob that stands for a big file."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
    return Blob.from_string(text.encode())


class Objects:
    """The object database in FOLDER/objects; loose objects, and packs if git made some."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "objects"
        self.store = DiskObjectStore(self._folder)
        self._trees: dict[ObjectID, Tree] = {}  # parsed once for a request, not once a path

    def add(self, thing: ShaFile) -> ObjectID:
        """Writes an object and returns its id; one that exists is kept from the collector."""
        if not self.touch(thing.id):
            path = self.loose_path(thing.id)
            durable.make_folders(path.parent)
            durable.write(path, thing.as_legacy_object(), via=self._folder)
        return thing.id

    def touch(self, sha: ObjectID) -> bool:
        """Keeps the collector away from an object; False if it is not there as a loose object."""
        try:
            os.utime(self.loose_path(sha))
        except FileNotFoundError:
            return False
        return True

    def loose_path(self, sha: ObjectID) -> Path:
        name = sha.decode()
        return self._folder / name[:2] / name[2:]

    def loose(self) -> Iterator[ObjectID]:
        """The ids of all loose objects."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            yield ObjectID((path.parent.name + path.name).encode())

    def get(self, sha: ObjectID) -> ShaFile | None:
        try:
            return self.store[sha]
        except (KeyError, ValueError):
            return None

    def commit(self, sha: ObjectID) -> Commit:
        found = self.store[sha]
        if not isinstance(found, Commit):
            raise KeyError(sha)
        return found

    def tree(self, sha: ObjectID) -> Tree:
        known = self._trees.get(sha)
        if known is not None:
            return known
        found = self.store[sha]
        if not isinstance(found, Tree):
            raise KeyError(sha)
        if len(self._trees) >= _MOST_TREES:
            self._trees.clear()
        self._trees[sha] = found
        return found

    def blob(self, sha: ObjectID) -> bytes:
        found = self.store[sha]
        if not isinstance(found, Blob):
            raise KeyError(sha)
        return found.data

    def peel(self, sha: ObjectID) -> ObjectID | None:
        """The commit that `sha` is, or that the tag `sha` points to; else None."""
        found = self.get(sha)
        while isinstance(found, Tag):
            found = self.get(found.object[1])
        return found.id if isinstance(found, Commit) else None

    def content(self, sha: ObjectID) -> Content:
        """Size and kind of a blob, from its first bytes."""
        known = _KNOWN.get(sha)
        if known is None:
            if len(_KNOWN) >= _MOST_KNOWN:
                _KNOWN.clear()
            known = _KNOWN[sha] = self._inspect(sha)
        return known

    def _inspect(self, sha: ObjectID) -> Content:
        size, start = self._peek(sha)
        if size < _LARGEST_POINTER and (found := _POINTER.fullmatch(start[:size])):
            return Content(int(found[2]), found[1].decode(), size)
        return Content(size, None, size)

    def _peek(self, sha: ObjectID) -> tuple[int, bytes]:
        """A blob's size and its first bytes: all of a pointer, at least."""
        try:
            with self.loose_path(sha).open("rb") as file:
                start = zlib.decompressobj().decompress(file.read(1024), 2 * _LARGEST_POINTER)
        except FileNotFoundError:
            data = self.blob(sha)
            return len(data), data[:_LARGEST_POINTER]
        header, _, data = start.partition(b"\0")
        return int(header.split()[1]), data
