"""Care for a root, with its server running or not: checking every byte, collecting garbage."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree

from moxin_hub.lfs import BigFiles
from moxin_hub.objects import Objects
from moxin_hub.repository import Repository
from moxin_hub.store import Store

# Anything younger may belong to an upload or a commit that is still on its way.
GRACE_SECONDS = 24 * 3600.0
_SUBMODULE = 0o160000


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
            name = f"{repository.info.prefix}{repository.info.id}"
            problems = _check(repository, store.files, sizes, report)
            report.problems += [f"{name}: {text}" for text in problems]
    return report


def gc(root: Path, grace: float = GRACE_SECONDS) -> Gc:
    """Deletes git objects and big files that no reference leads to, older than `grace` seconds.

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
            _collect_objects(repository.objects, objects, oldest, report)
        for oid in set(store.files).difference(*(files for _, files in reached)):
            path = store.files.path(oid)
            found = path.stat()
            if found.st_mtime < oldest:
                path.unlink()
                report.files += 1
                report.bytes += found.st_size
        report.parts = store.files.sweep()
    return report


def _collect_objects(objects: Objects, reached: set[ObjectID], oldest: float, report: Gc) -> None:
    for sha in objects.loose():
        path = objects.loose_path(sha)
        found = path.stat()
        if sha not in reached and found.st_mtime < oldest:
            path.unlink()
            report.objects += 1
            report.bytes += found.st_size


def _reached(repository: Repository) -> tuple[set[ObjectID], set[str]]:
    """The git objects and the big files that references lead to."""
    objects: set[ObjectID] = set()
    files: set[str] = set()
    pending = list(repository.tips())
    while pending:
        sha = pending.pop()
        if sha in objects:
            continue
        objects.add(sha)
        try:
            thing = repository.objects.store[sha]
            if isinstance(thing, Blob) and (lfs := repository.objects.content(sha).lfs):
                files.add(lfs)
            pending += links(thing)
        except Exception as error:
            name = f"{repository.info.prefix}{repository.info.id}"
            raise RuntimeError(f"{name}: object {sha.decode()} is missing or damaged") from error
    return objects, files


def links(thing: ShaFile) -> list[ObjectID]:
    """The objects that an object names."""
    if isinstance(thing, Commit):
        return [thing.tree, *thing.parents]
    if isinstance(thing, Tree):
        return [sha for _, mode, sha in thing.iteritems() if sha and mode != _SUBMODULE]
    if isinstance(thing, Tag):
        return [thing.object[1]]
    return []


def _check(
    repository: Repository, files: BigFiles, sizes: dict[str, int | str], report: Fsck
) -> Iterator[str]:
    """The problems of one repository; `sizes` of big files as `_check_files` found them."""
    seen: set[ObjectID] = set()
    pending = list(repository.tips())
    if not pending:
        yield "no reference at all"
    while pending:
        sha = pending.pop()
        if sha in seen:
            continue
        seen.add(sha)
        report.objects += 1
        try:
            thing = repository.objects.store[sha]
            thing.check()  # which hashes it, too
            pending += links(thing)
        except KeyError:
            yield f"object {sha.decode()} is missing"
            continue
        except Exception as error:  # damage takes many forms in a parser; all are findings
            yield f"object {sha.decode()} is damaged: {error!r}"
            continue
        if isinstance(thing, Blob) and (lfs := repository.objects.content(sha).lfs):
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
