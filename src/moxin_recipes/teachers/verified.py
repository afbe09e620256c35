"""Verifies a teacher's answers and writes chats, refused answers and pass rates as parquet."""

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
from moxin_recipes.chats.cells import whole
from moxin_recipes.problems import arithmetic, arithmetic_rows, prompts
from moxin_recipes.problems.texts import HALF
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.teachers.answers import Answer

ORIGIN = {
    "program": "The teacher is a program that errs on purpose now and then, not a language model.",
    "recorded": "They were recorded by others; see `traces` in the recipe.",
    "endpoint": "The teacher is {keys.teacher_model}.",
    "transformers": "The teacher is {keys.model_name_or_path}.",
    "vllm": "The teacher is {keys.model_name_or_path}.",
}
CUT = "cut at max_new_tokens"
_BATCH = 256  # answers that are verified and written together
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
    """Counts answers that were kept, refused answers by reason, and the cost of all of them."""

    kept: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """Returns the counts for the manifest; costs of 0 are left out."""
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


def from_program(problems: Dataset, keys: DistillKeys) -> Iterator[Answer]:
    """Yields `samples` solutions of each problem, by the program that made the problems."""
    rng = random.Random(keys.seed)
    for index, row in enumerate(problems):
        problem = arithmetic.Problem(row["expression"], row["problem"])
        for sample, text in enumerate(arithmetic_rows.teacher(problem, keys.samples, rng)):
            yield Answer(index, sample, text)


def from_traces(problems: Dataset, keys: DistillKeys) -> Iterator[Answer]:
    """Yields up to `samples` of the solutions that are recorded with each problem."""
    for index, row in enumerate(problems):
        for sample, text in enumerate(row["traces"][: keys.samples]):
            yield Answer(index, sample, text)


class _Split:
    """Writes one parquet file part by part; without rows it writes no file."""

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


def write(folder: Path, problems: Dataset, answers: Iterable[Answer], keys: DistillKeys) -> Tally:
    """Verifies `answers`, which come in the order of their problems, and writes three configs.

    An answer is kept if every one of the recipe's `rewards` gives it more than 0. A pass rate
    counts only what the teacher answered; a problem without any answer has no pass rate.
    """
    tally = Tally()
    splits = {config: _Split(folder, config) for config in _SCHEMAS}
    passed: list[tuple[int, bool]] = []
    stream = iter(answers)
    while batch := list(islice(stream, _BATCH)):
        rows = [problems[answer.problem] for answer in batch]
        reasons = _refusals(batch, rows, keys)
        kept, rejected = [], []
        for answer, row, reason in zip(batch, rows, reasons, strict=True):
            tally.prompt_tokens += answer.prompt_tokens
            tally.completion_tokens += answer.completion_tokens
            tally.retries += answer.retries
            if not answer.failure:  # a problem without an answer is no failed solution
                tally.answered += 1
                passed.append((answer.problem, not reason))
            row_columns = {"problem": row["problem"], "answer": row["answer"]}
            if reason:
                tally.reasons[reason] += 1
                text = answer.text.encode(errors="replace").decode()  # parquet holds whole signs
                rejected.append({**row_columns, "completion": text, "reason": reason})
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


def left_out(folder: Path, tally: Tally) -> lost.Line:
    """Returns what the stage says if `write` refused more than half of the answers."""
    most = max(tally.reasons, key=lambda reason: tally.reasons[reason], default="")
    examples = islice(_completions(folder, most), lost.EXAMPLES)
    key = "`max_new_tokens`" if most == CUT else "`rewards`"
    return lost.Line("answers", tally.kept + tally.reasons.total(), tally.reasons, key, [*examples])


def _completions(folder: Path, reason: str) -> Iterator[str]:
    """What was refused for a reason, a batch at a time."""
    for file in sorted((folder / "rejected").glob("*.parquet")):
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(100, columns=["completion", "reason"]):
                rows = batch.to_pylist()
                yield from (row["completion"] for row in rows if row["reason"] == reason)


def columns_of(row: dict[str, Any], keys: DistillKeys) -> dict[str, Any]:
    """What a reward gets of a problem's row, beside completion and answer."""
    row = {name: value for name, value in row.items() if name != "traces"}
    return prompts.columns_of(row, keys.system_prompt, keys.prompt_suffix)


def _refusals(batch: list[Answer], rows: list[dict[str, Any]], keys: DistillKeys) -> list[str]:
    """Returns why each answer is refused (failed, cut, or the first reward of 0), or ""."""
    reasons = [
        answer.failure or (CUT if answer.cut else "" if whole(answer.text) else HALF)
        for answer in batch
    ]
    for name in keys.rewards:
        open_places = [place for place, reason in enumerate(reasons) if not reason]
        texts = [batch[place].text for place in open_places]
        known_answers = [rows[place]["answer"] for place in open_places]
        given = [columns_of(rows[place], keys) for place in open_places]
        beside = {column: [row[column] for row in given] for column in (given[0] if given else ())}
        scores = rewards.score(name, texts, known_answers, **beside)
        for place, score in zip(open_places, scores, strict=True):
            if not score.reward > 0:  # TRL's None, no verdict, is no yes
                reasons[place] = score.reason or name
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
