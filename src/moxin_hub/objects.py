"""Git objects of one repository: read through dulwich, written so that they survive a stop."""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dulwich.object_store import DiskObjectStore, peel_sha
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tree

from moxin_hub import durable

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_LARGEST_POINTER = 200  # bytes
_MOST_KNOWN = 1 << 16
_MOST_TREES = 256
_Kind = TypeVar("_Kind", bound=ShaFile)


@dataclass(frozen=True)
class Content:
    """What a blob stands for: itself, or a big file (then `lfs` is its sha256)."""

    size: int  # bytes of the file a user sees
    lfs: str | None
    blob_size: int  # bytes of the git object: of the pointer, for a big file

    @property
    def about_lfs(self) -> dict[str, object]:
        """What clients are told if it is a big file; each has its own name for the digest."""
        if self.lfs is None:
            return {}
        digests = {"oid": self.lfs, "sha256": self.lfs}
        return {"lfs": {**digests, "size": self.size, "pointerSize": self.blob_size}}


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

    def commit(self, sha: ObjectID) -> Commit:
        return self._read(sha, Commit)

    def tree(self, sha: ObjectID) -> Tree:
        if sha not in self._trees:
            if len(self._trees) >= _MOST_TREES:
                self._trees.clear()
            self._trees[sha] = self._read(sha, Tree)
        return self._trees[sha]

    def blob(self, sha: ObjectID) -> bytes:
        return self._read(sha, Blob).data

    def peel(self, sha: ObjectID) -> ObjectID | None:
        """The commit that `sha` is, or that the tag `sha` points to; else None."""
        try:
            peeled = peel_sha(self.store, sha)[1]
        except (KeyError, ValueError):
            return None
        return peeled.id if isinstance(peeled, Commit) else None

    def content(self, sha: ObjectID) -> Content:
        """Size and kind of a blob, from its first bytes."""
        known = _KNOWN.get(sha)
        if known is None:
            if len(_KNOWN) >= _MOST_KNOWN:
                _KNOWN.clear()
            size, start = self._peek(sha)
            match = _POINTER.fullmatch(start[:size]) if size < _LARGEST_POINTER else None
            known = Content(int(match[2]), match[1].decode(), size) if match else None
            known = _KNOWN[sha] = known or Content(size, None, size)
        return known

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

    def _read(self, sha: ObjectID, kind: type[_Kind]) -> _Kind:
        thing = self.store[sha]
        if not isinstance(thing, kind):
            raise KeyError(sha)
        return thing
