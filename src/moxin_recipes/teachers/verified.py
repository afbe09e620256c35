"""Teachers' answers → verified chats, what was refused, and pass rates, as parquet splits."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from moxin_recipes import rewards
from moxin_recipes.problems import arithmetic, arithmetic_rows
from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.teachers.answers import Answer

ORIGIN = {
    "program": "The teacher is a program that errs on purpose now and then, not a language model.",
    "recorded": "They were recorded by others; see `traces` in the recipe.",
    "endpoint": "The teacher is {own.teacher_model}.",
    "transformers": "The teacher is {own.model_name_or_path}.",
    "vllm": "The teacher is {own.model_name_or_path}.",
}
CUT = "cut at max_new_tokens"
_BATCH = 256  # answers verified, and written, together
_TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
_SCHEMAS = {
    "kept": pa.schema([("messages", pa.list_(_TURN)), ("answer", pa.string())]),
    "rejected": pa.schema(
        [(name, pa.string()) for name in ("problem", "answer", "completion", "reason")]
    ),
    "pass_rates": pa.schema(
        [
            ("problem", pa.string()),
            ("answer", pa.string()),
            ("samples", pa.int64()),
            ("accepted", pa.int64()),
            ("pass_rate", pa.float64()),
        ]
    ),
}


@dataclass
class Tally:
    """How many answers were kept, why the others were not, and what they cost in all."""

    kept: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """For the manifest; no tokens where nobody counted them, no retries where none were."""
        costs = {
            "prompt tokens": self.prompt_tokens,
            "completion tokens": self.completion_tokens,
            "retries": self.retries,
        }
        return {
            "kept": self.kept,
            **{f"rejected: {reason}": n for reason, n in sorted(self.reasons.items())},
            **{name: n for name, n in costs.items() if n},
        }


def from_program(problems: Dataset, own: DistillKeys) -> Iterator[Answer]:
    """Solutions of the program that made the arithmetic problems."""
    rng = random.Random(own.seed)
    for index, row in enumerate(problems):
        problem = arithmetic.Problem(row["expression"], row["problem"])
        for sample, text in enumerate(arithmetic_rows.teacher(problem, own.samples, rng)):
            yield Answer(index, sample, text)


def from_traces(problems: Dataset, own: DistillKeys) -> Iterator[Answer]:
    """Up to `samples` of the solutions that came with each problem."""
    for index, row in enumerate(problems):
        for sample, text in enumerate(row["traces"][: own.samples]):
            yield Answer(index, sample, text)


class _Split:
    """One parquet file, written part by part; none where there is no row."""

    def __init__(self, folder: Path, config: str) -> None:
        self._path = folder / config / "train.parquet"
        self._schema = _SCHEMAS[config]
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        if self._writer is None:
            self._path.parent.mkdir(parents=True)
            self._writer = pq.ParquetWriter(self._path, self._schema)
        self._writer.write_table(pa.Table.from_pylist(rows, self._schema))

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def write(folder: Path, problems: Dataset, answers: Iterable[Answer], names: list[str]) -> Tally:
    """Verifies `answers` (in the order of their problems) and writes the three configs.

    Kept is what every reward of `names` gives more than 0. Pass rates are of what was answered: a
    problem without any answer has none.
    """
    tally = Tally()
    splits = {config: _Split(folder, config) for config in _SCHEMAS}
    passed: list[tuple[int, bool]] = []
    stream = iter(answers)
    while batch := list(islice(stream, _BATCH)):
        rows = [problems[answer.problem] for answer in batch]
        reasons = _refusals(batch, rows, names)
        kept, rejected = [], []
        for answer, row, reason in zip(batch, rows, reasons, strict=True):
            tally.prompt_tokens += answer.prompt_tokens
            tally.completion_tokens += answer.completion_tokens
            tally.retries += answer.retries
            if not answer.failure:  # what the teacher did not answer, it did not fail to solve
                tally.answered += 1
                passed.append((answer.problem, not reason))
            given = {"problem": row["problem"], "answer": row["answer"]}
            if reason:
                tally.reasons[reason] += 1
                rejected.append({**given, "completion": answer.text, "reason": reason})
            else:
                tally.kept += 1
                turns = (("user", row["problem"]), ("assistant", answer.text))
                messages = [{"role": role, "content": content} for role, content in turns]
                kept.append({"messages": messages, "answer": row["answer"]})
        splits["kept"].add(kept)
        splits["rejected"].add(rejected)
    splits["pass_rates"].add(_rates(problems, passed))
    for split in splits.values():
        split.close()
    return tally


def _refusals(batch: list[Answer], rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Why each answer is refused: failed, cut, or the first reward of 0; "" if it is not."""
    reasons = [answer.failure or (CUT if answer.cut else "") for answer in batch]
    for name in names:
        left = [place for place, reason in enumerate(reasons) if not reason]
        texts, wanted = [batch[i].text for i in left], [rows[i]["answer"] for i in left]
        for place, score in zip(left, rewards.score(name, texts, wanted), strict=True):
            if score.reward <= 0:
                reasons[place] = score.reason
    return reasons


def _rates(problems: Dataset, passed: list[tuple[int, bool]]) -> list[dict[str, Any]]:
    rates = []
    for index, group in groupby(passed, key=lambda pair: pair[0]):
        verdicts = [verdict for _, verdict in group]
        row = problems[index]
        rates.append(
            {
                "problem": row["problem"],
                "answer": row["answer"],
                "samples": len(verdicts),
                "accepted": sum(verdicts),
                "pass_rate": sum(verdicts) / len(verdicts),
            }
        )
    return rates
