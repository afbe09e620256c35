"""Care for a root, with its server running or not: checking every byte, collecting garbage."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree

from moxin_hub import durable
from moxin_hub.lfs import BigFiles
from moxin_hub.repository import Repository
from moxin_hub.store import Store

# Anything younger may belong to an upload or a commit that is still on its way.
GRACE_SECONDS = 24 * 3600.0
_SUBMODULE = 0o160000
_ID = 40  # digits of an object's id


@dataclass
class Fsck:
    """What a check saw; sound if `problems` is empty."""

    repositories: int = 0
    objects: int = 0  # git objects that references lead to
    files: int = 0  # big files, referred to or not
    bytes: int = 0  # of big files
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = (
            f"{self.repositories} repositories, {self.objects} objects, {self.files} big files, "
            f"{self.bytes:,} bytes: {len(self.problems)} problems"
        )
        return "\n".join([counts, *self.problems, ""])


@dataclass
class Gc:
    """What a collection took away."""

    objects: int = 0
    files: int = 0
    bytes: int = 0
    parts: int = 0  # files of uploads that were never finished

    def __str__(self) -> str:
        return (
            f"deleted {self.objects} objects and {self.files} big files, {self.bytes:,} bytes, "
            f"and {self.parts} files of unfinished uploads\n"
        )


def fsck(root: Path) -> Fsck:
    """Re-hashes every git object that a reference leads to, and every big file.

    Finds: repositories without a readable `hub.json`, objects missing or damaged, references to
    nothing, big files missing, damaged or of another size than their pointers say. Commits may
    come while it runs; `gc` waits.
    """
    store, report = Store(root), Fsck()
    with store.collecting():
        sizes = _check_files(store.files, report)
        for folder in store.folders():
            try:
                repository = store.open(folder)
            except FileNotFoundError:  # deleted meanwhile
                continue
            except RuntimeError as error:
                report.problems.append(str(error))
                continue
            report.repositories += 1
            for problem in _check(repository, store.files, sizes, report):
                report.problems.append(f"{repository.info.name}: {problem}")
    return report


def gc(root: Path, grace: float = GRACE_SECONDS) -> Gc:
    """Deletes git objects and big files that no reference leads to, older than `grace` seconds.

    What this Hub does not serve any more, spaces and pull requests, leads to objects as well.
    Commits wait while it runs.

    Raises:
        RuntimeError: a repository's `hub.json` is damaged, or a reference leads to an object that
            is missing or damaged. What lies behind it cannot be known, so nothing is deleted.
    """
    store, report = Store(root), Gc()
    with store.collecting(exclusive=True):
        repositories = list(store)
        reached = [_reached(repository) for repository in repositories]
        oldest = time.time() - grace
        for repository, (objects, _) in zip(repositories, reached, strict=True):
            for sha in set(repository.objects.loose()) - objects:
                size = durable.remove_stale(repository.objects.loose_path(sha), oldest)
                report.objects += size is not None
                report.bytes += size or 0
        for oid in set(store.files).difference(*(files for _, files in reached)):
            size = durable.remove_stale(store.files.path(oid), oldest)
            report.files += size is not None
            report.bytes += size or 0
        report.parts = store.files.sweep()
    return report


def _reached(repository: Repository) -> tuple[set[ObjectID], set[str]]:
    """The git objects and the big files that references lead to."""
    objects: set[ObjectID] = set()
    files: set[str] = set()
    for sha, thing in _walk(repository):
        if isinstance(thing, Exception):
            problem = f"object {sha.decode()} is missing or damaged"
            raise RuntimeError(f"{repository.info.name}: {problem}") from thing
        objects.add(sha)
        if isinstance(thing, Blob) and (lfs := repository.objects.content(sha).lfs):
            files.add(lfs)
    return objects, files


def _walk(repository: Repository) -> Iterator[tuple[ObjectID, ShaFile | Exception]]:
    """All that references lead to, each once, hashed anew; what is wrong stands for an object."""
    seen: set[ObjectID] = set()
    # A reference that cannot be read led somewhere: its name stands for what is missing.
    pending = [sha or ObjectID(name) for name, sha in repository.tips().items()]
    while pending:
        sha = pending.pop()
        if sha in seen:
            continue
        seen.add(sha)
        try:
            thing = repository.objects.store[sha]
            thing.check()  # which hashes it, too
            pending += _links(thing)
        except Exception as error:  # damage takes many forms in a parser; all are findings
            yield sha, error if len(sha) == _ID else KeyError(sha)
        else:
            yield sha, thing


def _links(thing: ShaFile) -> list[ObjectID]:
    """The objects that an object names."""
    if isinstance(thing, Commit):
        return [thing.tree, *thing.parents]
    if isinstance(thing, Tree):
        return [sha for _, mode, sha in thing.iteritems() if sha and mode != _SUBMODULE]
    return [thing.object[1]] if isinstance(thing, Tag) else []


def _check(
    repository: Repository, files: BigFiles, sizes: dict[str, int | str], report: Fsck
) -> Iterator[str]:
    """The problems of one repository; `sizes` of big files as `_check_files` found them."""
    if not repository.tips():
        yield "no reference at all"
    for sha, thing in _walk(repository):
        report.objects += 1
        if isinstance(thing, KeyError):
            yield f"object {sha.decode()} is missing"
        elif isinstance(thing, Exception):
            yield f"object {sha.decode()} is damaged: {thing!r}"
        elif isinstance(thing, Blob) and (lfs := repository.objects.content(sha).lfs):
            if lfs not in sizes:  # missing, or it came after the others were listed
                sizes[lfs] = _check_file(files, lfs)
            if sizes[lfs] != (size := repository.objects.content(sha).size):
                yield f"big file {lfs} is missing, damaged or not of {size} bytes"


def _check_files(files: BigFiles, report: Fsck) -> dict[str, int | str]:
    """Each big file's bytes, or what is wrong; as many are read at a time as there are cores."""
    names = list(files)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing holds no lock of Python's
        sizes = dict(zip(names, pool.map(partial(_check_file, files), names), strict=True))
    report.files = len(sizes)
    report.bytes = sum(size for size in sizes.values() if isinstance(size, int))
    report.problems += [problem for problem in sizes.values() if isinstance(problem, str)]
    return sizes


def _check_file(files: BigFiles, oid: str) -> int | str:
    """A big file's bytes, or what is wrong with it."""
    try:
        with files.path(oid).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell() if digest == oid else f"big file {oid} has the content of {digest}"
    except OSError as error:
        return f"big file {oid} cannot be read: {error.strerror}"
