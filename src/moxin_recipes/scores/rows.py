"""lm-eval's results as rows of a dataset, a row for each metric, and as the manifest's metrics."""

from typing import Any

from moxin_recipes.recipe.keys.evaluate import Evaluation
from moxin_recipes.scores import clean_items
from moxin_recipes.scores.clean_items import Clean, SearchedItems

Row = dict[str, Any]


def rows_of(
    results: dict[str, Any], wanted: Evaluation, commit: str, searched: SearchedItems | None
) -> list[Row]:
    """The rows of one task, or of one group of tasks, on a model at `commit`."""
    scores = results["results"][wanted.task]
    count = sum(part["effective"] for part in results["n-samples"].values())
    samples = [sample for part in results.get("samples", {}).values() for sample in part]
    rows = []
    for name, value in scores.items():
        metric, comma, kind = name.partition(",")  # kind: the filter of the answers
        if comma and not metric.endswith("_stderr"):
            clean = Clean(None, None, None, "not given: the recipe names no `corpus_name`")
            if searched:
                of_kind = [sample for sample in samples if sample["filter"] == kind]
                clean = clean_items.clean_score(of_kind, metric, value, searched)
            rows.append(
                {
                    "model": wanted.model,
                    "commit": commit,
                    "task": wanted.task,
                    "metric": metric if kind == "none" else f"{metric} ({kind})",
                    "value": _number(value),
                    "stderr": _number(scores[name.replace(",", "_stderr,")]),
                    "items": count,
                    "shots": wanted.num_fewshot,
                    "chat": wanted.chat,
                    "clean_value": _number(clean.value),
                    "clean_stderr": _number(clean.stderr),
                    "clean_items": clean.items,
                    "clean_note": clean.note,
                }
            )
    return rows


def metrics(rows: list[Row]) -> dict[str, float | None]:
    """Each score and its standard error by `MODEL/TASK/SHOTS-shot[-chat]/METRIC`; `_clean` too."""
    named: dict[str, float | None] = {}
    for row in rows:
        chat = "-chat" if row["chat"] else ""
        name = f"{row['model']}/{row['task']}/{row['shots']}-shot{chat}/{row['metric']}"
        named |= {name: row["value"], f"{name}_stderr": row["stderr"]}
        if row["clean_value"] is not None:
            named |= {f"{name}_clean": row["clean_value"]}
            named |= {f"{name}_clean_stderr": row["clean_stderr"]}
    return named


def _number(value: float | str | None) -> float | None:
    """Rounded; None where there is no number (lm-eval says "N/A")."""
    return None if value is None or isinstance(value, str) else round(float(value), 4)
