"""All repositories under one root: finding, creating, moving and deleting them."""

import contextlib
import dataclasses
import fcntl
import json
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from dulwich.objects import Blob
from dulwich.repo import Repo

from moxin_hub import durable
from moxin_hub.attributes import DEFAULT
from moxin_hub.errors import HubError, bad_request, repo_not_found
from moxin_hub.launcher import user_name
from moxin_hub.lfs import BigFiles
from moxin_hub.repository import MAIN, NAMELESS, Info, Repository, timestamp
from moxin_hub.tree import Editor

log = logging.getLogger(__name__)
_Read = TypeVar("_Read")
TYPES = ("model", "dataset")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_RESERVED = frozenset({"api", "datasets", "spaces", "models", "kernels", "buckets", "lfs"})
_MOST_MOVES = 10  # old ids followed in a row


class Store:
    """The folder of a Hub. Ids are looked up without regard to case, and keep the case given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = BigFiles(root / "lfs")
        self.user = user_name(root)
        self._locks: dict[Path, threading.RLock] = {}
        self._trash = root / "trash"
        for kind in TYPES:
            durable.make_folders(self._kind(kind))
        durable.make_folders(self._trash)

    def get(self, kind: str, repo_id: str, moved: bool = False) -> Repository:
        """Opens a repository; with `moved` also by an id that it had before it was moved.

        Raises:
            HubError: 404 (RepoNotFound).
        """
        try:
            folder = self._folder(kind, repo_id)
            for _ in range(_MOST_MOVES if moved else 0):
                if folder.exists():
                    break
                folder = self._folder(kind, folder.with_suffix(".moved").read_text())
            return self.open(folder)
        except (HubError, FileNotFoundError):
            raise repo_not_found() from None

    def open(self, folder: Path) -> Repository:
        """The repository in a folder; RuntimeError if its `hub.json` is damaged."""
        return Repository(folder, self._info(folder), self._lock(folder), self.user)

    def folders(self) -> list[Path]:
        """The folder of each repository: damaged ones included, and those of a type not served."""
        return sorted((self.root / "repositories").glob("*/*/*.git"))

    def __iter__(self) -> Iterator[Repository]:
        for folder in self.folders():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                yield self.open(folder)

    def sound(self, read: Callable[[Repository], _Read]) -> Iterator[_Read]:
        """What `read` makes of each repository served; a damaged one is left out, and logged."""
        for folder in self.folders():
            if folder.parent.parent.name.removesuffix("s") in TYPES:
                try:
                    result = read(self.open(folder))
                except FileNotFoundError:  # deleted meanwhile
                    continue
                except Exception as error:  # damage takes many forms in a parser
                    log.warning("%s is damaged (see `moxin hub fsck`): %r", folder, error)
                    continue
                yield result

    def create(self, kind: str, repo_id: str, visibility: str) -> Repository:
        """A new repository with its initial commit; it appears whole or not at all.

        Raises:
            HubError: 400 for an id that is none, 409 if it exists.
        """
        folder = self._folder(kind, repo_id)
        created = timestamp(time.time())
        info = Info(repo_id, kind, secrets.token_hex(12), created, visibility)
        durable.make_folders(folder.parent)
        temporary = durable.temporary_name(self._trash)
        temporary.mkdir(mode=0o700)
        try:
            Repo.init_bare(temporary, default_branch=b"main").close()
            new = Repository(temporary, info, threading.RLock(), self.user)
            editor = Editor(new.objects)
            editor.put(".gitattributes", new.objects.add(Blob.from_string(DEFAULT[kind].encode())))
            new.move(MAIN, None, new.commit(editor.write(), [], "initial commit"))
            durable.write_json(temporary / "hub.json", dataclasses.asdict(info))
            for path in (*temporary.rglob("*"), temporary):
                durable.sync(path)
            with self._lock(folder):
                if folder.exists():
                    raise HubError(409, "You already created this repo")
                temporary.rename(folder)
                folder.with_suffix(".moved").unlink(missing_ok=True)
                durable.sync(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self.get(kind, repo_id)

    def delete(self, repository: Repository) -> None:
        """Takes a repository away at once; its bytes follow."""
        with repository.lock:
            if not repository.folder.exists():
                raise repo_not_found()
            doomed = durable.temporary_name(self._trash)
            repository.folder.rename(doomed)
            durable.sync(repository.folder.parent)
        shutil.rmtree(doomed, ignore_errors=True)

    def move(self, repository: Repository, repo_id: str) -> None:
        """Gives a repository another id.

        Raises:
            HubError: 400 for an id that is none, 409 if another repository has it.
        """
        target = self._folder(repository.info.type, repo_id)
        # The collector would take a folder that moved away for one without references.
        with self.collecting(), repository.lock, self._lock(target):
            if target.exists() and target != repository.folder:
                what = f"A {repository.info.type} repository called {repo_id}"
                raise HubError(409, f"{what} already exists")
            durable.make_folders(target.parent)
            # A stop between the two steps leaves the old id in force: see `_info`.
            self.update(repository, id=repo_id)
            repository.folder.rename(target)
            for folder in {target.parent, repository.folder.parent}:
                durable.sync(folder)
            if target != repository.folder:  # the old id goes on leading here
                leads_to = repository.folder.with_suffix(".moved")
                durable.write(leads_to, repo_id.encode(), via=self._trash)
                target.with_suffix(".moved").unlink(missing_ok=True)

    def update(self, repository: Repository, **changes: str | bool) -> None:
        """Changes members of a repository's hub.json."""
        with repository.lock:
            info = dataclasses.replace(self._info(repository.folder), **changes)  # type: ignore[arg-type]
            durable.write_json(repository.folder / "hub.json", dataclasses.asdict(info))

    @contextlib.contextmanager
    def collecting(self, exclusive: bool = False) -> Iterator[None]:
        """Commits hold it together, the collector of garbage alone; it works between processes."""
        with (self.root / "gc.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield

    def recover(self) -> None:
        """Clears what a killed server left half-done; only the one server of a root may call it."""
        for doomed in self._trash.iterdir():
            if doomed.is_dir():
                shutil.rmtree(doomed, ignore_errors=True)
            else:
                doomed.unlink()
        for folder in self.folders():
            for pattern in ("*.lock", "refs/**/*.lock", "tmp-*", "*/tmp-*"):
                for stale in folder.glob(pattern):
                    stale.unlink(missing_ok=True)
        self.files.sweep()

    def _kind(self, kind: str) -> Path:
        return self.root / "repositories" / f"{kind}s"

    def _folder(self, kind: str, repo_id: str) -> Path:
        repo_id = repo_id.removeprefix(f"{NAMELESS}/")
        namespace, _, name = repo_id.rpartition("/")
        if (
            kind not in TYPES
            or (namespace or name).lower() in _RESERVED
            or not is_name(name)
            or not (is_name(namespace) or repo_id == name)
        ):
            raise bad_request(f"Invalid repository id: {repo_id[:200]!r}")
        return self._kind(kind) / (namespace.lower() or NAMELESS) / f"{name.lower()}.git"

    def _info(self, folder: Path) -> Info:
        try:
            info = Info(**json.loads((folder / "hub.json").read_text()))
        except (ValueError, TypeError) as error:
            raise RuntimeError(f"{folder / 'hub.json'} is damaged: {error}") from error
        by_folder = f"{folder.parent.name}/{folder.name.removesuffix('.git')}"
        by_folder = by_folder.removeprefix(f"{NAMELESS}/")
        if info.id.lower() != by_folder:
            return dataclasses.replace(info, id=by_folder)
        return info

    def _lock(self, folder: Path) -> threading.RLock:
        return self._locks.setdefault(folder, threading.RLock())


def is_name(name: str) -> bool:
    """Whether a namespace or a repository may be called so."""
    bad = "--" in name or ".." in name or name.lower().endswith(".git")
    return _NAME.fullmatch(name) is not None and not bad
