"""Evaluation items are in no training set, by construction: every set of both kinds is compared."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from moxin_recipes.problems import arithmetic, arithmetic_rows, sets
from moxin_recipes.recipe.keys.data import DataKeys, Source

SUM = re.compile(r"\d+(?:[+-]\d+)+")


def sums(value: Any) -> set[str]:
    """Canonical form of every sum in a row, whatever its shape; no text of it is left out."""
    if isinstance(value, dict):
        return set().union(*(sums(inner) for inner in value.values()), set())
    if isinstance(value, list):
        return set().union(*(sums(inner) for inner in value), set())
    return {arithmetic.Problem(expression, "").canonical for expression in SUM.findall(str(value))}


def steps_of_chains() -> set[str]:
    """Sums of two terms that a chain's running totals may show; no question is one of them."""
    totals = range(arithmetic.MAX_TOTAL + 1)
    return {
        arithmetic.Problem(f"{total}{sign * term:+d}", "").canonical
        for total in totals
        for term in range(1, 10)
        for sign in (1, -1)
    }


@pytest.mark.parametrize("seed", [42, 7])
def test_no_evaluation_item_is_trained_on(tmp_path: Path, seed: int) -> None:
    keys = DataKeys(
        stage="data",
        sources=[Source(name="maths-text")],
        hub_corpus_id="c",
        hub_tokens_id="t",
        seed=seed,
        maths_documents=4000,
        chat_rows=2000,
        preference_rows=500,
        problem_rows=1500,
        rl_rows=500,
        test_rows=400,
        chain_steps=[2, 3, 4],
        rl_steps=[3, 4, 5],
        chat_steps=[2, 3, 4, 5, 6],
        longer_steps=[5, 6],
    )
    sets.chat(tmp_path / "chat", keys)
    sets.preferences(tmp_path / "preferences", keys)
    sets.problems(tmp_path / "problems", keys)

    def rows(name: str, split: str) -> list[Any]:
        return list(
            load_dataset("parquet", data_files=str(tmp_path / name / f"{split}.parquet"))["train"]
        )

    problems = rows("problems/problems", "train")
    taught = [
        text
        for row in problems
        for text in arithmetic_rows.teacher(
            arithmetic.Problem(row["expression"], row["problem"]), 2, random.Random(seed)
        )
    ]
    longest = max(row["steps"] for row in problems)
    assert longest < min(row["steps"] for row in rows("problems/problems", "longer"))
    training = {
        "maths-text": sums(
            [d["text"] for d in arithmetic_rows.maths_documents("train", seed, 4000)]
        ),
        "chat": sums(rows("chat", "train")),
        "preferences": sums(rows("preferences", "train")),
        "distilled": sums(problems) | sums(taught),
        "rl": sums(rows("problems/problems", "rl")),
        "tokenizer": sums(sets.sample_texts(keys)),
    }
    held_out = (
        sums(rows("problems/problems", "test"))
        | sums(rows("problems/problems", "longer"))
        | sums(rows("problems/problems", "one_step"))
        | sums(rows("problems/choices", "test"))
        | sums(rows("preferences", "test"))
    )
    held_out -= steps_of_chains()  # `chain_prefix` begins a chain
    assert len(held_out) > 700
    for name, seen in training.items():
        assert len(seen - steps_of_chains()) > 100, name
        assert not seen & held_out, name
    assert not (training["rl"] - steps_of_chains()) & training["distilled"]
