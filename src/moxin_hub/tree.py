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
        or max(lengths) > _LONGEST_NAME
        or sum(lengths) > _LONGEST_PATH
    ):
        raise HubError(422, f"Invalid path in repository: {path[:200]!r}")
    return path


def find(objects: Objects, root: ObjectID, path: str) -> Entry:
    """The entry at `path` ("" is the root).

    Raises:
        HubError: 404 (EntryNotFound) if there is none.
    """
    sha, mode = root, _FOLDER
    for name in path.split("/") if path else ():
        if not stat.S_ISDIR(mode):
            raise entry_not_found()
        try:
            mode, sha = objects.tree(sha)[name.encode(errors="surrogatepass")]
        except KeyError:
            raise entry_not_found() from None
    return Entry(path, sha, stat.S_ISDIR(mode))


def walk(objects: Objects, root: ObjectID, prefix: str, recursive: bool) -> Iterator[Entry]:
    """Entries under the tree `root`, each folder before what it holds, in git's order of names."""
    for name, mode, sha in objects.tree(root).iteritems():
        path = prefix + name.decode(errors="replace")
        is_folder = stat.S_ISDIR(mode)
        yield Entry(path, sha, is_folder)
        if is_folder and recursive:
            yield from walk(objects, sha, path + "/", True)


@dataclass
class Editor:
    """A tree that is being changed; only the folders that changes touch are read and rewritten."""

    objects: Objects
    base: ObjectID | None
    files: dict[bytes, tuple[int, ObjectID]] = field(init=False)
    folders: dict[bytes, Editor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        tree = self.objects.tree(self.base) if self.base is not None else Tree()
        self.files = {name: (mode, sha) for name, mode, sha in tree.iteritems()}

    def put(self, path: str, blob: ObjectID) -> None:
        """Places a blob; a folder of that name gives way to it, as a file does to a folder."""
        *parents, name = path.encode().split(b"/")
        editor = self
        for parent in parents:
            editor = editor._enter(parent) or editor._make(parent)
        editor.folders.pop(name, None)
        editor.files[name] = (_FILE, blob)

    def remove(self, path: str, folder: bool) -> None:
        """Takes away a file, or a folder with all it holds.

        A folder may be called a file, as by clients that cannot tell; a file no folder.

        Raises:
            HubError: 404 (EntryNotFound) if it is not there.
        """
        *parents, name = path.encode().split(b"/")
        editor: Editor | None = self
        for parent in parents:
            editor = editor._enter(parent) if editor else None
        if editor is not None:
            if name in editor.folders:
                del editor.folders[name]
                return
            mode, _ = editor.files.get(name, (None, None))
            if mode is not None and (stat.S_ISDIR(mode) or not folder):
                del editor.files[name]
                return
        kind = "folder" if folder else "file"
        raise entry_not_found(f"A {kind} with this name doesn't exist: {path}")

    def write(self) -> ObjectID:
        """Stores the changed trees and returns the new root; folders left empty are dropped."""
        tree = Tree()
        for name, (mode, sha) in self.files.items():
            tree.add(name, mode, sha)
        for name, editor in self.folders.items():
            if not editor.is_empty:
                tree.add(name, _FOLDER, editor.write())
        return self.objects.add(tree)

    @property
    def is_empty(self) -> bool:
        return not self.files and all(editor.is_empty for editor in self.folders.values())

    def _enter(self, name: bytes) -> Editor | None:
        if name not in self.folders:
            mode, sha = self.files.get(name, (None, None))
            if mode is None or not stat.S_ISDIR(mode):
                return None
            del self.files[name]
            self.folders[name] = Editor(self.objects, sha)
        return self.folders[name]

    def _make(self, name: bytes) -> Editor:
        self.files.pop(name, None)
        self.folders[name] = Editor(self.objects, None)
        return self.folders[name]
