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
_SOFT = frozenset({"am", "pm", "about", "approximately"})
_INTEGER = re.compile(r"[-+]?\d+")
# A whole number may be written as a fraction, a power or a root. Anything else between two numbers
# makes a sum, a product or a second guess: a question or a list is no answer.
_NUMBERS = re.compile(r"[0-9]+")
_JOINT = re.compile(
    r"[.,]|[})]*\s*[/^_]\s*[{(]*\s*-?|\}+|\}+\s*\{+\s*-?|\]\s*\{|[})]*\s*\\cdot\s*10\s*\^?"
    r"|\}*\s*\\(?:frac|sqrt)\s*[\[{]*\s*-?"
)
_POWER_OF_TEN = re.compile(r"\\(?:times|cdot)\s*10\s*\^\s*\{?\s*[-+]?\d+\s*\}?")
_OPERATION = re.compile(r"\\(?:sum|prod|int|lim|max|min|gcd|lcm|binom|operatorname)(?![a-z])|!")


def _rational(fraction: Fraction) -> sympy.Rational:
    return sympy.Rational(fraction.numerator, fraction.denominator)


def same(ours: Expression, right: Expression, worked_out: bool) -> bool:
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
    return _rounded(ours, right, found, wanted)


def _scales(ours: Unit | None, right: Unit | None) -> tuple[sympy.Rational, sympy.Rational] | None:
    """What each value is multiplied with; None where the units measure different things."""
    factors = [_rational(unit.factor) if unit else sympy.Integer(1) for unit in (ours, right)]
    if ours is None or right is None:
        return factors[0], factors[1]
    if ours.dimensions is None or right.dimensions is None:
        alike = ours.words & right.words or not (ours.words and right.words)
        return (factors[0], factors[1]) if alike else None
    if not ours.dimensions or not right.dimensions:
        return factors[0], factors[1]
    if ours.dimensions != right.dimensions:
        return None
    return factors[0] * _rational(ours.scale), factors[1] * _rational(right.scale)


def is_worked_out(latex: str) -> bool:
    """Whether a whole number is written as one number, fraction, power or root."""
    if _OPERATION.search(latex):
        return False
    latex = _POWER_OF_TEN.sub("", latex)
    return all(map(_JOINT.fullmatch, _NUMBERS.split(latex)[1:-1]))


def _rounded(ours: Expression, right: Expression, found: sympy.Expr, wanted: sympy.Expr) -> bool:
    """Whether one is the other, rounded as far as the policy allows."""
    if found.free_symbols or wanted.free_symbols:
        return False
    written, given = values.decimal(ours.latex), values.decimal(right.latex)
    if written and given:
        close = values.within(found, wanted, _SAME * abs(wanted))
        return close and given.digits >= _ROUNDED_ANSWER and not _is_whole(wanted)
    if given and given.digits >= _ROUNDED_GOLD and not _terminates(found):
        return values.within(found, wanted, given.half)
    if written and written.digits >= _ROUNDED_ANSWER and not _terminates(wanted):
        return values.within(found, wanted, written.half)
    return False


def is_rounding(ours: Expression, right: Expression) -> bool:
    """Whether `right` is a decimal of three digits or more that `ours` rounds to."""
    given = values.decimal(right.latex)
    if given is None or given.digits < _ROUNDED_GOLD:
        return False
    found, wanted = values.parse(ours.latex), values.parse(right.latex)
    if found.free_symbols or wanted.free_symbols:
        return False
    return values.within(found, wanted, given.half)


def _is_whole(value: sympy.Expr) -> bool:
    return bool(value.is_integer)


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
    hard = [set(said) - _SOFT for said in (ours, right)]
    soft = [set(said) & _SOFT for said in (ours, right)]
    return hard[0] == hard[1] and (not soft[0] or not soft[1] or soft[0] == soft[1])


def same_total(ours: Reading, right: Reading) -> bool:
    """Quantities of one dimension in other units: 3 hours 20 minutes are 200 minutes."""
    totals = [_total(one) for one in (ours, right)]
    if totals[0] is None or totals[1] is None:
        return False
    (one, dimensions), (other, others) = totals[0], totals[1]
    return bool(dimensions) and dimensions == others and values.same(one, other)


def _total(reading: Reading) -> tuple[sympy.Expr, tuple[tuple[str, int], ...]] | None:
    items = reading.items if isinstance(reading, Parts) else (reading,)
    total, dimensions = sympy.Integer(0), None
    if isinstance(reading, Parts) and reading.kind != "quantity":
        return None
    for item in items:
        unit = item.unit if isinstance(item, Expression) else None
        if (
            unit is None
            or unit.dimensions is None
            or unit.qualifiers
            or not isinstance(item, Expression)
        ):
            return None
        if dimensions not in (None, unit.dimensions):
            return None
        dimensions = unit.dimensions
        total += values.parse(item.latex) * _rational(unit.scale * unit.factor)
    return None if dimensions is None else (total, dimensions)
