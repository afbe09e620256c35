"""The units of one model, scored one after the other; one that fails stops no other."""

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path

from lm_eval.api.task import Task

from moxin_recipes.chats import rendering
from moxin_recipes.hub.pull import Parent, Pull
from moxin_recipes.hub.session import AwayError
from moxin_recipes.ranks import Ranks
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import clean_items, harness, loading, questions, records
from moxin_recipes.scores.aggregates import scores_of
from moxin_recipes.scores.harness import Request, TaskFailed, Together
from moxin_recipes.scores.items import Items
from moxin_recipes.scores.model import Model
from moxin_recipes.scores.units import Record, Store, Unit, dataset_of

log = logging.getLogger(__name__)


class Scoring:
    """What all units of a run share: the recipe, its inputs, the store, the processes."""

    def __init__(
        self,
        keys: EvaluateKeys,
        parents: list[Parent],
        pull: Pull,
        fetch: Callable[[Parent], Path],
        ranks: Ranks,
        store: Store,
    ) -> None:
        self._keys, self._parents, self._pull, self._store = keys, parents, pull, store
        self._fetch, self._ranks = fetch, ranks
        self._together = Together()
        self._searched = clean_items.searched(keys.corpus_name, pull)

    def close(self) -> None:
        """Lets the other processes go."""
        self._together.close()

    def score(self, units: list[Unit]) -> dict[str, str]:
        """Scores units of one model and stores them; key → reason of those that failed."""
        if not units:
            return {}
        try:
            model = self._loaded(units[0])
        except TaskFailed as error:
            log.warning("%s: %s", units[0].model, error)
            return {unit.key: str(error) for unit in units}
        failed = {}
        for unit in units:
            try:
                self._one(unit, model)
            except Exception as error:
                if _stops_all(error):
                    raise
                failed[unit.key] = reason(error)
                log.warning("%s on %s: %s", unit.leaf.name, unit.model, failed[unit.key])
        return failed

    def _loaded(self, unit: Unit) -> Model:
        """The model of a unit; TaskFailed on all processes where one cannot load it."""
        keys, failure, model = self._keys, None, None
        try:
            model = Model(
                self._fetch(unit.parent),
                batch_size=keys.eval_batch_size,
                dtype=keys.dtype,
                add_bos=keys.add_bos,
            )
        except Exception as error:
            if _stops_all(error):
                raise
            failure = f"the model cannot be loaded: {reason(error)}"
        self._together.agree(failure)
        assert model is not None  # noqa: S101 (or there was a reason)
        return model

    def _one(self, unit: Unit, model: Model) -> None:
        began = time.monotonic()
        place = self._store.place(unit.key)
        failure = None
        try:
            task, requests, grader = self._asked(unit, model, place)
        except Exception as error:
            if _stops_all(error):
                raise
            failure = reason(error)
        self._together.agree(failure)
        samples = unit.asked.samples
        said = harness.answers(model, requests, self._keys.seed, place / "answers", self._together)
        if self._together.rank:
            return
        items = Items(task, requests, said, samples, grader, self._searched)
        rows = [records.sealed({"unit": unit.key[:12], **row}) for row in items.rows]
        record = unit.record(
            metrics=items.metrics,
            items=None,
            digest=records.digest(rows),
            problems=items.problems,
            whole=items.problems == len(task.eval_docs),
            counts=items.counts,
            scores=scores_of(items.metrics, rows, task.aggregation()),
            seconds=round(time.monotonic() - began, 1),
        )
        self._store.put(record, rows)
        _say(unit, record)

    def _asked(
        self, unit: Unit, model: Model, place: Path
    ) -> tuple[Task, list[Request], str | None]:
        """The task, what is asked of the model, and the grader."""
        asked, leaf = unit.asked, unit.leaf
        if asked.chat and model.tokenizer.chat_template is None:
            raise TaskFailed("`chat: true`: the model has no chat template; leave it out")
        dataset = dataset_of(leaf, self._parents)
        if leaf.repository and dataset is None:
            questions.prove(leaf, asked)  # what no dataset would mend is said first
            raise TaskFailed(f"its dataset {leaf.repository[0]} is not on this Hub")
        model.chat = asked.chat
        if asked.chat:
            try:
                rendering.of(model.tokenizer)
            except rendering.Unusable as error:  # it is scored as whoever loads it finds it
                log.warning("%s: its chat template: %s; answers end at EOS", unit.model, error)
        commit = dataset.commit if dataset else None
        with loading.loaded_once(self._ranks, unit.key, place / "problems"):
            task = questions.build(leaf, asked, commit, self._pull, place / "problems")
        instances = questions.ask(task, asked, self._keys.limit, model.apply_chat_template)
        return task, harness.requests_of(instances, asked.samples), questions.grader_of(leaf)


def reason(error: BaseException) -> str:
    """Why a task failed, in one line."""
    said = " ".join(str(error).split())[:400]
    named = isinstance(error, TaskFailed | RecipeError)
    return said if named else f"{type(error).__name__}: {said}"


def _stops_all(error: BaseException) -> bool:
    """Whether no other task would fare better: the Hub is away, or the disk does not write."""
    disk = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
    return isinstance(error, AwayError) or (isinstance(error, OSError) and error.errno in disk)


def _say(unit: Unit, record: Record) -> None:
    score = record["scores"][0]
    value, low, high = (
        "–" if score[name] is None else f"{score[name]:.4f}" for name in ("value", "low", "high")
    )
    log.info(
        "%s on %s: %s %s [%s, %s], %d problems, %.0f s",
        *(unit.leaf.name, unit.model, score["metric"], value, low, high),
        *(record["problems"], record["seconds"]),
    )
