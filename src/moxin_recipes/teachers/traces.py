"""Reads published datasets of reasoning traces into `problem`, `answer` and `traces`."""

from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset, Features, List, Value, concatenate_datasets

from moxin_recipes.chats.cells import parsed, whole
from moxin_recipes.problems.rows import Problems
from moxin_recipes.problems.texts import answer_of, problem_of
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
    given = parsed(row["generations"])
    said = [_said(trace) for trace in (given if isinstance(given, list) else [given])]
    traces = [as_chain(trace) for trace in said if trace.strip()]
    return {"problem": row["problem"], "answer": row["answer"], "traces": traces}


def _openthoughts(row: dict[str, Any]) -> dict[str, Any]:
    # Only mathematics rows have a boxed answer; code, science and puzzles have nothing to verify.
    thought, solution = _said(row["deepseek_reasoning"]), _said(row["deepseek_solution"])
    return {
        "problem": row["problem"],
        "answer": boxes.answer(_said(row["ground_truth_solution"])),
        "traces": [joined(thought, solution)] if solution.strip() else [],
    }


def _said(trace: Any) -> str:
    """The text of a trace, which may be a turn or a chat's turns; "" where there is none."""
    if isinstance(trace, list):
        return _said(trace[-1]) if trace else ""
    if isinstance(trace, dict):
        thought, said = trace.get("reasoning_content"), _first(trace, "content", "value", "text")
        return joined(thought, said) if isinstance(thought, str) and thought.strip() else said
    return trace if isinstance(trace, str) else ""


def _first(turn: dict[str, Any], *names: str) -> str:
    return next((turn[name] for name in names if isinstance(turn.get(name), str)), "")


# Layout → (its columns, the function that reads a row).
LAYOUTS: dict[str, tuple[list[str], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "openr1": (["problem", "answer", "generations"], _openr1),
    "openthoughts": (
        ["problem", "ground_truth_solution", "deepseek_reasoning", "deepseek_solution"],
        _openthoughts,
    ),
}


# Sources may differ in the types of their columns, so each row is read before they are joined.
_READ = Features(
    {
        **{name: Value("string") for name in ("problem", "answer", "reason")},
        "traces": List(Value("string")),
    }
)


def _row(row: dict[str, Any], layout: str) -> dict[str, Any]:
    read = LAYOUTS[layout][1](row)
    (problem, why), (answer, other) = problem_of(read["problem"]), answer_of(read["answer"])
    said = [trace for trace in read["traces"] if whole(trace)]
    return {"problem": problem, "answer": answer, "traces": said, "reason": why or other}


def read(parts: Sequence[tuple[str, Dataset]]) -> Problems:
    """Returns the problems of all sources, with `traces`.

    `parts` holds (layout, dataset) of each source. A problem is left out without a solution, or if
    an earlier row has the same words, whatever the white space between them.
    """
    mapped = [
        dataset.map(
            _row,
            fn_kwargs={"layout": layout},
            features=_READ,
            remove_columns=dataset.column_names,
        )
        for layout, dataset in parts
    ]
    rows = concatenate_datasets(mapped)
    known = rows["reason"][:]
    rows = rows.remove_columns("reason")
    problems = Problems(rows, ("problem", "answer"), "traces", reasons=known)
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
