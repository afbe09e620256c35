"""All repositories under one root: finding, creating, moving and deleting them."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from dulwich.objects import Blob
from dulwich.repo import Repo

from moxin_recipes.hub.server import durable
from moxin_recipes.hub.server.attributes import DEFAULT
from moxin_recipes.hub.server.errors import HubError, bad_request, repo_not_found
from moxin_recipes.hub.server.lfs import BigFiles
from moxin_recipes.hub.server.repository import MAIN, Info, Repository, timestamp
from moxin_recipes.hub.server.tree import Editor

TYPES = ("model", "dataset", "space")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_RESERVED = frozenset({"api", "datasets", "spaces", "models", "kernels", "buckets", "lfs"})


class Store:
    """The folder of a Hub. Ids are looked up without regard to case, and keep the case given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = BigFiles(root / "lfs")
        self._locks: dict[Path, threading.RLock] = {}
        self._trash = root / "trash"
        for kind in TYPES:
            durable.make_folders(self._kind(kind))
        durable.make_folders(self._trash)

    def get(self, kind: str, repo_id: str) -> Repository:
        """Opens a repository.

        Raises:
            HubError: 404 (RepoNotFound).
        """
        try:
            folder = self._folder(kind, repo_id)
            return Repository(folder, self._info(folder), self._lock(folder))
        except (HubError, FileNotFoundError):
            raise repo_not_found() from None

    def __iter__(self) -> Iterator[Repository]:
        for kind in TYPES:
            for path in sorted(self._kind(kind).glob("*/*.git")):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield Repository(path, self._info(path), self._lock(path))

    def create(self, kind: str, repo_id: str, visibility: str, sdk: str | None) -> Repository:
        """A new repository with its initial commit; it appears whole or not at all.

        Raises:
            HubError: 400 for an id that is none, 409 if it exists.
        """
        folder = self._folder(kind, repo_id)
        created = timestamp(time.time())
        info = Info(repo_id, kind, secrets.token_hex(12), created, visibility, False, sdk)
        durable.make_folders(folder.parent)
        temporary = durable.temporary_name(self._trash)
        temporary.mkdir(mode=0o700)
        try:
            Repo.init_bare(temporary, default_branch=b"main").close()
            new = Repository(temporary, info, threading.RLock())
            editor = Editor(new.objects, None)
            editor.put(".gitattributes", new.objects.add(Blob.from_string(DEFAULT[kind].encode())))
            new.move(MAIN, None, new.commit(editor.write(), [], "initial commit"))
            durable.write_json(temporary / "hub.json", dataclasses.asdict(info))
            with self._lock(folder):
                if folder.exists():
                    raise HubError(409, "You already created this repo", url=self._url_path(info))
                temporary.rename(folder)
                durable.sync_folder(folder.parent)
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
            durable.sync_folder(repository.folder.parent)
        shutil.rmtree(doomed, ignore_errors=True)

    def move(self, repository: Repository, repo_id: str) -> None:
        """Gives a repository another id.

        Raises:
            HubError: 400 for an id that is none, 409 if another repository has it.
        """
        target = self._folder(repository.info.type, repo_id)
        with repository.lock, self._lock(target):
            if target.exists() and target != repository.folder:
                raise HubError(409, f"A repository called {repo_id} already exists")
            durable.make_folders(target.parent)
            # A stop between the two steps leaves the old id in force: see `_info`.
            self.update(repository, id=repo_id)
            repository.folder.rename(target)
            durable.sync_folder(target.parent)
            durable.sync_folder(repository.folder.parent)

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
        shutil.rmtree(self._trash, ignore_errors=True)
        durable.make_folders(self._trash)
        for kind in TYPES:
            for folder in self._kind(kind).glob("*/*.git"):
                for pattern in ("*.lock", "refs/**/*.lock", "tmp-*", "*/tmp-*"):
                    for stale in folder.glob(pattern):
                        stale.unlink(missing_ok=True)
        self.files.sweep()

    def _kind(self, kind: str) -> Path:
        return self.root / "repositories" / f"{kind}s"

    def _folder(self, kind: str, repo_id: str) -> Path:
        namespace, _, name = repo_id.partition("/")
        if (
            kind not in TYPES
            or namespace.lower() in _RESERVED
            or not all(_is_name(part) for part in (namespace, name))
        ):
            raise bad_request(f"Invalid repository id: {repo_id[:200]!r}")
        return self._kind(kind) / namespace.lower() / f"{name.lower()}.git"

    def _info(self, folder: Path) -> Info:
        info = Info(**json.loads((folder / "hub.json").read_text()))
        by_folder = f"{folder.parent.name}/{folder.name.removesuffix('.git')}"
        if info.id.lower() != by_folder:
            return dataclasses.replace(info, id=by_folder)
        return info

    def _lock(self, folder: Path) -> threading.RLock:
        return self._locks.setdefault(folder, threading.RLock())

    @staticmethod
    def _url_path(info: Info) -> str:
        return info.prefix + info.id


def _is_name(name: str) -> bool:
    bad = "--" in name or ".." in name or name.lower().endswith(".git")
    return _NAME.fullmatch(name) is not None and not bad
