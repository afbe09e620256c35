"""Reads published datasets of reasoning traces into `problem`, `answer` and `traces`."""

from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset, concatenate_datasets

from moxin_recipes.problems.rows import Problems
from moxin_recipes.rewards.maths import boxes

SEEN, UNSOLVED = "problem seen before", "no recorded solution"
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
    given = row["generations"] or []
    said = [given] if isinstance(given, str) else given
    traces = [as_chain(trace) for trace in said if isinstance(trace, str) and trace.strip()]
    return {"problem": row["problem"], "answer": row["answer"], "traces": traces}


def _openthoughts(row: dict[str, Any]) -> dict[str, Any]:
    # Only mathematics rows have a boxed answer; code, science and puzzles have nothing to verify.
    solution = row["deepseek_solution"] or ""
    return {
        "problem": row["problem"],
        "answer": boxes.answer(row["ground_truth_solution"] or ""),
        "traces": [joined(row["deepseek_reasoning"] or "", solution)] if solution.strip() else [],
    }


# Layout → (its columns, the function that reads a row).
LAYOUTS: dict[str, tuple[list[str], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "openr1": (["problem", "answer", "generations"], _openr1),
    "openthoughts": (
        ["problem", "ground_truth_solution", "deepseek_reasoning", "deepseek_solution"],
        _openthoughts,
    ),
}


def read(parts: Sequence[tuple[str, Dataset]]) -> Problems:
    """Returns the problems of all sources, with `traces`.

    `parts` holds (layout, dataset) of each source. A problem is left out without a solution, or if
    an earlier row has the same words, whatever the white space between them.
    """
    mapped = [
        dataset.map(LAYOUTS[layout][1], remove_columns=dataset.column_names)
        for layout, dataset in parts
    ]
    rows = concatenate_datasets(mapped)
    problems = Problems(rows, ("problem", "answer"), "traces")
    problems.leave_out(["" if traces else UNSOLVED for traces in rows["traces"]])
    seen: set[str] = set()

    def why(problem: str, _: str) -> str:
        words = " ".join(problem.split())
        if words in seen:
            return SEEN
        seen.add(words)
        return ""

    problems.leave_out_where(why)
    return problems
