"""An answer as its parts: which values it has, in which order, of which kind, with which words."""

from dataclasses import dataclass, field
from typing import Literal

from moxin_recipes.rewards.maths.units import Unit

Kind = Literal[
    "list", "tuple", "bracket", "set", "sequence", "quantity", "ratio", "matrix", "named"
]


class UnreadableError(ValueError):
    """It is not one answer, or not one that is understood."""


@dataclass(frozen=True)
class Expression:
    """LaTeX of one value; `unit` is what stands after it, `base` that of its digits."""

    latex: str
    unit: Unit | None = None
    percent: bool = False
    base: int | None = None


@dataclass(frozen=True)
class Words:
    """Words alone, in lower case."""

    text: str


@dataclass(frozen=True)
class Choice:
    """A letter of a multiple choice, and what is written beside it."""

    letter: str
    beside: "Reading | None"


@dataclass(frozen=True)
class Parts:
    """Several values. Lists and sets have no order; `names` are those of a quantity or of `x=1`."""

    kind: Kind
    items: tuple["Reading", ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """`a = b = c`: sides that must be one value. `about`: some sign is `≈`."""

    sides: tuple["Reading", ...]
    texts: tuple[str, ...]
    about: bool = False


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; `closed` says of each end whether it belongs to it."""

    low: str
    high: str
    closed: tuple[bool, bool]


@dataclass(frozen=True)
class Condition:
    """A chain of inequalities: `operators` stand between the `sides`."""

    sides: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Combined:
    """Sets or conditions, joined by `or` (union), `and` (intersection) or `minus`."""

    how: Literal["or", "and", "minus"]
    items: tuple["Reading", ...] = field(default=())


@dataclass(frozen=True)
class Member:
    """`x \\in S`: which letter is in which set or list."""

    letter: str
    of: "Reading"


@dataclass(frozen=True)
class Ellipsis:
    """`\\ldots`."""


Reading = (
    Expression
    | Words
    | Choice
    | Parts
    | Chain
    | Interval
    | Condition
    | Combined
    | Member
    | Ellipsis
)
