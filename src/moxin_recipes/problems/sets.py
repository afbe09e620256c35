"""Writes the generated chats, preferences and problems of a small ladder as parquet splits."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moxin_recipes.hub.splits import write_split
from moxin_recipes.problems import arithmetic, arithmetic_rows, stories
from moxin_recipes.problems.arithmetic import Draw, Problem, Split
from moxin_recipes.recipe.keys.data import DataKeys

Row = dict[str, Any]
KINDS: dict[str, Draw] = {"sums": arithmetic.draw, "stories": stories.draw}


def chat(folder: Path, keys: DataKeys) -> dict[str, int]:
    """Writes `train` and `test` chats of one turn; returns their numbers of rows."""
    sizes: list[tuple[Split, int]] = [("train", keys.chat_rows), ("test", keys.test_rows)]
    return {split: write_split(folder, split, _chats(split, count, keys)) for split, count in sizes}


def _chats(split: Split, count: int, keys: DataKeys) -> list[Row]:
    draw = KINDS[keys.problem_kind]
    return arithmetic_rows.chat_rows(split, keys.seed, count, draw, keys.chat_steps)


def preferences(folder: Path, keys: DataKeys) -> dict[str, int]:
    """Writes `train` and `test` pairs of a right and a worse answer; returns their sizes."""
    make, draw = arithmetic_rows.preference_rows, KINDS[keys.problem_kind]
    return {
        "train": write_split(folder, "train", make("train", keys.seed, keys.preference_rows, draw)),
        "test": write_split(folder, "test", make("test", keys.seed, keys.test_rows, draw)),
    }


def problems(folder: Path, keys: DataKeys) -> dict[str, int]:
    """Writes problems by use: `train` for distillation, `rl` for GRPO, and held-out splits.

    `one_step` has the problems that SFT teaches. `longer` has chains that are longer than those of
    CoT SFT, and `test` has the other lengths that GRPO trains on. `choices` holds multiple-choice
    items. No training split shares an expression with a held-out one (`arithmetic.split_of`).
    Returns the number of rows of each split.
    """
    plans: dict[str, tuple[Split, int, list[int]]] = {
        "train": ("train", keys.problem_rows, keys.chain_steps),
        "rl": ("rl", keys.rl_rows, keys.rl_steps),
        "test": ("test", keys.test_rows, sorted(set(keys.rl_steps) - set(keys.longer_steps))),
        "one_step": ("test", keys.test_rows, [1]),
    }
    if keys.longer_steps:
        plans["longer"] = ("test", keys.test_rows, keys.longer_steps)
    counts, draw = {}, KINDS[keys.problem_kind]
    for name, (split, count, steps) in plans.items():
        drawn = arithmetic.problems(split, keys.seed, count, steps, draw)
        counts[name] = write_split(folder / "problems", name, [_row(p) for p in drawn])
    choices = arithmetic_rows.choice_rows(keys.seed, keys.test_rows, draw)
    counts["choices"] = write_split(folder / "choices", "test", choices)
    return counts


def _row(problem: Problem) -> Row:
    return {
        **arithmetic_rows.problem_row(problem),
        "expression": problem.expression,
        "chain_prefix": arithmetic.chain_prefix(problem),
    }


def sample_texts(keys: DataKeys, count: int = 1500) -> list[str]:
    """Returns chats and worked chains as plain text, so that the tokenizer learns their marks."""
    rng = random.Random(f"sample {keys.seed}")
    draw = KINDS[keys.problem_kind]
    chats = _chats("train", count, keys)
    texts = [
        f"<|user|>\n{first['content']}\n<|assistant|>\n{second['content']}"
        for first, second in (row["messages"] for row in chats)
    ]
    for problem in arithmetic.problems("train", keys.seed, count, keys.chain_steps, draw):
        answer = arithmetic_rows.teacher(problem, 1, rng)[0]
        texts.append(f"<|user|>\n{problem.question}\n<|assistant|>\n{answer}")
    return texts


Build = Callable[[Path, DataKeys], dict[str, int]]
# What the stage `data` generates, by the key that names its repository.
BY_KEY: dict[str, tuple[Build, str]] = {
    "hub_chat_id": (chat, "Chats of one turn, made by a program."),
    "hub_preferences_id": (preferences, "Right answers beside worse ones."),
    "hub_problems_id": (
        problems,
        "Problems with answers; no training split shares an expression with a held-out one.",
    ),
}


def write(key: str, folder: Path, keys: DataKeys) -> dict[str, Any]:
    """Writes the set of that key to `folder`; facts for the manifest and the card."""
    build, summary = BY_KEY[key]
    return {"summary": summary, "counts": build(folder, keys)}
