"""Intermediate checkpoints on their way to the Hub: a queue on disk, emptied during training."""

import json
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moxin_recipes.hub.push import PATIENCE, patiently, push
from moxin_recipes.hub.retention import Retention, in_order
from moxin_recipes.hub.session import HubError, api, errors, qualified

log = logging.getLogger(__name__)


class Outbox:
    """Pushes what is added, in the order of the names, from one thread.

    A name is a branch. `NAME/` has its files (hard links, so a checkpoint may be rotated away),
    `NAME.json` the options of its push, and an empty `NAME.sent` says that the Hub has it,
    verified. All of it outlives the process: the next one goes on with what waits. While the Hub is
    away each push is tried again, with growing pauses; a push that the Hub refuses is given up, and
    `finish` raises it. A branch that `retention` does not keep is deleted once a newer one is
    verified, or is not pushed when newer ones wait: so a Hub that is away long fills no disk.
    """

    def __init__(
        self, folder: Path, retention: Retention | None = None, patience: float = PATIENCE
    ) -> None:
        self._folder, self._patience = folder, patience
        self._retention = retention or Retention()
        self._folder.mkdir(parents=True, exist_ok=True)
        for part in self._folder.glob(".*"):  # begun or half removed when a process was killed
            shutil.rmtree(part)
        self._refused: dict[str, Exception] = {}
        self._away_since = math.inf
        self._changed = threading.Condition()
        self._sent: list[str] = []  # by this process; an earlier one may have kept fewer
        self._hurry = threading.Event()
        # A daemon: a run that fails ends at once, and what waits stays on disk.
        threading.Thread(target=self._work, name="outbox", daemon=True).start()

    def add(self, files: list[Path], name: str, **push_options: Any) -> None:
        """Queues `files` (flat) as branch `name`; one that was added before is not added again."""
        if self.has(name):
            return
        temporary = self._folder / f".{name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for file in files:
            (temporary / file.name).hardlink_to(file)
        text = json.dumps({**push_options, "branch": name})
        (self._folder / f"{name}.json").write_text(text, encoding="utf-8")
        temporary.rename(self._folder / name)  # from here on it is in the queue
        with self._changed:
            self._changed.notify_all()

    def has(self, name: str) -> bool:
        """Whether branch `name` waits, or was sent."""
        return (self._folder / name).exists() or (self._folder / f"{name}.sent").exists()

    def finish(self) -> None:
        """Waits until the Hub has everything; raises what it refused, or HubError when it is away.

        A long upload is waited for, an absence of `patience` seconds is not. Then looks whether
        every branch is there that should be.
        """
        self._hurry.set()
        began = time.monotonic()
        with self._changed:
            while waiting := self._waiting():
                if time.monotonic() - max(began, self._away_since) > self._patience:
                    break
                self._changed.wait(0.1)
        for error in self._refused.values():
            raise error
        if waiting:
            raise HubError(
                f"{len(waiting)} checkpoints did not reach the Hub, "
                f"away for {self._patience:.0f} s: "
                f"{', '.join(waiting)}; they wait in {self._folder}. Start it or check the "
                "network, then give the same command again"
            )
        self._look()

    def _waiting(self) -> list[str]:
        names = [path.name for path in self._folder.iterdir() if path.is_dir()]
        queued = [n for n in names if not n.startswith(".") and n not in self._refused]
        return in_order(queued)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting()))
                waiting = self._waiting()
            name = waiting[0]
            if name not in self._retention.stay(waiting):
                log.info("%s is not pushed: %d newer ones wait", name, len(waiting) - 1)
                self._remove(name)
                continue
            try:
                self._send(name)
            except Exception as error:  # kept for `finish`, which raises it
                log.warning("%s is not pushed: %s", name, error)
                self._refused[name] = error
            with self._changed:
                self._changed.notify_all()

    def _send(self, name: str) -> None:
        options = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
        self._patiently(lambda: push(self._folder / name, **options))
        repo, kind, key = options["repo"], options["repo_type"], options["manifest"]["key"]
        self._patiently(lambda: self._retention.prune(repo, kind, name, key))
        (self._folder / f"{name}.sent").touch()
        self._sent.append(name)
        self._remove(name)

    def _patiently(self, work: Callable[[], object]) -> None:
        """Does `work` as soon as the Hub is there, and notes since when it is not."""

        def noted() -> None:
            try:
                work()
            except HubError as error:
                if error.passing:
                    self._away_since = min(self._away_since, time.monotonic())
                raise
            self._away_since = math.inf

        patiently(noted, hurry=self._hurry)

    def _remove(self, name: str) -> None:
        """Out of the queue at once: a half removed folder is never pushed."""
        gone = self._folder / f".{name}"
        (self._folder / name).rename(gone)
        shutil.rmtree(gone)

    def _look(self) -> None:
        """Raises HubError when a branch that this process sent, and keeps, is not on the Hub."""
        for name in self._retention.stay(self._sent):
            options = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
            repo = qualified(options["repo"])
            with errors(repo):
                there = api().list_repo_refs(repo, repo_type=options["repo_type"]).branches
            if name not in {branch.name for branch in there}:
                raise HubError(f"{repo}@{name} was pushed and is no longer on the Hub")
