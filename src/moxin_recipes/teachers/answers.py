"""Keeps each answer of a teacher on disk as it comes, so that none is asked for twice."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from moxin_recipes.recipe.keys.distill import DistillKeys


@dataclass(frozen=True)
class Answer:
    """One of a teacher's answers to a problem.

    `problem` is the row of the problem, and `sample` counts its answers from 0. Token counts are 0
    where the teacher reports none. `failure` says why there is no whole text. `retries` counts the
    tries before the last one. `cut` is true where `max_new_tokens` ended the text.
    """

    problem: int
    sample: int
    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failure: str = ""
    retries: int = 0
    cut: bool = False


def file_name(keys: DistillKeys, problems: Sequence[str], model: str) -> str:
    """Returns the name of the file of answers: a digest of everything that the requests depend on.

    `samples`, `rewards`, `concurrency` and `base_url` are not in the digest. So answers that were
    paid for are used again when these keys change. A server may move to another `base_url`; give
    another teacher another `teacher_model`. `model` is the payload digest of the teacher's model,
    or "" for an endpoint.
    """
    sampling = [keys.temperature, keys.top_p, keys.max_new_tokens, keys.seed]
    said = [keys.prompt_suffix, *([keys.system_prompt] if keys.system_prompt else [])]
    parts = [keys.teacher, keys.teacher_model, model, *said, sampling, list(problems)]
    return f"samples-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}.jsonl"


class Answers:
    """An append-only file of answers; the key of each is its (problem, sample).

    Opening the file drops a last line that a kill cut short. Memory holds only the byte offset of
    each answer. Failures are not written, so the next start asks for these answers again.
    """

    def __init__(self, path: Path) -> None:
        self._offsets: dict[tuple[int, int], int] = {}
        self._failures: dict[tuple[int, int], Answer] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        for line in self._file:
            if line.endswith(b"\n"):
                row = json.loads(line)
                self._offsets.setdefault((row["problem"], row["sample"]), end)
                end += len(line)
        self._file.truncate(end)

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, answer: Answer) -> None:
        """Writes an answer, unless the file has one with the same key."""
        key = (answer.problem, answer.sample)
        if answer.failure:
            self._failures[key] = answer
        elif key not in self._offsets:
            self._offsets[key] = self._file.seek(0, 2)
            # As ASCII: a text may hold half of a sign, which no encoding can.
            self._file.write(json.dumps(asdict(answer)).encode() + b"\n")
            self._file.flush()

    def __iter__(self) -> Iterator[Answer]:
        """Yields all answers and failures, sorted by problem and sample."""
        for key in sorted([*self._offsets, *self._failures]):
            if key in self._failures:
                yield self._failures[key]
            else:
                self._file.seek(self._offsets[key])
                row = json.loads(self._file.readline())
                yield Answer(**{name: value for name, value in row.items() if value is not None})
