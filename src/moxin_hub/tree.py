"""Folders of a commit: listing them, and making a new tree out of an old one and some changes."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from dulwich.objects import ObjectID, Tree

from moxin_hub.errors import HubError, entry_not_found
from moxin_hub.objects import Objects

_FILE = 0o100644
_FOLDER = 0o040000
_LONGEST_NAME = 255  # bytes; what file systems take
_LONGEST_PATH = 4096
_DEEPEST = 250  # names of a path: one call within another each
_LARGEST_TEXT = 4 << 20  # bytes of what the Hub itself reads: cards, manifests, rules


@dataclass(frozen=True)
class Entry:
    """One path of a tree; `oid` is a blob's or a tree's."""

    path: str
    oid: ObjectID
    is_folder: bool


def check_path(path: str) -> str:
    """`path` if it may be stored in a repository.

    Raises:
        HubError: 422 for absolute paths, `.`, `..`, `.git`, empty names and control characters.
    """
    names = path.split("/")
    try:
        lengths = [len(name.encode()) for name in names]
    except UnicodeEncodeError:
        raise HubError(422, "A path is valid Unicode") from None
    if (
        any(name in ("", ".", "..") or name.lower() == ".git" for name in names)
        or path.startswith((".\\", "..\\"))  # what Windows takes for the folder above
        or any(ord(character) < 32 or ord(character) == 127 for character in path)
        or len(names) > _DEEPEST
        or max(lengths) > _LONGEST_NAME
        or sum(lengths) > _LONGEST_PATH
    ):
        raise HubError(422, f"Invalid path in repository: {path[:200]!r}")
    return path


def look(objects: Objects, root: ObjectID, path: str) -> Entry | None:
    """The entry at `path` ("" is the root), None if there is none."""
    sha, mode = root, _FOLDER
    for name in path.split("/") if path else ():
        if not stat.S_ISDIR(mode):
            return None
        try:
            mode, sha = objects.tree(sha)[name.encode(errors="surrogatepass")]
        except KeyError:
            return None
    return Entry(path, sha, stat.S_ISDIR(mode))


def find(objects: Objects, root: ObjectID, path: str) -> Entry:
    """As `look`.

    Raises:
        HubError: 404 (EntryNotFound) if there is none.
    """
    entry = look(objects, root, path)
    if entry is None:
        raise entry_not_found()
    return entry


def walk(objects: Objects, root: ObjectID, prefix: str, recursive: bool) -> Iterator[Entry]:
    """Entries under the tree `root`, each folder before what it holds, in git's order of names."""
    for name, mode, sha in objects.tree(root).iteritems():
        path = prefix + name.decode(errors="replace")
        is_folder = stat.S_ISDIR(mode)
        yield Entry(path, sha, is_folder)
        if is_folder and recursive:
            yield from walk(objects, sha, path + "/", True)


def files(objects: Objects, root: ObjectID) -> Iterator[Entry]:
    """All files under the tree `root`."""
    everything = walk(objects, root, "", recursive=True)
    return (entry for entry in everything if not entry.is_folder)


def read(objects: Objects, root: ObjectID, path: str) -> bytes:
    """A small file's bytes; b"" if it is not there, damaged, or too large to be looked into."""
    try:
        entry = find(objects, root, path)
        content = objects.content(entry.oid)
        is_text = content.lfs is None and content.size <= _LARGEST_TEXT
        return objects.blob(entry.oid) if is_text else b""
    except (HubError, KeyError):
        return b""


@dataclass
class Editor:
    """A folder that is being changed; only the folders that changes touch are read and rewritten.

    An entry is (mode, id) as the tree `base` has it, or the editor of a folder that was entered.
    """

    objects: Objects
    base: ObjectID | None = None
    entries: dict[bytes, tuple[int, ObjectID] | Editor] = field(init=False)

    def __post_init__(self) -> None:
        tree = self.objects.tree(self.base) if self.base is not None else Tree()
        self.entries = {name: (mode, sha) for name, mode, sha in tree.iteritems()}

    def put(self, path: str, blob: ObjectID) -> None:
        """Places a blob; a folder of that name gives way to it, as a file does to a folder."""
        *parents, name = path.encode().split(b"/")
        folder = self
        for parent in parents:
            inner = folder._enter(parent)
            if inner is None:
                inner = folder.entries[parent] = Editor(self.objects)
            folder = inner
        folder.entries[name] = (_FILE, blob)

    def remove(self, path: str, is_folder: bool) -> None:
        """Takes away a file, or a folder with all it holds.

        A folder may be called a file, as by clients that cannot tell; a file no folder.

        Raises:
            HubError: 404 (EntryNotFound) if it is not there.
        """
        *parents, name = path.encode().split(b"/")
        folder: Editor | None = self
        for parent in parents:
            folder = folder._enter(parent) if folder else None
        if folder is None or not (
            folder._enter(name) or (name in folder.entries and not is_folder)
        ):
            kind = "folder" if is_folder else "file"
            raise entry_not_found(f"A {kind} with this name doesn't exist: {path}")
        del folder.entries[name]

    def write(self) -> ObjectID:
        """Stores the changed trees and returns the new root; folders left empty are dropped."""
        tree = Tree()
        for name, entry in self.entries.items():
            if not isinstance(entry, Editor):
                tree.add(name, *entry)
            elif not entry.is_empty:
                tree.add(name, _FOLDER, entry.write())
        return self.objects.add(tree)

    @property
    def is_empty(self) -> bool:
        return all(isinstance(entry, Editor) and entry.is_empty for entry in self.entries.values())

    def _enter(self, name: bytes) -> Editor | None:
        """The editor of a folder in this one, None if there is no such folder."""
        entry = self.entries.get(name)
        if isinstance(entry, tuple) and stat.S_ISDIR(entry[0]):
            entry = self.entries[name] = Editor(self.objects, entry[1])
        return entry if isinstance(entry, Editor) else None
