"""Scores in the metadata of a model's card, where the Hub shows them."""

from collections.abc import Iterator
from typing import Any

from huggingface_hub import EvalResult, metadata_update
from huggingface_hub.repocard_data import eval_results_to_model_index

from moxin_recipes.hub.session import errors

Row = dict[str, Any]


def add_scores(repo: str, rows: list[Row]) -> None:
    """Writes rows (`scores/rows.py`) into the card on main; commits and tags stay as they are."""
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=row["task"],
            dataset_name=f"{row['task']} ({asked})",
            dataset_config=asked,  # or the card would mix up two of one task
            metric_type=row["metric"],
            metric_value=value,
            metric_args=more,
        )
        for row in rows
        for asked, value, more in _both(row)
    ]
    if not results:
        return
    with errors(repo):
        metadata_update(
            repo,
            {"model-index": eval_results_to_model_index(repo.split("/")[-1], results)},
            overwrite=True,
            commit_message="Scores",
        )


def _both(row: Row) -> Iterator[tuple[str, float, Row]]:
    """(how it was asked, value, more) of a score over all items, and of the clean one if given."""
    asked = f"{row['shots']}-shot{', chat' if row['chat'] else ''}"
    more = {"stderr": row["stderr"], "items": row["items"], "commit": row["commit"]}
    yield asked, row["value"], {**more, "clean items": row["clean_note"]}
    if row["clean_value"] is not None:
        more |= {"stderr": row["clean_stderr"], "items": row["clean_items"]}
        yield f"{asked}, clean items", row["clean_value"], more
