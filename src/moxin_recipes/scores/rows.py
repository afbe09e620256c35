"""The rows of the table of scores: what units and groups of units say of each metric."""

from collections.abc import Sequence
from typing import Any

from moxin_recipes.hub.cards.tables import named
from moxin_recipes.scores.aggregates import clean, group_scores

Row = dict[str, Any]
COUNTS = ("prompts_cut", "at_limit", "unclosed_thoughts", "nothing_extracted")
NUMBERS = ("value", "stderr", "low", "high")
CLEAN = tuple(f"clean_{name}" for name in ("value", "stderr", "items", "note"))
ABSENT: Row = dict.fromkeys(
    [
        *("metric", *NUMBERS, "items", "shots", "whole", *COUNTS, *CLEAN),
        *("dataset", "dataset_commit", "unit", "failed"),
    ]
)


def of_unit(unit: Row) -> list[Row]:
    """A row for each score of a unit, without the model and its commit."""
    settings = unit["settings"]
    return [
        {
            **{name: settings[name] for name in ("chat", "samples")},
            "task": unit["task"],
            "metric": named(score),
            **{name: score.get(name) for name in NUMBERS},
            "items": unit["problems"],
            "shots": settings["shots"],
            "whole": unit["whole"],
            **{name: unit["counts"][name] for name in COUNTS},
            **{name: score.get(name) for name in CLEAN},
            "dataset": settings["dataset"]["path"],
            "dataset_commit": settings["dataset"]["commit"],
            "unit": unit["key"][:12],
            "failed": None,
        }
        for score in unit["scores"]
    ]


def of_group(group: Row, parts: Sequence[Row], items: Sequence[list[Row]]) -> list[Row]:
    """A row for each score of a group over its units, and over the clean items of all of them.

    `parts` are its units, `items` those of each; the model and its commit are left out.
    """
    first, shots = parts[0]["settings"], {unit["settings"]["shots"] for unit in parts}
    every = [
        row | {"doc_id": (number, row["doc_id"])}  # each document has a number of its own
        for number, rows in enumerate(items)
        for row in rows
    ]
    return [
        {
            **{name: first[name] for name in ("chat", "samples")},
            "task": group["task"],
            **ABSENT,
            "unit": group["key"][:12],
            "metric": named(score),
            **{name: score.get(name) for name in NUMBERS},
            "items": sum(unit["problems"] for unit in parts),
            "shots": min(shots) if len(shots) == 1 else None,
            "whole": all(unit["whole"] for unit in parts),
            **{name: sum(unit["counts"][name] for unit in parts) for name in COUNTS},
            **clean(
                score | {"of": score["metric"], "aggregation": "mean"},
                [row for row in every if row["filter"] == score["filter"]],
            ),
        }
        for score in group_scores(group["aggregates"], parts)
    ]
