"""Recorded solutions of reasoning models: known datasets → `problem`, `answer` and `traces`."""

from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset, concatenate_datasets

from moxin_recipes.rewards.answers import boxed

# OpenThoughts' marks; the rewards and the chat format have <think> and </think>.
_MARKS = {
    "<|begin_of_thought|>": "<think>",
    "<|end_of_thought|>": "</think>",
    "<|begin_of_solution|>": "",
    "<|end_of_solution|>": "",
}


def as_chain(text: str) -> str:
    """A trace with its thought in `<think>…</think>`.

    Some templates open the thought in the prompt, so that the completion only closes it.
    """
    for mark, ours in _MARKS.items():
        text = text.replace(mark, ours)
    text = text.strip()
    if "</think>" in text and "<think>" not in text:
        text = f"<think>\n{text}"
    return text


def joined(thought: str, solution: str) -> str:
    """A trace whose thought and solution come apart."""
    thought, solution = as_chain(thought), as_chain(solution)
    if not thought.startswith("<think>"):
        thought = f"<think>\n{thought}"
    closing = "" if "</think>" in thought else "\n</think>"
    return f"{thought}{closing}\n\n{solution}"


def _openr1(row: dict[str, Any]) -> dict[str, Any]:
    traces = [as_chain(trace) for trace in row["generations"]]
    return {"problem": row["problem"], "answer": row["answer"] or "", "traces": traces}


def _openthoughts(row: dict[str, Any]) -> dict[str, Any]:
    # Only its mathematics has a boxed answer; code, science and puzzles have none to compare with.
    return {
        "problem": row["problem"],
        "answer": boxed(row["ground_truth_solution"] or "") or "",
        "traces": [joined(row["deepseek_reasoning"] or "", row["deepseek_solution"] or "")],
    }


# Layout → (its columns, the reading of a row).
LAYOUTS: dict[str, tuple[list[str], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "openr1": (["problem", "answer", "generations"], _openr1),
    "openthoughts": (
        ["problem", "ground_truth_solution", "deepseek_reasoning", "deepseek_solution"],
        _openthoughts,
    ),
}


def read(parts: Sequence[tuple[str, Dataset]]) -> tuple[Dataset, dict[str, int]]:
    """(layout, dataset) of each source → one dataset, and how many rows were left out and why.

    A problem that an earlier row has word for word, blanks aside, is left out.
    """
    mapped = [
        dataset.map(LAYOUTS[layout][1], remove_columns=dataset.column_names)
        for layout, dataset in parts
    ]
    whole = concatenate_datasets(mapped)
    seen: set[str] = set()
    chosen = []
    counts = {"left out (no answer to verify by)": 0, "left out (problem seen before)": 0}
    for index, (problem, answer) in enumerate(zip(whole["problem"], whole["answer"], strict=True)):
        words = " ".join(problem.split())
        if not answer:
            counts["left out (no answer to verify by)"] += 1
        elif words in seen:
            counts["left out (problem seen before)"] += 1
        else:
            seen.add(words)
            chosen.append(index)
    return whole.select(chosen), counts
