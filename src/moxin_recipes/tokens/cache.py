"""Fetches shards of a tokens repository from the Hub into a bounded folder, shortly before use."""

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
from moxin_recipes.tokens.shards import Shard, of_manifest, select

log = logging.getLogger(__name__)
GB = 10**9
# Seconds between tries while the Hub does not answer. Each time, the client itself tries for some
# 25 seconds, so training gives up after about eight minutes.
PAUSES = (1, 2, 5, 10, 30, 60, 60, 60)


class HubTokens:
    """Reads tokens from shards that it downloads before training needs them and deletes later.

    All processes of a node share `folder`. The name of a file there is its sha256, which is checked
    once, after the download. A lock for each shard lets only one process fetch it. The folder holds
    at most `limit` bytes, unfinished downloads included. Shards that are not read now are deleted,
    the longest unused first; shards that are read next are deleted last. A process uses plain
    reads, so a deleted file frees its space at once. A file that is missing is fetched again.
    """

    def __init__(self, parent: Parent, folder: Path, limit: float) -> None:
        manifest = read_manifest(parent.repo, parent.type, parent.commit)
        if manifest is None:
            raise RecipeError(f"`{parent.key}`: {parent.repo} was not made by a data stage")
        self._parent, self._folder, self._limit = parent, folder, limit
        self._files = of_manifest(manifest)
        self._current: list[Shard] = []
        self._upcoming: list[Shard] = []
        self._request_changed = threading.Event()
        self._fetcher: threading.Thread | None = None
        (folder / "locks").mkdir(parents=True, exist_ok=True)

    def shards(self, source: str, split: str) -> list[Shard]:
        """Returns the shards of a source and split; see `select`."""
        return select(self._files, source, split)

    def read(self, shard: Shard, start: int, count: int) -> np.ndarray:
        """Returns `count` token ids (int64) of a shard, from position `start` on."""
        while True:
            path = self._folder / shard.sha256
            try:
                ids = shard.read(path, start, count)
                os.utime(path)  # the longest unused file is deleted first
            except FileNotFoundError:
                self._fetch_in_time(shard)
            else:
                return ids

    def expect(self, current: list[Shard], upcoming: list[Shard]) -> None:
        """Starts to fetch the `current` shards, then the `upcoming` ones, in the background.

        Raises RecipeError if the cache may not hold all current shards.
        """
        needed = sum(shard.bytes for shard in current)
        if needed > self._limit:
            raise RecipeError(
                f"`token_cache_gb`: {self._limit / GB:g} GB cannot hold the {needed / GB:.3g} GB "
                "that the mixture reads at a time; raise it, or lower `shuffle_shards`"
            )
        self._current, self._upcoming = current, upcoming
        self._request_changed.set()
        if self._fetcher is None or not self._fetcher.is_alive():  # a fork copies no thread
            self._fetcher = threading.Thread(target=self._fetch_ahead, daemon=True)
            self._fetcher.start()

    def _fetch_ahead(self) -> None:
        while True:
            self._request_changed.wait()
            self._request_changed.clear()
            for shard in [*self._current, *self._upcoming]:
                if self._request_changed.is_set():  # training has moved on
                    break
                try:
                    self._fetch(shard, self._current + self._upcoming)
                except (HubError, OSError) as error:
                    log.debug("%s is not fetched ahead: %s", shard.path, error)

    def _fetch_in_time(self, shard: Shard) -> None:
        """Fetches a shard that training waits for; tries again while the Hub is down."""
        for pause in (*PAUSES, None):
            try:
                if self._fetch(shard, self._current):
                    return
                failure = HubError(
                    f"`token_cache_gb`: other processes fill the {self._limit / GB:g} GB of "
                    f"{self._folder}; raise it, or give this run a folder of its own "
                    "(`token_cache_dir`)"
                )
            except MissingError:
                raise
            except HubError as error:
                failure = error
            if pause is None:
                raise failure
            log.warning("%s; next try in %s s", failure, pause)
            time.sleep(pause)

    def _fetch(self, shard: Shard, keep: list[Shard]) -> bool:
        """Downloads a shard unless it is here; returns False if `keep` leaves no room for it."""
        path = self._folder / shard.sha256
        with _locked(self._folder / "locks" / shard.sha256):
            if path.exists():
                return True
            part = self._folder / f"{shard.sha256}.{shard.bytes}.part"
            with _locked(self._folder / "locks" / "room"):
                if not self._make_room(shard, keep):
                    return False
                part.mkdir(exist_ok=True)  # its name reserves the room
            where = f"{self._parent.repo}@{self._parent.commit[:12]}"
            with errors(f"`{self._parent.key}`: {where}: {shard.path}"):
                downloaded = api().hf_hub_download(
                    self._parent.repo,
                    shard.path,
                    repo_type=self._parent.type,
                    revision=self._parent.commit,
                    local_dir=part,
                )
            intact = sha256_file(Path(downloaded)) == shard.sha256
            with _locked(self._folder / "locks" / "room"):  # others count either part or file
                if intact:
                    Path(downloaded).replace(path)
                shutil.rmtree(part)
            if not intact:
                raise HubError(f"{where}: {shard.path} did not arrive whole")
            log.debug("fetched %s", shard.path)
            return True

    def _make_room(self, shard: Shard, keep: list[Shard]) -> bool:
        """Deletes shards that are not in `keep` until `shard` fits; returns whether it fits."""
        names = {kept_shard.sha256 for kept_shard in keep}
        used, free = 0, []
        for path in self._folder.iterdir():
            name, _, suffix = path.name.partition(".")
            if suffix.endswith("part"):
                if name == shard.sha256:
                    continue
                if not _is_held(self._folder / "locks" / name):  # its process was killed
                    shutil.rmtree(path, ignore_errors=True)
                    continue
                used += int(suffix.partition(".")[0])
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
    """Holds a lock file against other processes and threads; the lock ends with the process."""
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
