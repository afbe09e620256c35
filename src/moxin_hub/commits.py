"""A commit on its way in: newline-delimited JSON, one operation a line, nothing kept in memory."""

import base64
import binascii
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from dulwich.objects import Blob, ObjectID
from starlette.concurrency import run_in_threadpool

from moxin_hub.attributes import LARGEST_REGULAR
from moxin_hub.errors import HubError, bad_request, revision_not_found
from moxin_hub.objects import pointer
from moxin_hub.repository import Repository, stale_parent
from moxin_hub.store import Store
from moxin_hub.tree import Editor, check_path
from moxin_hub.web import member

_LONGEST_LINE = LARGEST_REGULAR * 4 // 3 + (64 << 10)  # bytes: the largest regular file in base64
LARGEST_COMMIT = 1 << 30  # bytes of a body


@dataclass
class Draft:
    """The operations read so far. Blobs are stored at once; they count only once referred to."""

    repository: Repository
    store: Store
    header: dict[str, Any] = field(default_factory=dict)
    # (path, blob) to place, or (path, whether it is a folder) to remove, in the order given
    changes: list[tuple[str, ObjectID | bool]] = field(default_factory=list)
    big: set[str] = field(default_factory=set)

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Takes in a whole body.

        Raises:
            HubError: 400 for what is no commit, 413 for lines or bodies beyond the limits.
        """
        buffer = bytearray()
        total = 0
        async for chunk in chunks:
            total += len(chunk)
            buffer += chunk
            if b"\n" in chunk:
                *lines, buffer = buffer.split(b"\n")
                await run_in_threadpool(self._take, lines)
            if len(buffer) > _LONGEST_LINE or total > LARGEST_COMMIT:
                raise HubError(413, "This commit is too large; big files are uploaded beforehand")
        await run_in_threadpool(self._take, [buffer])
        if not self.header:
            raise bad_request("A commit starts with a header")

    def finish(self, branch: str) -> ObjectID:
        """Writes the commit, moves the branch, and returns the commit's id.

        Without changes nothing is written and the head is returned, so that a client which missed
        an answer may send its commit again.

        Raises:
            HubError: 412 if the branch is no longer at the parent that the header names.
        """
        repository = self.repository
        text = f"{self.header['summary']}\n\n{member(self.header, 'description', str, '')}".strip()
        ref = branch if branch.startswith("refs/") else f"refs/heads/{branch}"
        with self.store.collecting(), repository.lock:
            head = repository.target(ref)
            if head is None or not ref.startswith("refs/heads/"):
                raise revision_not_found(branch)
            self._check_parent(head, text)
            self._still_there()
            old_tree = repository.objects.commit(head).tree
            tree = self._apply(old_tree)
            if tree == old_tree:
                return head
            new = repository.commit(tree, [head], text)
            repository.move(ref, head, new)
            return new

    def _take(self, lines: list[bytearray]) -> None:
        for line in lines:
            if not line.strip():
                continue
            key, value = _parsed(line)
            if key == "header":
                member(value, "summary", str)
                self.header = value
            elif not self.header:
                raise bad_request("A commit starts with a header")
            else:
                self._add(key, value)

    def _add(self, key: str, value: dict[str, Any]) -> None:
        path = member(value, "path", str)
        is_folder = key == "deletedFolder"
        check_path(path := path.rstrip("/") if is_folder else path)
        if key == "file":
            self.changes.append((path, self._store_file(value)))
        elif key == "lfsFile":
            self.changes.append((path, self._store_pointer(value)))
        elif is_folder or key == "deletedFile":
            self.changes.append((path, is_folder))
        else:
            raise bad_request(f"Unknown operation in a commit: {key[:50]!r}")

    def _store_file(self, value: dict[str, Any]) -> ObjectID:
        content = member(value, "content", str)
        try:
            is_base64 = member(value, "encoding", str, "base64") == "base64"
            data = base64.b64decode(content, validate=True) if is_base64 else content.encode()
        except (binascii.Error, ValueError):
            raise bad_request("The content of a file is base64") from None
        return self.repository.objects.add(Blob.from_string(data))

    def _store_pointer(self, value: dict[str, Any]) -> ObjectID:
        oid = member(value, "oid", str)
        size = self.store.files.touch(oid)
        if size is None or size != member(value, "size", int, size):
            raise bad_request(f"The big file {oid} was not uploaded")
        self.big.add(oid)
        return self.repository.objects.add(pointer(oid, size))

    def _check_parent(self, head: ObjectID, text: str) -> None:
        parent = member(self.header, "parentCommit", str, "").lower().encode()
        if not parent or head.startswith(parent):
            return
        commit = self.repository.objects.commit(head)
        if (
            any(old.startswith(parent) for old in commit.parents)
            and commit.message == text.encode(errors="replace")
            and commit.tree == self._apply(self.repository.objects.commit(commit.parents[0]).tree)
        ):
            return  # this very commit is the head: its answer was lost, and it is sent again
        raise stale_parent()

    def _still_there(self) -> None:
        """The collector may have run since the first line; nothing it took may be referred to."""
        blobs = [blob for _, blob in self.changes if not isinstance(blob, bool)]
        kept = all(self.repository.objects.touch(blob) for blob in blobs)
        if not kept or any(self.store.files.touch(oid) is None for oid in self.big):
            raise HubError(409, "Garbage was collected during this commit; send it again")

    def _apply(self, tree: ObjectID) -> ObjectID:
        editor = Editor(self.repository.objects, tree)
        for path, change in self.changes:
            if isinstance(change, bool):
                editor.remove(path, change)
            else:
                editor.put(path, change)
        return editor.write()


def _parsed(line: bytearray) -> tuple[str, dict[str, Any]]:
    """The `key` and the `value` of a line."""
    try:
        item = json.loads(line)
        key, value = item["key"], item["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise bad_request("Each line of a commit is an object with `key` and `value`") from None
    if not isinstance(key, str) or not isinstance(value, dict):
        raise bad_request("A commit's line has a name as its key and an object as its value")
    return key, value
