"""One git repository of the Hub: its revisions, branches, tags and history."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dulwich.file import FileLocked
from dulwich.objects import Commit, ObjectID, Tag
from dulwich.refs import DiskRefsContainer, Ref, SymrefLoop, check_ref_format

from moxin_hub import durable
from moxin_hub.errors import HubError, bad_request, revision_not_found
from moxin_hub.objects import Objects

MAIN = "refs/heads/main"
# What stands for the namespace of repositories without one, such as the public gpt2, in folders and
# where a client insists on a namespace: _/gpt2.
NAMELESS = "_"
_SHA = re.compile(r"[0-9a-f]{40}")
_SHORT_SHA = re.compile(r"[0-9a-f]{7,39}")


@dataclass(frozen=True)
class Info:
    """What a repository's hub.json says; the folder's name has the lower-case id."""

    id: str  # NAMESPACE/NAME, as written by its maker
    type: str  # model or dataset; a space that an older Hub made stays, and is not served
    key: str  # the random `_id`, which survives a move
    created: str
    visibility: str = "public"
    gated: str | bool = False  # as an older Hub was told
    sdk: str | None = None  # of a space

    @property
    def is_private(self) -> bool:
        return self.visibility != "public" or bool(self.gated)

    @property
    def prefix(self) -> str:
        """What stands before the id in a URL."""
        return "" if self.type == "model" else f"{self.type}s/"

    @property
    def name(self) -> str:
        """The id with what stands before it."""
        return self.prefix + self.id

    @property
    def path(self) -> str:
        """The path of its address. Clients stumble over one without a namespace: they get `_`."""
        return self.prefix + (self.id if "/" in self.id else f"{NAMELESS}/{self.id}")


@dataclass(frozen=True)
class Reference:
    name: str  # without refs/heads/ and the like
    ref: str
    commit: str


class Repository:
    """A bare git repository; all moves of references go through compare-and-swap."""

    def __init__(self, folder: Path, info: Info, lock: threading.RLock, user: str) -> None:
        self.folder = folder
        self.info = info
        self.user = user  # who writes commits here
        self.lock = lock  # held by whoever changes references; one per repository
        self.objects = Objects(folder)
        self._refs = DiskRefsContainer(folder)

    def resolve(self, revision: str) -> ObjectID:
        """The commit of a branch, a tag, a full reference or a commit id (7 digits or more).

        Raises:
            HubError: 404 (RevisionNotFound).
        """
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        targets = [target for target in map(self.target, names) if target is not None]
        if _SHA.fullmatch(revision):
            targets = [ObjectID(revision.encode())]
        elif not targets and _SHORT_SHA.fullmatch(revision):
            targets = list(self.objects.store.iter_prefix(revision.encode()))
            targets = targets if len(targets) == 1 else []
        commit = self.objects.peel(targets[0]) if targets else None
        if commit is None:
            raise revision_not_found(revision)
        return commit

    def at(self, revision: str) -> Commit:
        """As `resolve`, the commit itself."""
        return self.objects.commit(self.resolve(revision))

    def target(self, ref: str) -> ObjectID | None:
        """What a full reference points at (for an annotated tag: the tag), None if missing."""
        with contextlib.suppress(HubError):  # a name that git refuses
            return self._follow(_encode(ref))
        return None

    def references(self, base: str) -> list[Reference]:
        """References under `base`, such as refs/heads/, main first, then by name."""
        references = []
        for key in self._refs.subkeys(Ref(base.encode())):
            name = key.decode(errors="replace")
            target = self.target(base + name)
            commit = self.objects.peel(target) if target is not None else None
            if commit is not None:
                references.append(Reference(name, base + name, commit.decode()))
        return sorted(references, key=lambda reference: (reference.ref != MAIN, reference.name))

    def tips(self) -> dict[bytes, ObjectID | None]:
        """What each reference points at, tags not followed; None where that cannot be read."""
        return {name: self._follow(name) for name in self._refs.allkeys() if name != b"HEAD"}

    def history(self, start: ObjectID) -> Iterator[Commit]:
        """A commit and its first parents, newest first."""
        parents = [start]
        while parents:
            commit = self.objects.commit(parents[0])
            yield commit
            parents = commit.parents

    def commit(self, tree: ObjectID, parents: list[ObjectID], message: str) -> ObjectID:
        """Writes a commit object; no reference points at it yet."""
        commit = Commit()
        commit.tree = tree
        commit.parents = parents
        commit.author = commit.committer = self._signature
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = message.encode(errors="replace")
        return self.objects.add(commit)

    def move(self, ref: str, old: ObjectID | None, new: ObjectID) -> None:
        """Points `ref` from `old` (None: it must not exist) to `new`.

        Raises:
            HubError: 400 for a name that git refuses, 409 if it exists and should not, 412 if it
                points elsewhere by now, or another process is about to move it.
        """
        name = _encode(ref)
        try:
            if old is None:
                if not self._refs.add_if_new(name, new):
                    raise HubError(409, f"Reference {ref} already exists")
            elif not self._refs.set_if_equals(name, old, new):
                raise stale_parent()
        except FileLocked:  # by git itself, at work in the folder
            raise stale_parent() from None
        self._sync(ref)

    def delete(self, ref: str) -> bool:
        """Removes a reference; False if there was none."""
        old = self.target(ref)
        gone = old is not None and self._refs.remove_if_equals(_encode(ref), old)
        if gone:
            self._sync(ref)
        return gone

    def tag(self, name: str, commit: ObjectID, message: str) -> None:
        """Creates a tag, annotated if it has a message."""
        target = commit
        if message:
            tag = Tag()
            tag.name = name.encode()
            tag.object = (Commit, commit)
            tag.tagger = self._signature
            tag.tag_time = int(time.time())
            tag.tag_timezone = 0
            tag.message = message.encode(errors="replace")
            target = self.objects.add(tag)
        self.move(f"refs/tags/{name}", None, target)

    def _follow(self, name: Ref) -> ObjectID | None:
        with contextlib.suppress(KeyError, ValueError, SymrefLoop):
            return self._refs[name]
        return None

    def _sync(self, ref: str) -> None:
        """Makes a change survive a power cut: dulwich syncs a reference's file, but no folder."""
        for folder in (self.folder / ref).parents:
            with contextlib.suppress(FileNotFoundError):  # empty folders go with their last one
                durable.sync(folder)
            if folder == self.folder:
                return

    @property
    def _signature(self) -> bytes:
        return f"{self.user} <{self.user}@localhost>".encode()


def check_name(name: str) -> str:
    """`name` if a branch or tag may be called so.

    Raises:
        HubError: 400 for names that git refuses, that look like a commit id or a full reference.
    """
    if name.startswith("refs/") or _SHA.fullmatch(name):
        raise bad_request(f"Invalid reference name: {name}")
    _encode(f"refs/heads/{name}")
    return name


def stale_parent() -> HubError:
    return HubError(
        412, "The branch was updated since you opened this page. Please refresh and try again."
    )


def committed_at(commit: Commit) -> str:
    """The time of a commit, in the form that clients parse."""
    return timestamp(commit.commit_time)


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def title_and_message(commit: Commit) -> tuple[str, str]:
    title, _, message = commit.message.decode(errors="replace").partition("\n")
    return title, message.strip()


def _encode(ref: str) -> Ref:
    """The reference as dulwich has it; HubError (400) for names that git refuses."""
    name = ref.encode(errors="replace")  # halves of surrogates become `?`, which git refuses
    too_long = len(name) > 1024 or any(len(part) > 240 for part in name.split(b"/"))
    if too_long or not name.startswith(b"refs/") or not check_ref_format(Ref(name[5:])):
        raise bad_request(f"Invalid reference name: {ref}")
    return Ref(name)
