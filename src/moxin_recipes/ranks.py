"""The processes of one launch: one finds out, or works, for the others, who wait outside of NCCL.

Answers go through the store where torch's processes meet (torchrun's agent hosts it, or rank 0).
A wait there has no limit that a slow network or disk could pass, unlike one in a collective. It
says what it waits for, and it ends when the process that works has ended.
"""

import atexit
import base64
import hashlib
import logging
import os
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from moxin_recipes.hub.session import HubError
from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

log = logging.getLogger(__name__)
T = TypeVar("T")
_SAYS_EVERY = 30.0  # seconds between two lines about a wait
_SILENCE = 300.0  # seconds without a sign of life after which a process counts as ended
_BEATS = 20  # signs of life in that time
_START = 6  # times that long, until the first one: imports from a slow disk


class RankError(RuntimeError):
    """A process that others wait for has ended, or failed in a way of which it says more."""


_TELLABLE = (RecipeError, HubError, RankError, OSError)  # made again from their arguments


class Ranks:
    """Rank, size and node of this process, as the launcher set them, and the ways to share work.

    In each method `what` names the work, in the words of the line about the wait. Its name is its
    identity: all processes that share it say the same words, and one launch says them once. A
    single process works, without any store. An error of the one that works is raised by all.
    """

    def __init__(self, silence: float = _SILENCE) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self._first_of_node = self.rank - int(os.environ.get("LOCAL_RANK", "0"))
        self._silence = silence
        self._connected: Store | None = None
        self._turns: Counter[str] = Counter()

    def once(self, what: str, work: Callable[[], T]) -> T:
        """Rank 0 does `work`; its answer, picklable and below 6 MB, on every process."""
        return self._told(what, 0, work)

    def once_a_node(self, what: str, work: Callable[[], T]) -> T:
        """As `once`, by the first process of each node for those of its node."""
        return self._told(what, self._first_of_node, work)

    @contextmanager
    def in_turn(self, what: str) -> Iterator[None]:
        """Each process runs the block: rank 0, then the first of each node, then the others.

        So each finds a cache filled, on a disk of all or of its node. One launch may say `what`
        again, for another block.
        """
        if self.size == 1:
            yield
            return
        self._turns[what] += 1
        turn = f"{what} ({self._turns[what]})"
        self._store()  # from here on it shows that it lives
        try:
            if self.rank:
                self._heard(turn, self._first_of_node if self.rank != self._first_of_node else 0)
            yield
        except Exception as error:
            self._tell(turn, (False, _tellable(error, self.rank)))
            raise
        self._tell(turn, (True, None))

    def gather(self, what: str, work: Callable[[], T]) -> list[T]:
        """Each process does its share; the answers in the order of the ranks, on every process."""
        if self.size == 1:
            return [work()]
        failure: Exception | None = None
        try:
            self._told(what, self.rank, work)
        except Exception as error:
            failure = error
        answers = [self._heard(what, rank) for rank in range(self.size)]
        if failure is not None:
            raise failure
        return answers

    def says(self, line: str) -> bool:
        """Whether this process is the one to print a line that each may have."""
        own_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        if self.size == 1 or (own_store and self._connected is None):
            return True
        from torch.distributed import DistError

        try:
            said = hashlib.sha256(line.encode()).hexdigest()
            return bool(self._store().add(f"said/{said}", 1) == 1)
        except DistError:  # rank 0 hosted it, and has ended
            return True

    def _told(self, what: str, worker: int, work: Callable[[], T]) -> T:
        if self.size == 1:
            return work()
        if self.rank != worker:
            return self._heard(what, worker)  # type: ignore[no-any-return]
        self._store()  # from here on it shows that it lives
        try:
            answer = work()
        except Exception as error:
            self._tell(what, (False, _tellable(error, worker)))
            raise
        self._tell(what, (True, answer))
        return answer

    def _tell(self, what: str, told: tuple[bool, Any]) -> None:
        self._store().set(_key(what, self.rank), base64.b64encode(pickle.dumps(told)).decode())

    def _heard(self, what: str, worker: int) -> Any:
        """The answer of a process, once it is there; raises its error."""
        from torch.distributed import DistError

        try:
            self._wait(what, worker)
            told = self._store().get(_key(what, worker))
        except DistError as error:
            raise RankError(_ended(worker, what)) from error
        # It is of a process of this launch, as the objects of torch's collectives are.
        good, answer = pickle.loads(base64.b64decode(told))  # noqa: S301
        if not good:
            raise answer
        return answer

    def _wait(self, what: str, worker: int) -> None:
        """Looks until an answer is there; torch's own wait writes a line at each time-out."""
        store, pause, beats = self._store(), 0.01, -1
        began = last_sign = said = time.monotonic()
        while not store.check([_key(what, worker)]):
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
            now, heard = time.monotonic(), store.add(f"alive/{worker}", 0)
            if heard != beats:
                beats, last_sign = heard, now
            elif now - last_sign > self._silence * (1 if heard else _START):
                raise RankError(_ended(worker, what))
            if now - said > _SAYS_EVERY and self.rank in (0, worker + 1):
                said = now
                log.info("waiting for rank %d: %s (%.0f s so far)", worker, what, now - began)

    def _store(self) -> "Store":
        """The store of this launch; from the first use on, this process shows that it lives."""
        if self._connected is None:
            from torch.distributed.distributed_c10d import PrefixStore
            from torch.distributed.rendezvous import rendezvous

            store, _, _ = next(iter(rendezvous("env://")))
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            self._connected = PrefixStore(f"moxin/{attempt}", store)
            self._live(self._connected)
        return self._connected

    def _live(self, store: "Store") -> None:
        from torch.distributed import DistError

        ended = threading.Event()

        def beat() -> None:
            with suppress(DistError):  # its host has ended; who waits for that sees it, too
                store.add(f"alive/{self.rank}", 1)
                while not ended.wait(self._silence / _BEATS):
                    store.add(f"alive/{self.rank}", 1)

        thread = threading.Thread(target=beat, name="alive", daemon=True)
        thread.start()

        @atexit.register
        def end() -> None:  # a thread within torch would not survive the interpreter's end
            ended.set()
            thread.join(10.0)


@cache
def of_environment() -> Ranks:
    """The launch that this process is part of."""
    return Ranks()


def _key(what: str, worker: int) -> str:
    return f"{what}/{worker}"


def _tellable(error: Exception, worker: int) -> Exception:
    if isinstance(error, _TELLABLE):
        with suppress(Exception):  # some errors cannot be made again from their arguments
            pickle.loads(pickle.dumps(error))  # noqa: S301 (it was made here)
            return error
    return RankError(f"rank {worker} failed: {type(error).__name__}: {error}")


def _ended(worker: int, what: str) -> str:
    return f"rank {worker} has ended, while others waited for {what}; its own lines say why"
