"""A repository copied from one root to another: the same objects, so the same commit ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dulwich.objects import Blob, Commit, ObjectID, ShaFile

from moxin_hub.errors import HubError
from moxin_hub.maintenance import links
from moxin_hub.repository import MAIN, Reference, Repository
from moxin_hub.store import Store

_COPIED = ("refs/heads/", "refs/tags/")


@dataclass
class Copied:
    """What a copy sent; what the target had is not counted."""

    commits: int = 0
    files: int = 0  # big files
    bytes: int = 0  # of big files


def copy(
    source: Store, original: Repository, target: Store, passed: Callable[[int], None]
) -> Copied:
    """Gives `target` all branches and tags of a repository; stopped half-way, it can be repeated.

    Branches only move forward, tags move as they moved in the source, nothing is deleted. Every
    object is hashed on its way; references come last. `passed` hears of each piece's bytes.

    Raises:
        HubError: 409 for a branch with commits that the source lacks, 403 for a private repository
            that is public in the target; 507 if the disk is full.
        RuntimeError: an object of the source is missing or damaged.
    """
    with source.collecting(), target.collecting():
        there = _counterpart(original, target)
        moves = {}
        for base in _COPIED:
            # As elsewhere, the tags that say a stage is done come when all else is there.
            for reference in sorted(original.references(base), key=_says_done):
                new = original.target(reference.ref)
                old = there.target(reference.ref)
                if new is not None and new != old:
                    _check_move(original, there, reference.ref, old, new)
                    moves[reference.ref] = old, new
        report = Copied()
        seen: set[ObjectID] = set()
        for _, new in moves.values():
            for sha in _below(original, new, seen):
                _copy_object(source, original, target, there, sha, report, passed)
        with there.lock:
            for ref, (old, new) in moves.items():
                there.move(ref, old, new)
        return report


def _says_done(reference: Reference) -> bool:
    return reference.ref.startswith("refs/tags/done-")


def _counterpart(original: Repository, target: Store) -> Repository:
    """The repository of the same id in the target, made if missing."""
    info = original.info
    try:
        there = target.get(info.type, info.id)
    except HubError:
        there = target.create(info.type, info.id, info.visibility, info.sdk)
        target.update(there, gated=info.gated, created=info.created)
    if info.is_private and not there.info.is_private:
        raise HubError(403, "it is private here and public there; nothing was copied")
    return there


def _check_move(
    original: Repository, there: Repository, ref: str, old: ObjectID | None, new: ObjectID
) -> None:
    """A branch of the target may move if no commit is lost by it, but the one it was made with."""
    if old is None or ref.startswith("refs/tags/") or (ref == MAIN and _is_pristine(there, old)):
        return
    if old not in _commits(original, new):
        branch = ref.removeprefix("refs/heads/")
        raise HubError(409, f"branch {branch} has commits there which it has not here")


def _is_pristine(there: Repository, head: ObjectID) -> bool:
    """Whether nothing was committed since the Hub made the repository."""
    commit = there.objects.commit(head)
    return not commit.parents and commit.message == b"initial commit"


def _commits(original: Repository, tip: ObjectID) -> set[ObjectID]:
    """A commit and all its ancestors."""
    found: set[ObjectID] = set()
    pending = [tip]
    while pending:
        sha = pending.pop()
        if sha not in found:
            found.add(sha)
            pending += original.objects.commit(sha).parents
    return found


def _below(original: Repository, tip: ObjectID, seen: set[ObjectID]) -> Iterator[ObjectID]:
    """What `tip` leads to, and `tip`: each object after those it names, none of `seen`."""
    pending = [(tip, False)]
    while pending:
        sha, is_complete = pending.pop()
        if is_complete:
            yield sha
        elif sha not in seen:
            seen.add(sha)
            pending.append((sha, True))
            pending += [(link, False) for link in links(_read(original, sha))]


def _read(original: Repository, sha: ObjectID) -> ShaFile:
    """An object, hashed anew."""
    try:
        stored = original.objects.store[sha]
        thing = ShaFile.from_raw_string(stored.type_num, stored.as_raw_string())
    except Exception as error:  # damage takes many forms in a parser
        raise RuntimeError(f"object {sha.decode()} is missing or damaged") from error
    if thing.id != sha:
        raise RuntimeError(f"object {sha.decode()} is damaged")
    return thing


def _copy_object(
    source: Store,
    original: Repository,
    target: Store,
    there: Repository,
    sha: ObjectID,
    report: Copied,
    passed: Callable[[int], None],
) -> None:
    thing = _read(original, sha)
    content = original.objects.content(sha) if isinstance(thing, Blob) else None
    if content and content.lfs and target.files.touch(content.lfs) != content.size:
        path = source.files.path(content.lfs)
        try:
            target.files.take(path, content.lfs, content.size, passed)
        except (FileNotFoundError, HubError) as error:
            if isinstance(error, HubError) and error.status == 507:
                raise
            raise RuntimeError(f"big file {path} is missing or damaged") from error
        report.files += 1
        report.bytes += content.size
    if not there.objects.touch(sha):
        there.objects.add(thing)
        report.commits += isinstance(thing, Commit)
