"""Units and what is counted: `cm`, `miles per hour`, `square feet`, `eggs`; words that qualify."""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

_TABLE = """
length m 1: m meter metre
length cm 1/100: cm centimeter centimetre
length mm 1/1000: mm millimeter millimetre
length nm 1/1000000000: nm nanometer nanometre
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
angle arcminute 1/60: arcminute
force N 1: N newton
force kN 1000: kN kilonewton
energy J 1: J joule
energy kJ 1000: kJ kilojoule
power W 1: W watt
power kW 1000: kW kilowatt
pressure Pa 1: Pa pascal
pressure kPa 1000: kPa kilopascal
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
east west left right bce bc ad celsius fahrenheit
"""
_NUMBERS = """
pi factorial plus minus third thirds quarter quarters half halves one two three four five six seven
eight nine ten eleven twelve
"""
_QUALIFIERS = frozenset((_QUALIFYING + _NUMBERS).split())
_STOPS = frozenset(["of", "the", "a", "an", "each", "and", "unit", "units"])
_POWERS = {"square": 2, "cubic": 3, "squared": 2, "cubed": 3}
_WORD = re.compile(r"[A-Za-z.]+|/|\^\s*\{?-?\d+\}?")
_PLURAL = re.compile(r"(?<=[a-z])(?:(?<=[hsxz])e)?s$")
_COUNT = "number of "
_ABBREVIATED = 3  # letters, at most


@dataclass(frozen=True)
class Unit:
    """Of words after a number: what they multiply it by, and what they say of it.

    `factor` is that of `million`; `scale` that of the unit in base units. `dimensions` are powers
    of what is measured; a word that is no known unit counts something: a dimension of its own.
    """

    factor: Fraction
    scale: Fraction
    dimensions: tuple[tuple[str, int], ...]
    qualifiers: frozenset[str]


def is_unit(words: str) -> bool:
    """Whether all of it is known as a unit."""
    unit = read(words)
    return not unit.qualifiers and not any(kind.startswith(_COUNT) for kind, _ in unit.dimensions)


def read(words: str) -> Unit:
    """The unit of the words after a number."""
    factor, scale, powers = Fraction(1), Fraction(1), Counter[str]()
    qualifiers: set[str] = set()
    sign, power, last = 1, 1, ("", Fraction(1))
    for word in _WORD.findall(_spelled(words)):
        lower = word.replace(".", "").lower()
        after = int(re.sub(r"[^-\d]", "", word)) if word[0] == "^" else _POWERS.get(lower, 1)
        if lower in ("per", "/"):
            sign = -1
        elif lower in ("square", "cubic"):
            power = after
        elif last[0] and after != 1:
            powers[last[0]] += sign * (after - 1)
            scale *= last[1] ** (sign * (after - 1))
        elif lower in _QUALIFIERS:
            qualifiers.add(lower)
        elif lower not in _STOPS and lower.isalpha():
            kind, size = found = _known(word)
            if kind == "number":
                factor *= size
            elif kind != "money" or found != last:  # `$5 dollars` says it twice
                powers[kind] += sign * power
                scale *= size ** (sign * power)
                last, power = found, 1
    dimensions = tuple(sorted((kind, n) for kind, n in powers.items() if n))
    return Unit(factor, scale, dimensions, frozenset(qualifiers))


def _spelled(words: str) -> str:
    return " ".join(_WHOLE.get(word.lower(), word) for word in words.split())


def _known(word: str) -> tuple[str, Fraction]:
    """What a word measures, and how much of it; short words keep their case: mW is no MW."""
    plain = word.replace(".", "")
    for spelled in (word, plain, plain.lower()):
        for form in (spelled, spelled.removesuffix("s"), spelled.removesuffix("es")):
            if form in _UNITS:
                return _UNITS[form]
    return _COUNT + (
        _PLURAL.sub("", plain.lower()) if len(plain) > _ABBREVIATED else plain
    ), Fraction(1)
