"""Counts and lists the rows of a dataset that training leaves out, with the reasons."""

from collections import Counter
from typing import Any

import numpy as np
from datasets import Dataset

from moxin_recipes.chats.cells import parsed
from moxin_recipes.recipe import lost

# Reason → the recipe key to change; of the others, the dataset is to blame.
_KEYS = {
    "too long": "max_length",
    "prompt too long": "max_length",
    "equal answers when cut": "max_length",
    "no shared prompt": "prompt_column",
    "pass rate": "min_pass_rate`, `max_pass_rate",
    "too long to ask": "max_prompt_length",
    "answer is not understood": "answer_column",
    "tests are not understood": "answer_column",
    "last batch not full": "global_batch_size",
    "contaminated": "decontaminate",  # what follows says of which set
}
_REASONS = 30  # that are counted one by one
BATCH_NOT_FULL = "last batch not full"
TEMPLATE = "the chat template"  # a reason that begins so has what it does after a colon


def counted(row_name: str, reasons: np.ndarray) -> dict[str, int]:
    """Returns the number of rows, as `ROW_NAMEs`, and of rows left out, by reason.

    `reasons` holds one reason a row; "" means that the row is trained on.
    """
    counts = _counted(reasons)
    return {
        f"{row_name}s": len(reasons),
        **{f"left out ({reason})": count for reason, count in sorted(counts.items())},
    }


def listed(row_name: str, reasons: np.ndarray) -> Dataset:
    """Returns the rows that are left out: their index, in a column `row_name`, and the `reason`."""
    indices = np.flatnonzero(reasons != "")
    texts = [str(reason) for reason in reasons[indices]]
    return Dataset.from_dict({row_name: indices, "reason": texts})


def line(
    row_name: str, reasons: np.ndarray, rows: Dataset | None = None, key: str = "dataset_name"
) -> lost.Line:
    """Returns what the stage says if it leaves out more than half; `rows` are for examples.

    `key` is the recipe key of the dataset, which is to blame for most reasons.
    """
    counts = _counted(reasons)
    most = max(counts, key=lambda reason: counts[reason], default="")
    indices = np.flatnonzero(reasons == most)[: lost.EXAMPLES].tolist() if most else []
    examples = [" ".join(lost.texts(_read(rows[index]))) for index in indices] if rows else []
    own = "chat_template" if row_name == "chat" else "model_name_or_path"  # where one is chosen
    default = own if most.startswith(TEMPLATE) else key
    named = f"`{_KEYS.get(most.partition(':')[0], default)}`"
    return lost.Line(f"{row_name}s", len(reasons), counts, named, examples)


def _counted(reasons: np.ndarray) -> Counter[str]:
    """How many rows a reason has; rare ones together, where each row has its own words in it."""
    counts = Counter(str(reason) for reason in reasons if reason)
    kept = Counter(dict(counts.most_common(_REASONS)))
    others = counts.total() - kept.total()
    return kept + Counter({"other reasons": others})


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose columns may be JSON texts."""
    return {name: parsed(value) for name, value in row.items()}
