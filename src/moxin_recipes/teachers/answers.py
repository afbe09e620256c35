"""A teacher's answers on disk: kept one by one as they come, so that none is asked for twice."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from moxin_recipes.recipe.keys.distill import DistillKeys


@dataclass(frozen=True)
class Answer:
    """What a teacher said to a problem (its row) as one of several samples.

    Tokens are 0 where nobody counts them; `failure` says why there is no text; `retries` are the
    tries before the one that counts; `cut` is a text that `max_new_tokens` ended.
    """

    problem: int
    sample: int
    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failure: str = ""
    retries: int = 0
    cut: bool = False


def file_name(own: DistillKeys, problems: Sequence[str], model: str) -> str:
    """Name of the file of samples, by a digest of all that the requests depend on, and of no more.

    So what was paid for is found again with other `samples`, `rewards` or `concurrency`, and at
    another `base_url`: a server may move, so name another teacher by another `teacher_model`.
    `model` is the payload digest of the teacher's, "" for an endpoint.
    """
    sampling = [own.temperature, own.top_p, own.max_new_tokens, own.seed]
    asked = [own.teacher, own.teacher_model, model, own.prompt_suffix, sampling, list(problems)]
    return f"samples-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}.jsonl"


class Samples:
    """An append-only file of answers, each under its (problem, sample).

    A line that a kill cut short is dropped when the file is opened again. In memory is only where
    each answer stands. Failures are not written: another start asks again.
    """

    def __init__(self, path: Path) -> None:
        self._places: dict[tuple[int, int], int] = {}
        self._failures: dict[tuple[int, int], Answer] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        for line in self._file:
            if line.endswith(b"\n"):
                row = json.loads(line)
                self._places.setdefault((row["problem"], row["sample"]), end)
                end += len(line)
        self._file.truncate(end)

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, answer: Answer) -> None:
        """Keeps an answer; one that is there already stays as it is."""
        key = (answer.problem, answer.sample)
        if answer.failure:
            self._failures[key] = answer
        elif key not in self._places:
            self._places[key] = self._file.seek(0, 2)
            self._file.write(json.dumps(asdict(answer), ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def __iter__(self) -> Iterator[Answer]:
        """All answers and failures by problem and sample, in whatever order they came."""
        for key in sorted([*self._places, *self._failures]):
            if key in self._failures:
                yield self._failures[key]
            else:
                self._file.seek(self._places[key])
                yield Answer(**json.loads(self._file.readline()))
