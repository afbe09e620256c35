"""The generated chat, preference and problem sets of a small ladder, as parquet splits."""

import random
from pathlib import Path
from typing import Any

from datasets import Dataset

from moxin_recipes.problems import arithmetic, arithmetic_rows, stories
from moxin_recipes.problems.arithmetic import Draw, Problem, Split
from moxin_recipes.recipe.keys.data import DataKeys

Row = dict[str, Any]
KINDS: dict[str, Draw] = {"sums": arithmetic.draw, "stories": stories.draw}


def write_split(folder: Path, split: str, rows: list[Row]) -> int:
    """Writes `SPLIT.parquet`, or nothing where there are no rows; the number of rows."""
    if rows:
        folder.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")
    return len(rows)


def chat(folder: Path, own: DataKeys) -> dict[str, int]:
    """`train` and `test` chats of one turn."""
    wanted: list[tuple[Split, int]] = [("train", own.chat_rows), ("test", own.test_rows)]
    return {split: write_split(folder, split, _chats(split, count, own)) for split, count in wanted}


def _chats(split: Split, count: int, own: DataKeys) -> list[Row]:
    draw = KINDS[own.problem_kind]
    return arithmetic_rows.chat_rows(split, own.seed, count, draw, own.chat_steps)


def preferences(folder: Path, own: DataKeys) -> dict[str, int]:
    """`train` and `test` pairs of a right answer and a worse one."""
    make, draw = arithmetic_rows.preference_rows, KINDS[own.problem_kind]
    return {
        "train": write_split(folder, "train", make("train", own.seed, own.preference_rows, draw)),
        "test": write_split(folder, "test", make("test", own.seed, own.test_rows, draw)),
    }


def problems(folder: Path, own: DataKeys) -> dict[str, int]:
    """Problems by use: `train` to distill, `rl` for GRPO, and splits that nothing trains on.

    `one_step` is what SFT is about, `longer` has longer chains than CoT SFT sees, `test` the other
    lengths that GRPO sees, `choices` holds multiple-choice items. No training split shares an
    expression with a held-out one (`arithmetic.split_of`).
    """
    wanted: dict[str, tuple[Split, int, list[int]]] = {
        "train": ("train", own.problem_rows, own.chain_steps),
        "rl": ("rl", own.rl_rows, own.rl_steps),
        "test": ("test", own.test_rows, sorted(set(own.rl_steps) - set(own.longer_steps))),
        "one_step": ("test", own.test_rows, [1]),
    }
    if own.longer_steps:
        wanted["longer"] = ("test", own.test_rows, own.longer_steps)
    counts, draw = {}, KINDS[own.problem_kind]
    for name, (split, count, steps) in wanted.items():
        found = arithmetic.problems(split, own.seed, count, steps, draw)
        counts[name] = write_split(folder / "problems", name, [_row(p) for p in found])
    choices = arithmetic_rows.choice_rows(own.seed, own.test_rows, draw)
    counts["choices"] = write_split(folder / "choices", "test", choices)
    return counts


def _row(problem: Problem) -> Row:
    return {
        **arithmetic_rows.problem_row(problem),
        "expression": problem.expression,
        "chain_prefix": arithmetic.chain_prefix(problem),
    }


def sample_texts(own: DataKeys, count: int = 1500) -> list[str]:
    """Chats and worked chains as running text, so that the tokenizer learns their marks."""
    rng = random.Random(f"sample {own.seed}")
    draw = KINDS[own.problem_kind]
    chats = _chats("train", count, own)
    texts = [
        f"<|user|>\n{first['content']}\n<|assistant|>\n{second['content']}"
        for first, second in (row["messages"] for row in chats)
    ]
    for problem in arithmetic.problems("train", own.seed, count, own.chain_steps, draw):
        answer = arithmetic_rows.teacher(problem, 1, rng)[0]
        texts.append(f"<|user|>\n{problem.question}\n<|assistant|>\n{answer}")
    return texts
