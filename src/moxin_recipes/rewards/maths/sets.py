"""Sets of real numbers: intervals, unions, and conditions on one letter, as sympy's sets."""

import sympy
from sympy.solvers.inequalities import solve_univariate_inequality

from moxin_recipes.rewards.maths import values
from moxin_recipes.rewards.maths.readings import (
    Combined,
    Condition,
    Expression,
    Interval,
    Member,
    Parts,
    Reading,
    UnreadableError,
)

_RELATIONS = {
    "<": sympy.StrictLessThan,
    ">": sympy.StrictGreaterThan,
    "\\leq": sympy.LessThan,
    "\\geq": sympy.GreaterThan,
}
_MIRRORED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq", "\\neq": "\\neq"}


def same(ours: Reading, right: Reading) -> bool:
    """Whether two readings are one set of reals; conditions on several letters word for word."""
    one, other = letters(ours), letters(right)
    if (
        isinstance(ours, Condition)
        and isinstance(right, Condition)
        and max(len(one), len(other)) > 1
    ):
        return _same_condition(ours, right)
    if one and other and one != other:
        return False
    return bool(_set(ours) == _set(right))


def letters(reading: Reading) -> set[str]:
    """Names of the letters of which a reading says something; none of an interval."""
    if isinstance(reading, Member):
        return {letter.name for letter in values.parse(reading.letter).free_symbols}
    if isinstance(reading, Condition):
        return {s.name for side in reading.sides for s in values.parse(side).free_symbols}
    if isinstance(reading, Combined):
        return set().union(*(letters(item) for item in reading.items))
    return set()


def _set(reading: Reading) -> sympy.Set:
    if isinstance(reading, Interval):
        left, right = (not closed for closed in reading.closed)
        return _interval(reading.low, reading.high, left, right)
    if isinstance(reading, Condition):
        return _of_condition(reading)
    if isinstance(reading, Combined):
        return _combined(reading)
    if isinstance(reading, Member):
        return _set(reading.of)
    if (
        isinstance(reading, Parts)
        and reading.kind in ("tuple", "bracket")
        and len(reading.items) == 2
    ):
        low, high = (item.latex if isinstance(item, Expression) else "" for item in reading.items)
        is_open = reading.kind == "tuple"
        return _interval(low, high, is_open, is_open)
    if isinstance(reading, Parts) and reading.kind in ("set", "list"):
        return sympy.FiniteSet(
            *(_real(i.latex) for i in reading.items if isinstance(i, Expression))
        )
    raise UnreadableError("no set of reals")


def _interval(low: str, high: str, left_open: bool, right_open: bool) -> sympy.Set:
    ends = _real(low), _real(high)
    if not bool(ends[0] < ends[1]) and not (ends[0] == ends[1] and not (left_open or right_open)):
        raise UnreadableError("an interval without a number in it")
    return sympy.Interval(*ends, left_open, right_open)


def _real(latex: str) -> sympy.Expr:
    value = values.parse(latex.replace("+\\infty", "\\infty").strip())
    if value.free_symbols or not value.is_extended_real:
        raise UnreadableError("no real number")
    return sympy.nsimplify(value) if value.is_Float else value


def _combined(reading: Combined) -> sympy.Set:
    parts = [_set(item) for item in reading.items]
    if reading.how == "or":
        return sympy.Union(*parts)
    if reading.how == "and":
        return sympy.Intersection(*parts)
    for part in parts[1:]:
        parts[0] = sympy.Complement(parts[0], part)
    return parts[0]


def _of_condition(condition: Condition) -> sympy.Set:
    """The reals that a chain of inequalities in one letter leaves."""
    sides = [values.parse(side) for side in condition.sides]
    letters = set().union(*(side.free_symbols for side in sides))
    if len(letters) != 1:
        raise UnreadableError("a condition on several letters")
    letter = letters.pop()
    real = sympy.Symbol(str(letter), real=True)
    found: sympy.Set = sympy.S.Reals
    for operator, left, right in zip(condition.operators, sides[:-1], sides[1:], strict=True):
        difference = (left - right).xreplace({letter: real})
        if operator == "\\neq":
            found = sympy.Complement(found, sympy.solveset(difference, real, sympy.S.Reals))
            continue
        relation = _RELATIONS[operator](difference, 0)
        if relation in (True, False):
            raise UnreadableError("a condition on nothing")
        found = sympy.Intersection(
            found, solve_univariate_inequality(relation, real, relational=False)
        )
    return found


def _same_condition(ours: Condition, right: Condition) -> bool:
    """The same relation between the same sides, up to a positive factor and its direction."""
    if len(ours.operators) != 1 or len(right.operators) != 1:
        return ours == right
    one, other = (values.parse(c.sides[0]) - values.parse(c.sides[1]) for c in (ours, right))
    share = sympy.simplify(one / other) if other != 0 else sympy.nan
    if not share.is_number or not share.is_real:
        return False
    operator = right.operators[0] if share > 0 else _MIRRORED[right.operators[0]]
    return ours.operators[0] == operator
