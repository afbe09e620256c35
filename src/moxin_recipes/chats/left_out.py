"""What of a dataset is not trained on, and why: counted for the manifest, listed for a reader."""

from collections import Counter

import numpy as np
from datasets import Dataset

BATCH_NOT_FULL = "last batch not full"


def counted(what: str, reasons: np.ndarray) -> dict[str, int]:
    """How many rows, called `what`, there are, and how many are left out by reason ("": none)."""
    numbers = Counter(str(reason) for reason in reasons if reason)
    return {
        f"{what}s": len(reasons),
        **{f"left out ({reason})": number for reason, number in sorted(numbers.items())},
    }


def listed(what: str, reasons: np.ndarray) -> Dataset:
    """Place in the dataset, in a column called `what`, and `reason` of each row left out."""
    places = np.flatnonzero(reasons != "")
    return Dataset.from_dict({what: places, "reason": [str(reason) for reason in reasons[places]]})
