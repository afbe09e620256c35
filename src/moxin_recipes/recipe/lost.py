"""The loud line of a stage that leaves out more than half of what it was given."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)
EXAMPLES = 3
NO_TEXT = ("role", "from", "type", "left_out")  # fields of a turn that say who and how
_SHOWN = 100  # characters of an example


@dataclass(frozen=True)
class Line:
    """What was left out: of `total` rows (`what`), by reason; `key` is the recipe key to change."""

    what: str
    total: int
    reasons: Mapping[str, int]
    key: str
    examples: Sequence[str] = ()

    @property
    def gone(self) -> int:
        """How many rows were left out."""
        return sum(self.reasons.values())

    @property
    def is_loud(self) -> bool:
        """Whether more than half of the rows went."""
        return 2 * self.gone > self.total

    def __str__(self) -> str:
        """One line: how many of how many, why, the key, and examples of the first reason."""
        most = sorted(self.reasons.items(), key=lambda one: -one[1])
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in most if number)
        shown = " · ".join(f"“{excerpt(text)}”" for text in self.examples[:EXAMPLES])
        return (
            f"{self.gone:,} of {self.total:,} {self.what} are left out: {reasons}; "
            f"{self.key} decides on most of them" + (f"; such as {shown}" if shown else "")
        )


def warn(line: Line) -> None:
    """Logs the line of a stage that leaves out more than half."""
    if line.is_loud:
        log.warning("%s", line)


def texts(value: Any) -> Iterator[str]:
    """All texts in a row of a dataset, whatever its columns are; not who says them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from texts(inner if name not in NO_TEXT else None)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def excerpt(text: str) -> str:
    """The beginning of a text as a part of one line, without what would steer a terminal."""
    clean = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * _SHOWN])
    line = " ".join(clean.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
