"""The answers of a model to a task, in groups that outlive a kill and that processes share."""

import json
import logging
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed

from moxin_recipes.hub.files import write_json
from moxin_recipes.scores.model import Model, Response

log = logging.getLogger(__name__)
_GROUP = 8  # batches of likelihoods that a kill may cost; of texts it is one
_SAID_EVERY = 10.0  # seconds
Answers = dict[int, Response]  # by the request's number


class TaskFailed(RuntimeError):
    """A task that cannot be scored; the message says why."""


class Together:
    """The processes of this run, as `accelerate launch` started them."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        if self.size > 1:
            # One process grades while others wait. No limit is needed: a process that ends closes
            # its connections, and that ends the others.
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))

    def gather(self, mine: Any) -> list[Any]:
        """What each process has, in the order of their ranks, on all of them."""
        if self.size == 1:
            return [mine]
        every: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(every, mine)
        return every

    def agree(self, failure: str | None) -> None:
        """Raises TaskFailed on all processes where one of them has a reason."""
        reasons = [reason for reason in self.gather(failure) if reason]
        if reasons:
            raise TaskFailed(reasons[0])

    def close(self) -> None:
        """Ends the rendezvous."""
        if self.size > 1:
            torch.distributed.destroy_process_group()


class Request(NamedTuple):
    """lm-eval's instance, and the number of the answer that is wanted of it."""

    instance: Any
    sample: int


def requests_of(instances: list[Any], samples: int) -> list[Request]:
    """Each instance `samples` times its own repeats."""
    return [
        Request(instance, sample)
        for instance in instances
        for sample in range(samples * (instance.repeats or 1))
    ]


def answers(
    model: Model, requests: list[Request], seed: int, place: Path, together: Together
) -> Answers:
    """The answers to all requests, on every process.

    The first process keeps each group in the folder `place`; after a kill those are not asked
    again.
    """
    known: Answers = together.gather(_kept(place) if together.rank == 0 else None)[0]
    todo = [group for group in _groups(requests, model) if not known.keys() >= set(group)]
    said = time.monotonic()
    for start in range(0, len(todo), together.size):
        mine = todo[start : start + together.size][together.rank : together.rank + 1]
        got: Answers = {}
        failure = None
        try:
            for group in mine:
                got |= _ask(model, requests, group, seed)
        except Exception as error:  # of any library below; the task fails, and says so
            failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
        together.agree(failure)
        for one in filter(None, together.gather(got)):
            known |= one
            if together.rank == 0:  # an error of the disk ends the run: nothing could be kept
                place.mkdir(parents=True, exist_ok=True)
                write_json(place / f"{min(one):08d}.json", one)
        if time.monotonic() - said > _SAID_EVERY:
            said = time.monotonic()
            log.info("  %d of %d answers", len(known), len(requests))
    return known


def _kept(place: Path) -> Answers:
    """The answers of groups that were asked before."""
    known: Answers = {}
    for path in sorted(place.glob("*.json")):
        group = json.loads(path.read_text(encoding="utf-8"))
        known |= {int(number): Response(*answer) for number, answer in group.items()}
    return known


def _groups(requests: list[Request], model: Model) -> Iterator[list[int]]:
    """Numbers of requests of one kind and of like length: the same ones at every start.

    lm-eval asks once for continuations of one token that share their context; so they stay together
    here, and batches within a group are those that it would make of all requests.
    """
    shared: dict[Any, list[int]] = {}
    places: dict[int, Any] = {}
    for number, request in enumerate(requests):
        instance = request.instance
        if id(instance) not in places:  # which its samples share
            places[id(instance)] = model.place(instance)
        ids = places[id(instance)][1]
        apart = instance.request_type != "loglikelihood"
        context = number if apart else tuple(ids[:-1])
        shared.setdefault((instance.request_type, request.sample, context), []).append(number)

    def rank(key: Any) -> tuple[str, int, Any]:
        kind, sample, _ = key
        return kind, sample, places[id(requests[shared[key][0]].instance)]

    order = sorted(shared, key=rank)  # of requests that are alike, the first one first
    while order:
        kind = order[0][0]
        size = model.batch_size * (1 if kind == "generate_until" else _GROUP)
        group = [key for key in order[:size] if key[0] == kind]
        order = order[len(group) :]
        yield [number for key in group for number in shared[key]]


def _ask(model: Model, requests: list[Request], group: list[int], seed: int) -> Answers:
    """The answers of one group."""
    instances = [requests[number].instance for number in group]
    samples = [requests[number].sample for number in group]
    said = model.answer(instances[0].request_type, instances, samples, seed)
    return dict(zip(group, said, strict=True))
