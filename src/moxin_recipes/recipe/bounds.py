"""Numbers with bounds, as types of recipe keys: `Share`, `Count`, `Positive` and their like."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """What a number may be: from `least` to `most`.

    Not `least` itself where `above` is set, and not `most` itself where `below` is.
    """

    least: float | None = None
    most: float | None = None
    above: bool = False
    below: bool = False

    def allow(self, value: float) -> bool:
        """Whether the number lies within the bounds; NaN never does."""
        if self.least is not None and not value >= self.least:
            return False
        if (self.above and value == self.least) or (self.below and value == self.most):
            return False
        return self.most is None or value <= self.most

    def __str__(self) -> str:
        """The bounds in words, for an error: `above 0 and at most 1`."""
        low, high = "", ""
        if self.least is not None:
            low = f"{'above' if self.above else 'at least'} {self.least:g}"
        if self.most is not None:
            high = f"{'below' if self.below else 'at most'} {self.most:g}"
        return " and ".join(filter(None, (low, high)))


Share = Annotated[float, Bounds(0, 1)]  # of a whole, none and all included
Fraction = Annotated[float, Bounds(0, 1, below=True)]  # never all of it
PositiveShare = Annotated[float, Bounds(0, 1, above=True)]
Count = Annotated[int, Bounds(0)]
Positive = Annotated[int, Bounds(1)]
AtLeastZero = Annotated[float, Bounds(0)]
AboveZero = Annotated[float, Bounds(0, above=True)]
