"""Units and what is counted: `cm`, `miles per hour`, `square feet`, `eggs`; words that qualify."""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

_TABLE = """
length m 1: m meter metre
length cm 1/100: cm centimeter centimetre
length mm 1/1000: mm millimeter millimetre
length km 1000: km kilometer kilometre
length in 254/10000: in inch inches
length ft 3048/10000: ft foot feet
length yd 9144/10000: yd yard
length mi 1609344/1000: mi mile
time s 1: s sec second
time min 60: min minute
time h 3600: h hr hour
time day 86400: day
time week 604800: week
mass g 1: g gram gramme
mass kg 1000: kg kilogram
mass mg 1/1000: mg milligram
mass lb 45359237/100000: lb pound
mass oz 28349523125/1000000000: oz ounce
volume l 1: l liter litre
volume ml 1/1000: ml milliliter millilitre
money dollar 1: dollar usd
money cent 1/100: cent
angle degree 1: degree deg
number hundred 100: hundred
number thousand 1000: thousand
number million 1000000: million
number billion 1000000000: billion
number trillion 1000000000000: trillion
time month 2629746: month
time year 31556952: year
number dozen 12: dozen
"""
_UNITS: dict[str, tuple[str, Fraction]] = {}
for _line in _TABLE.strip().splitlines():
    _head, _, _names = _line.partition(":")
    _kind, _, _scale = _head.split()
    for _name in _names.split():
        _UNITS[_name] = (_kind, Fraction(_scale))
_WHOLE = {"mph": "miles per hour", "kph": "km per h", "kmh": "km per h", "sq": "square"}
# Words that make another answer of the number before them.
_QUALIFYING = """
or not no more less least most than except if when unless maybe between either above below over
under to mod modulo approximately about times squared cubed half am pm remainder north south
east west left right bce bc ad
"""
_NUMBERS = """
pi factorial plus minus third thirds quarter quarters half halves one two three four five six seven
eight nine ten eleven twelve
"""
_QUALIFIERS = frozenset((_QUALIFYING + _NUMBERS).split())
_STOPS = frozenset(["of", "the", "a", "an", "each", "and", "per", "unit"])


@dataclass(frozen=True)
class Unit:
    """Of words after a number: what they multiply it by, and what they say of it.

    `factor` is that of `million`; `scale` that of the unit in base units. `dimensions` is None
    where a word is no known unit: things that are counted.
    """

    factor: Fraction
    scale: Fraction
    dimensions: tuple[tuple[str, int], ...] | None
    qualifiers: frozenset[str]
    words: frozenset[str] = frozenset()


def is_unit(words: str) -> bool:
    """Whether all of it is known as a unit."""
    unit = read(words)
    return unit.dimensions is not None and not unit.qualifiers


def read(words: str) -> Unit:
    """The unit of the words after a number."""
    factor, scale, powers, known = Fraction(1), Fraction(1), Counter[str](), True
    qualifiers: set[str] = set()
    sign, power, previous = 1, 1, ""
    for word in re.findall(r"[A-Za-z.]+|/|\^\s*\{?-?\d+\}?", _spelled(words)):
        lower = word.replace(".", "").lower()
        if lower in ("per", "/"):
            sign = -1
        elif lower in ("square", "cubic"):
            power = 2 if lower == "square" else 3
        elif word.startswith("^"):
            extra = int(re.sub(r"[^-\d]", "", word)) - 1
            kind, size = _known(previous) or ("", Fraction(1))
            powers[kind] += sign * extra
            scale *= size ** (sign * extra)
        elif lower in _QUALIFIERS and not (lower == "in" or _known(lower)):
            qualifiers.add(lower)
        elif lower in ("of", "the", "a", "an", "each", "and", "units", "unit"):
            continue
        elif found := _known(word if word in _UNITS else lower):
            kind, size = found
            powers[kind] += sign * power
            factor *= size if kind == "number" else 1
            scale *= 1 if kind == "number" else size ** (sign * power)
            previous, power = word if word in _UNITS else lower, 1
        else:
            known = False
    powers.pop("number", None)
    powers.pop("", None)
    dimensions = tuple(sorted((kind, n) for kind, n in powers.items() if n)) if known else None
    said = {word.lower().strip(".").removesuffix("s") for word in re.findall(r"[A-Za-z.]+", words)}
    return Unit(factor, scale, dimensions, frozenset(qualifiers), frozenset(said - _STOPS))


def _spelled(words: str) -> str:
    return " ".join(_WHOLE.get(word.lower(), word) for word in words.split())


def _known(word: str) -> tuple[str, Fraction] | None:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _UNITS:
            return _UNITS[form]
    return None
