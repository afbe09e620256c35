"""Shards of a tokens repository, fetched from the Hub when they are due, in a bounded folder."""

import contextlib
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.hub.pull import Parent, read_manifest
from moxin_recipes.hub.session import HubError, MissingError, api, errors
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.shards import TOKEN, Shard, select

log = logging.getLogger(__name__)
GB = 10**9
# Seconds between tries when the Hub does not answer. The client itself tries for some 25 seconds
# each time, so training gives up after about eight minutes.
PAUSES = (1, 2, 5, 10, 30, 60, 60, 60)


class HubTokens:
    """Reads tokens from shards that it downloads before they are due, and deletes after.

    All processes of a node share `folder`. A file there is named by its sha256, which is checked
    once, after the download; a lock for each shard lets one process fetch it. At most `limit` bytes
    lie there, downloads under way included: what is not read now goes, the longest unused first,
    and what is read next last. A process reads with plain reads, so a deleted file frees its space
    at once, and one that is missed is fetched again.
    """

    def __init__(self, parent: Parent, folder: Path, limit: float) -> None:
        manifest = read_manifest(parent.repo, parent.type, parent.commit)
        if manifest is None:
            raise RecipeError(f"`{parent.key}`: {parent.repo} was not made by a data stage")
        self._parent, self._folder, self._limit = parent, folder, limit
        self._files = {
            path: Shard(path, facts["size"] // TOKEN.itemsize, facts["sha256"])
            for path, facts in manifest["files"].items()
            if path.endswith(".bin")
        }
        self._now: list[Shard] = []
        self._later: list[Shard] = []
        self._wanted = threading.Event()
        self._reader: threading.Thread | None = None
        (folder / "locks").mkdir(parents=True, exist_ok=True)

    def shards(self, source: str, split: str) -> list[Shard]:
        """The shards of a source and split in the order of their names; none is an error."""
        return select(self._files, source, split)

    def read(self, shard: Shard, start: int, count: int) -> np.ndarray:
        """`count` token ids (int64) of a shard from position `start`."""
        while True:
            path = self._folder / shard.sha256
            try:
                ids = np.fromfile(path, TOKEN, count, offset=start * TOKEN.itemsize)
                os.utime(path)  # the longest unused goes first
            except FileNotFoundError:
                self._fetch_in_time(shard)
            else:
                return ids.astype(np.int64)

    def expect(self, now: list[Shard], later: list[Shard]) -> None:
        """Starts to fetch what is read from now on, and then what is read next, in the background.

        Raises RecipeError if what is read at a time is more than the cache may hold.
        """
        needed = sum(shard.bytes for shard in now)
        if needed > self._limit:
            raise RecipeError(
                f"`token_cache_gb`: {self._limit / GB:g} GB cannot hold the {needed / GB:.3g} GB "
                "that the mixture reads at a time; raise it, or lower `shuffle_shards`"
            )
        self._now, self._later = now, later
        self._wanted.set()
        if self._reader is None or not self._reader.is_alive():  # or left behind by a fork
            self._reader = threading.Thread(target=self._read_ahead, daemon=True)
            self._reader.start()

    def _read_ahead(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            for shard in [*self._now, *self._later]:
                if self._wanted.is_set():  # training has moved on
                    break
                try:
                    self._fetch(shard, self._now + self._later)
                except (HubError, OSError) as error:
                    log.debug("%s is not fetched ahead: %s", shard.path, error)

    def _fetch_in_time(self, shard: Shard) -> None:
        """Fetches what training waits for; tries again while the Hub is down."""
        for pause in (*PAUSES, None):
            try:
                if self._fetch(shard, self._now):
                    return
                problem = HubError(
                    f"`token_cache_gb`: other processes fill the {self._limit / GB:g} GB of "
                    f"{self._folder}; raise it, or give this run a folder of its own "
                    "(`token_cache_dir`)"
                )
            except MissingError:
                raise
            except HubError as error:
                problem = error
            if pause is None:
                raise problem
            log.warning("%s; next try in %s s", problem, pause)
            time.sleep(pause)

    def _fetch(self, shard: Shard, keep: list[Shard]) -> bool:
        """Downloads a shard unless it is here; False where `keep` leaves no room for it."""
        path = self._folder / shard.sha256
        with _locked(self._folder / "locks" / shard.sha256):
            if path.exists():
                return True
            part = self._folder / f"{shard.sha256}.{shard.bytes}.part"
            with _locked(self._folder / "locks" / "room"):
                if not self._make_room(shard, keep):
                    return False
                part.mkdir(exist_ok=True)  # its name holds the room
            where = f"{self._parent.repo}@{self._parent.commit[:12]}"
            with errors(f"`{self._parent.key}`: {where}: {shard.path}"):
                made = api().hf_hub_download(
                    self._parent.repo,
                    shard.path,
                    repo_type=self._parent.type,
                    revision=self._parent.commit,
                    local_dir=part,
                )
            whole = sha256_file(Path(made)) == shard.sha256
            with _locked(self._folder / "locks" / "room"):  # or it might be counted nowhere
                if whole:
                    Path(made).replace(path)
                shutil.rmtree(part)
            if not whole:
                raise HubError(f"{where}: {shard.path} did not arrive whole")
            log.debug("fetched %s", shard.path)
            return True

    def _make_room(self, shard: Shard, keep: list[Shard]) -> bool:
        """Deletes what may go until `shard` fits; whether it does."""
        names = {one.sha256 for one in keep}
        used, free = 0, []
        for path in self._folder.iterdir():
            name, _, rest = path.name.partition(".")
            if rest.endswith("part"):
                if name == shard.sha256:
                    continue
                if not _is_held(self._folder / "locks" / name):  # of a process that was ended
                    shutil.rmtree(path, ignore_errors=True)
                    continue
                used += int(rest.partition(".")[0])
            elif path.is_file():
                status = path.stat()
                used += status.st_size
                if name not in names:
                    free.append((status.st_mtime, status.st_size, path))
        for _, size, path in sorted(free):
            if used + shard.bytes <= self._limit:
                break
            path.unlink()
            used -= size
        return used + shard.bytes <= self._limit


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock file against other processes and threads; it ends with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_held(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
