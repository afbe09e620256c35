"""The items of a task: what each document was answered, and its scores."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from lm_eval.api.registry import AGGREGATION_REGISTRY
from lm_eval.api.task import Task
from lm_eval.utils import handle_non_serializable, hash_string

from moxin_recipes.scores.clean_items import SearchedItems
from moxin_recipes.scores.graders import GRADERS
from moxin_recipes.scores.harness import Answers, Request
from moxin_recipes.scores.model import Response

Row = dict[str, Any]
Documents = dict[int, list[Any]]  # lm-eval's instances of each document, by its number
_NOTHING = ("", "[invalid]", "[no match]")  # what filters make of an answer without one
_PASS_AT = (1, 10, 100)


class Items:
    """The rows of a task, one for each document, sample and filter.

    `samples` is how often each document was asked; `grader` names one of this package's, else
    lm-eval's filters and metrics score; `searched` says which documents are in the corpus.
    """

    def __init__(
        self,
        task: Task,
        requests: list[Request],
        answers: Answers,
        samples: int,
        grader: str | None,
        searched: SearchedItems | None,
    ) -> None:
        self._task, self._grader, self._searched = task, grader, searched
        self._said: dict[int, list[Response]] = defaultdict(list)
        for number, request in enumerate(requests):
            self._said[id(request.instance)].append(answers[number])
        self._samples = samples
        self._documents: Documents = defaultdict(list)
        for instance in sorted(task.instances, key=lambda i: (i.doc_id, i.idx)):
            self._documents[instance.doc_id].append(instance)
        self.rows = [row for sample in range(samples) for row in self._rows(sample)]

    @property
    def problems(self) -> int:
        """Documents that were asked."""
        return len(self._documents)

    @property
    def counts(self) -> dict[str, int]:
        """What a score should be read with: of the answers, and of documents whose prompt was cut.

        `nothing_extracted` counts answers in which no filter found one.
        """
        said = [response for every in self._said.values() for response in every]
        cut = {row["doc_id"] for row in self.rows if row["prompt_cut"]}
        written = [row for row in self.rows if row["raw"] is not None]
        found = {(row["doc_id"], row["sample"]) for row in written if row["extracted"] is not None}
        return {
            "prompts_cut": len(cut),
            "at_limit": sum(response.finish == "length" for response in said),
            "unclosed_thoughts": sum(response.unclosed for response in said),
            "nothing_extracted": len({(r["doc_id"], r["sample"]) for r in written} - found),
        }

    @property
    def metrics(self) -> list[Row]:
        """What is aggregated of the rows' scores, and how."""
        if self._grader:
            name = GRADERS[self._grader][0]
            if name != "pass":
                return [_metric(name, name, "mean")]
            fits = [k for k in _PASS_AT if k <= self._samples]
            return [_metric(f"pass@{k}", name, f"pass@{k}") for k in fits]
        names = {function: name for name, function in AGGREGATION_REGISTRY.items()}
        better, functions = self._task.higher_is_better(), self._task.aggregation()
        used = {(row["filter"], name) for row in self.rows for name in json.loads(row["scores"])}
        return [
            _metric(name, name, names.get(functions[name], "function"), kind, better.get(name))
            for kind, name in sorted(used)
        ]

    def _rows(self, sample: int) -> Iterator[Row]:
        for instances in self._documents.values():
            for instance in instances:
                values = [response.value for response in self._of(instance, sample)]
                instance.resps = [tuple(v) if isinstance(v, list) else v for v in values]
                instance.filtered_resps = {}
        scored = self._graded() if self._grader else self._by_lm_eval()
        for doc_id, kind, scores, extracted in scored:
            yield self._row(doc_id, sample, kind, scores, extracted)

    def _of(self, instance: Any, sample: int) -> list[Response]:
        """The answers to an instance in one sample: as many as its repeats."""
        said = self._said[id(instance)]
        repeats = len(said) // self._samples
        return said[sample * repeats : (sample + 1) * repeats]

    def _graded(self) -> Iterator[tuple[int, str, Row, str | None]]:
        """By this package's grader, all documents at once."""
        name, grade = GRADERS[str(self._grader)]
        firsts = [instances[0] for instances in self._documents.values()]
        documents = [instance.doc for instance in firsts]
        right = [str(self._task.doc_to_target(document)) for document in documents]
        grades = grade(documents, right, [str(instance.resps[0]) for instance in firsts])
        for instance, verdict in zip(firsts, grades, strict=True):
            yield instance.doc_id, "none", {name: verdict.score}, verdict.extracted

    def _by_lm_eval(self) -> Iterator[tuple[int, str, Row, str | None]]:
        """By lm-eval's filters and metrics of the task."""
        self._task.apply_filters()
        for kind in next(iter(self._documents.values()))[0].filtered_resps:
            for doc_id, instances in self._documents.items():
                kept = [instance.filtered_resps[kind] for instance in instances]
                scores = self._task.process_results(instances[0].doc, kept)
                yield doc_id, kind, scores, self._extracted(instances, kept)

    def _extracted(self, instances: list[Any], kept: list[Any]) -> str | None:
        """The answer that was scored: a text, or the number of the likeliest choice."""
        if instances[0].request_type == "generate_until":
            text = kept[0][0] if isinstance(kept[0], list) and kept[0] else kept[0]
            return None if str(text) in _NOTHING else str(text)
        if self._task.OUTPUT_TYPE == "multiple_choice":
            likely = [pair[0] for pair in kept]
            return str(likely.index(max(likely)))
        return None

    def _row(self, doc_id: int, sample: int, kind: str, scores: Row, extracted: str | None) -> Row:
        instances = self._documents[doc_id]
        said = [response for instance in instances for response in self._of(instance, sample)]
        document, raw = instances[0].doc, [response.raw for response in said]
        if any(response.unclosed for response in said):  # wrong, whatever a metric makes of it
            scores = {name: 0.0 if _is_number(v) else v for name, v in scores.items()}
        text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
        likely = [r.value[0] if isinstance(r.value, list | tuple) else r.value for r in said]
        written = raw[0] is not None
        return {
            "task": str(self._task.config.task),
            "doc_id": doc_id,
            "sample": sample,
            "filter": kind,
            "digest": hash_string(text),
            "prompt_hash": hash_string(instances[0].arguments[0]),
            "target": str(self._task.doc_to_target(document)),
            "raw": (raw[0] if len(raw) == 1 else json.dumps(raw)) if written else None,
            "extracted": extracted,
            "scores": json.dumps(scores, default=float, sort_keys=True),
            "loglikelihoods": None if written else [round(float(value), 4) for value in likely],
            "finish": said[0].finish,
            "prompt_cut": any(response.prompt_cut for response in said),
            "clean": self._searched.status(document) if self._searched else None,
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or hasattr(value, "dtype")


def _metric(
    name: str, of: str, aggregation: str, kind: str = "none", better: bool | None = True
) -> Row:
    return {
        "metric": name,
        "filter": kind,
        "of": of,
        "aggregation": aggregation,
        "higher_is_better": better,
    }
