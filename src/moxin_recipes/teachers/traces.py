"""Reads published datasets of reasoning traces into `problem`, `answer` and `traces`."""

from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset, concatenate_datasets

from moxin_recipes.rewards.maths import boxes

# OpenThoughts has marks of its own; the rewards and the chat format use <think> and </think>.
_MARKS = {
    "<|begin_of_thought|>": "<think>",
    "<|end_of_thought|>": "</think>",
    "<|begin_of_solution|>": "",
    "<|end_of_solution|>": "",
}


def as_chain(text: str) -> str:
    """Returns a trace with its thought in `<think>…</think>`.

    Some chat templates put `<think>` into the prompt. Their completions contain only `</think>`, so
    the missing mark is added.
    """
    for mark, ours in _MARKS.items():
        text = text.replace(mark, ours)
    text = text.strip()
    if "</think>" in text and "<think>" not in text:
        text = f"<think>\n{text}"
    return text


def joined(thought: str, solution: str) -> str:
    """Joins a thought and a solution into one trace."""
    thought, solution = as_chain(thought), as_chain(solution)
    if not thought.startswith("<think>"):
        thought = f"<think>\n{thought}"
    closing = "" if "</think>" in thought else "\n</think>"
    return f"{thought}{closing}\n\n{solution}"


def _openr1(row: dict[str, Any]) -> dict[str, Any]:
    traces = [as_chain(trace) for trace in row["generations"]]
    return {"problem": row["problem"], "answer": row["answer"] or "", "traces": traces}


def _openthoughts(row: dict[str, Any]) -> dict[str, Any]:
    # Only mathematics rows have a boxed answer; code, science and puzzles have nothing to verify.
    return {
        "problem": row["problem"],
        "answer": boxes.answer(row["ground_truth_solution"] or "") or "",
        "traces": [joined(row["deepseek_reasoning"] or "", row["deepseek_solution"] or "")],
    }


# Layout → (its columns, the function that reads a row).
LAYOUTS: dict[str, tuple[list[str], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "openr1": (["problem", "answer", "generations"], _openr1),
    "openthoughts": (
        ["problem", "ground_truth_solution", "deepseek_reasoning", "deepseek_solution"],
        _openthoughts,
    ),
}


def read(parts: Sequence[tuple[str, Dataset]]) -> tuple[Dataset, dict[str, int]]:
    """Returns one dataset of all sources, and counts of the rows that were left out, by reason.

    `parts` holds (layout, dataset) of each source. A problem is left out if an earlier row has the
    same words, whatever the white space between them.
    """
    mapped = [
        dataset.map(LAYOUTS[layout][1], remove_columns=dataset.column_names)
        for layout, dataset in parts
    ]
    combined = concatenate_datasets(mapped)
    seen: set[str] = set()
    kept_rows = []
    counts = {"left out (no answer to verify by)": 0, "left out (problem seen before)": 0}
    for index, (problem, answer) in enumerate(
        zip(combined["problem"], combined["answer"], strict=True)
    ):
        words = " ".join(problem.split())
        if not answer:
            counts["left out (no answer to verify by)"] += 1
        elif words in seen:
            counts["left out (problem seen before)"] += 1
        else:
            seen.add(words)
            kept_rows.append(index)
    return combined.select(kept_rows), counts
