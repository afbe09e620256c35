"""Numbers with their units and words: equal, of one dimension in other units, or rounded."""

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import sympy

from moxin_recipes.rewards.maths import values
from moxin_recipes.rewards.maths.readings import Expression, Parts, Reading
from moxin_recipes.rewards.maths.units import Unit

# A rounded gold answer is met by an exact value from this many significant digits on, and an exact
# gold answer, or a rounded one, by a decimal from that many on.
_ROUNDED_GOLD, _ROUNDED_ANSWER = 3, 6
_SAME = sympy.Rational(1, 10**6)  # of the size, between two decimals
_SOFT = {"am", "pm", "about", "approximately", "left", "right", "celsius", "fahrenheit"}
_INTEGER = re.compile(r"[-+]?\d+")
# A whole number may be written as a fraction, a power or a root. Anything else between two numbers
# makes a sum, a product or a second guess: a question or a list is no answer.
_NUMBERS = re.compile(r"[0-9]+")
_JOINT = re.compile(
    r"[.,]|[})]*\s*[/^_]\s*[{(]*\s*-?|\}+|\}+\s*\{+\s*-?|\]\s*\{\s*-?|[})]*\s*\\cdot\s*10\s*\^?"
    r"|\}*\s*\\(?:frac|sqrt)\s*[\[{]*\s*-?"
)
_POWER_OF_TEN = re.compile(r"\\(?:times|cdot)\s*10\s*\^\s*\{?\s*[-+]?\d+\s*\}?")
_OPERATION = re.compile(r"\\(?:sum|prod|int|lim|max|min|gcd|lcm|binom|operatorname)(?![a-z])|!")


def _rational(fraction: Fraction) -> sympy.Rational:
    return sympy.Rational(fraction.numerator, fraction.denominator)


def same(ours: Expression, right: Expression, worked_out: bool) -> bool:
    """Whether two values are one, with their words, percent signs and bases; maybe rounded.

    With `worked_out`, a whole number is not left as a sum or a product. Raises UnreadableError.
    """
    if (ours.base or 10) != (right.base or 10):
        return False
    if worked_out and _INTEGER.fullmatch(right.latex) and not is_worked_out(ours.latex):
        return False
    units = [one.unit for one in (ours, right)]
    if not same_words(*(sorted(unit.qualifiers) if unit else () for unit in units)):
        return False
    scales = _scales(*units)
    letters = values.parse(right.latex).free_symbols
    if scales is None or (letters and ours.percent != right.percent):
        return False
    shares = [(1, 100) if one.percent else (1,) for one in (ours, right)]
    if ours.percent == right.percent:
        shares = [(1,), (1,)]
    found = values.parse(ours.latex) * scales[0]
    wanted = values.parse(right.latex) * scales[1]
    if any(values.same(found / one, wanted / other) for one, other in product(*shares)):
        return True
    written, given = values.decimal(ours.latex), values.decimal(right.latex)
    if written and given:
        return _nearly(found, wanted) and given.digits >= _ROUNDED_ANSWER
    return (_rounds(found, given, scales[1], _ROUNDED_GOLD) and not _terminates(found)) or (
        _rounds(wanted, written, scales[0], _ROUNDED_ANSWER) and not _terminates(wanted)
    )


def _scales(ours: Unit | None, right: Unit | None) -> tuple[sympy.Rational, sympy.Rational] | None:
    """What each value is multiplied with; None where the units measure different things."""
    units = [unit for unit in (ours, right) if unit and unit.dimensions]
    if len({unit.dimensions for unit in units}) == 2:
        return None
    one, other = (
        _rational(unit.factor * (unit.scale if len(units) == 2 else 1))
        if unit
        else sympy.Integer(1)
        for unit in (ours, right)
    )
    return one, other


def is_worked_out(latex: str) -> bool:
    """Whether a whole number is written as one number, fraction, power or root."""
    if _OPERATION.search(latex):
        return False
    latex = _POWER_OF_TEN.sub("", latex)
    return all(map(_JOINT.fullmatch, _NUMBERS.split(latex)[1:-1]))


def _nearly(found: sympy.Expr, wanted: sympy.Expr) -> bool:
    """Whether two decimals differ by what nobody asked for; whole numbers have no such digits."""
    return not wanted.is_integer and values.within(found, wanted, _SAME * abs(wanted))


def _rounds(value: sympy.Expr, to: values.Decimal | None, scale: sympy.Expr, digits: int) -> bool:
    """Whether a number of so many digits or more, in units of `scale`, is the value, rounded."""
    return (
        to is not None
        and to.digits >= digits
        and values.within(value, to.value * scale, to.half * scale)
    )


def is_rounding(ours: Expression, right: Expression) -> bool:
    """Whether `right` is a decimal of three digits or more that `ours` rounds to."""
    given = values.decimal(right.latex)
    return _rounds(values.parse(ours.latex), given, sympy.Integer(1), _ROUNDED_GOLD)


def _terminates(value: sympy.Expr) -> bool:
    """Whether a number has an end as a decimal, so that nobody has to round it."""
    if not value.is_Rational:
        return False
    bottom = int(value.q)
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1


def same_words(ours: Sequence[str], right: Sequence[str]) -> bool:
    """Whether words that qualify are the same; those of `_SOFT` may be missing on one side."""
    hard = [set(said) - _SOFT for said in (ours, right)]
    soft = [set(said) & _SOFT for said in (ours, right)]
    return hard[0] == hard[1] and (not soft[0] or not soft[1] or soft[0] == soft[1])


def same_total(ours: Reading, right: Reading) -> bool:
    """Quantities of one dimension in other units: 3 hours 20 minutes are 200 minutes."""
    totals = [_total(one) for one in (ours, right)]
    if totals[0] is None or totals[1] is None:
        return False
    (one, dimensions), (other, others) = totals[0], totals[1]
    return dimensions == others and values.same(one, other)


def _total(reading: Reading) -> tuple[sympy.Expr, tuple[tuple[str, int], ...]] | None:
    """(sum in base units, dimensions) of one quantity or of several of one dimension."""
    if isinstance(reading, Parts) and reading.kind != "quantity":
        return None
    total, dimensions = sympy.Integer(0), set()
    for item in reading.items if isinstance(reading, Parts) else (reading,):
        unit = item.unit if isinstance(item, Expression) else None
        if not isinstance(item, Expression) or unit is None or unit.qualifiers:
            return None
        dimensions.add(unit.dimensions)
        total += values.parse(item.latex) * _rational(unit.scale * unit.factor)
    return (total, dimensions.pop()) if len(dimensions) == 1 and all(dimensions) else None
