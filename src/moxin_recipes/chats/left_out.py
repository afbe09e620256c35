"""Counts and lists the rows of a dataset that training leaves out, with the reasons."""

from collections import Counter

import numpy as np
from datasets import Dataset

BATCH_NOT_FULL = "last batch not full"


def counted(row_name: str, reasons: np.ndarray) -> dict[str, int]:
    """Returns the number of rows, as `ROW_NAMEs`, and of rows left out, by reason.

    `reasons` holds one reason a row; "" means that the row is trained on.
    """
    counts = Counter(str(reason) for reason in reasons if reason)
    return {
        f"{row_name}s": len(reasons),
        **{f"left out ({reason})": count for reason, count in sorted(counts.items())},
    }


def listed(row_name: str, reasons: np.ndarray) -> Dataset:
    """Returns the rows that are left out: their index, in a column `row_name`, and the `reason`."""
    indices = np.flatnonzero(reasons != "")
    texts = [str(reason) for reason in reasons[indices]]
    return Dataset.from_dict({row_name: indices, "reason": texts})
