"""LaTeX of one value as exact mathematics, and whether two of them are the same.

Decimals become fractions, so nothing is rounded by reading. Numbers are compared exactly where both
are rational, else by 200 digits relative to their size; functions at points of either sign.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import sympy
from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from sympy.core.function import AppliedUndef

from moxin_recipes.rewards.maths.readings import UnreadableError

_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)(?![\d.])|(?<![\d.])(\d+)\.(?!\d)")
_PLAIN = re.compile(
    r"\s*[-+]?(?P<digits>\d+(?:\.\d*)?|\.\d+)\s*"
    r"(?:\\(?:times|cdot)\s*10\s*\^\s*\{?\s*(?P<power>[-+]?\d{1,4})\s*\}?)?\s*"
)
_BROKEN = re.compile(r"\d\s+\d|\d\s*\.\s+\d|\.\.|[&$#@~`\"?;:]")
# What the parser would leave out: primes, transposes, derivatives.
_UNREAD = re.compile(
    r"'|\\prime|\\partial|\^\s*\{?\s*(?:T|\\top|\\intercal|\\dagger)\b|\\frac\s*\{\s*d\s*\w*\s*\}\s*\{\s*d"
)
_DIGITS = (30, 80, 200)
_CONFIG = ConversionConfig(lowercase_symbols=False)
_POINTS = (
    (sympy.Rational(7, 5), sympy.Rational(13, 11)),
    (sympy.Rational(-9, 7), sympy.Rational(5, 13)),
    (sympy.Rational(29, 8), sympy.Rational(-3, 7)),
    (sympy.Rational(-2, 9), sympy.Rational(-19, 17)),
    (sympy.Rational(17, 3), sympy.Rational(8, 19)),
)
_ENOUGH = 3  # points where both have a value


@lru_cache(maxsize=256)
def parse(latex: str) -> sympy.Expr:
    """The exact value of LaTeX that was read to its end; raises UnreadableError."""
    if _BROKEN.search(latex) or _UNREAD.search(latex):
        raise UnreadableError("not one formula")
    try:
        found = latex2sympy(
            _DECIMAL.sub(_fraction, latex), normalization_config=None, conversion_config=_CONFIG
        )
    except RecursionError:
        raise
    except Exception as error:
        raise UnreadableError(str(error)[:100]) from error
    if not isinstance(found, sympy.Expr) or found.has(sympy.nan, sympy.zoo):
        raise UnreadableError("no value")
    found = found.replace(lambda one: isinstance(one, AppliedUndef), _product)
    known = {sympy.Symbol("i"): sympy.I, sympy.Symbol("e"): sympy.E}
    by_name = {symbol: known[plain] for symbol in found.free_symbols for plain in known
               if symbol.name == plain.name}  # fmt: skip
    return _real_roots(found.xreplace(by_name).doit())


def _real_roots(value: sympy.Expr) -> sympy.Expr:
    """An odd root of a negative number is the real one: the cube root of -8 is -2."""
    return value.replace(
        lambda one: (
            one.is_Pow
            and one.exp.is_Rational
            and one.exp.q > 1
            and one.exp.q % 2
            and one.base.is_negative
        ),
        lambda one: sympy.Integer(-1) ** one.exp.p * (-one.base) ** one.exp,
    )


def _fraction(match: re.Match[str]) -> str:
    """A decimal as an exact fraction."""
    whole, part = match[1] or match[3] or "0", match[2] or ""
    return f"({whole}{part}/{10 ** len(part)})" if part else whole


def _product(function: AppliedUndef) -> sympy.Expr:
    """`x(x+1)` is a product, as in all formulas without a definition."""
    if len(function.args) != 1:
        return function
    return sympy.Mul(sympy.Symbol(function.func.__name__), *function.args)


@dataclass(frozen=True)
class Decimal:
    """A decimal as written: its value, significant digits, and half of its last place."""

    value: sympy.Expr
    digits: int
    half: sympy.Rational


def decimal(latex: str) -> Decimal | None:
    """A number with a point or a power of ten; None of anything else."""
    match = _PLAIN.fullmatch(latex)
    if match is None or ("." not in match["digits"] and match["power"] is None):
        return None
    places = len(match["digits"].partition(".")[2])
    digits = len(match["digits"].replace(".", "").lstrip("0"))
    half = sympy.Rational(1, 2) * sympy.Integer(10) ** (int(match["power"] or 0) - places)
    return Decimal(parse(latex), digits, half)


def same(one: sympy.Expr, other: sympy.Expr) -> bool:
    """Whether two values are equal: as numbers, or as functions of the same letters."""
    if one == other:
        return True
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    if not letters:
        return _same_number(one, other)
    if one.free_symbols != other.free_symbols:
        return bool(sympy.simplify(one - other) == 0)
    valid = 0
    for first, step in _POINTS:
        at = {letter: first + place * step for place, letter in enumerate(letters)}
        verdict = _same_at(_real_roots(one.subs(at)), _real_roots(other.subs(at)))
        if verdict is False:
            return False
        valid += verdict is True
    return valid >= _ENOUGH or bool(sympy.simplify(one - other) == 0)


def _same_at(one: sympy.Expr, other: sympy.Expr) -> bool | None:
    """Whether two numbers agree; None where one of them is none."""
    pair = sympy.N(one, 40), sympy.N(other, 40)
    if not all(value.is_number and value.is_finite for value in pair):
        return None
    return _near(*pair, sympy.Integer(10) ** -28)


def _same_number(one: sympy.Expr, other: sympy.Expr) -> bool:
    if one.is_Rational and other.is_Rational:
        return bool(one == other)
    if one.is_infinite or other.is_infinite:
        return bool(one == other)
    for digits in _DIGITS:
        pair = sympy.N(one, digits), sympy.N(other, digits)
        if not all(value.is_number and value.is_finite for value in pair):
            return bool(sympy.simplify(one - other) == 0)
        if not _near(*pair, sympy.Integer(10) ** (10 - digits)):
            return False
    return True


def _near(one: sympy.Expr, other: sympy.Expr, share: sympy.Expr) -> bool:
    """Whether two numbers differ by at most a share of the larger one."""
    size = max(abs(one), abs(other))
    return bool(abs(one - other) <= share * size)


def within(one: sympy.Expr, other: sympy.Expr, distance: sympy.Expr) -> bool:
    """Whether two real numbers are at most so far apart; False of what has letters."""
    difference = sympy.N(one - other, 30)
    return bool(difference.is_real and abs(difference) <= distance * (1 + sympy.Rational(1, 10**9)))
