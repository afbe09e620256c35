"""Whether an answer is the right one: each part of one reading against that of the other."""

import re
from collections.abc import Sequence
from itertools import pairwise, product

import sympy

from moxin_recipes.rewards.maths import amounts, notation, sets, values
from moxin_recipes.rewards.maths.brackets import SAID
from moxin_recipes.rewards.maths.readers import read
from moxin_recipes.rewards.maths.readings import (
    Chain,
    Choice,
    Combined,
    Condition,
    Ellipsis,
    Expression,
    Interval,
    Member,
    Parts,
    Reading,
    UnreadableError,
    Words,
)
from moxin_recipes.rewards.maths.units import read as read_unit

_UNORDERED = {"list", "set"}
_SIMPLE_NAME = re.compile(
    r"(?:\\frac\{d\w*\}\{d[a-z]\}|\\Delta\s*[A-Z]|\\(?:text|overline|vec|hat|bar|tilde|angle|triangle)\s*\{?[^={}]*\}?|[A-Za-z]|\\[a-z]+)"
    r"\s*'*\s*(?:_\s*(?:\{[^{}]*\}|\w))?\s*'*\s*(?:\([^()=]*\))?\s*(?:\\angle\s*\w+)?"
)
# Letters that are added or multiplied, lengths and angles: what a problem may ask for.
_LETTER = r"(?:[A-Za-z](?:_\{?\w+\}?)?|\\(?:alpha|beta|gamma|theta|phi))"
_OF_LETTERS = re.compile(
    rf"(?:m\s*)?\\(?:angle|triangle)\s*\w+|\|?[A-Z]{{2,3}}\|?|\[[A-Z]{{3,6}}\]"
    rf"|\\frac\{{{_LETTER}\}}\{{{_LETTER}\}}|{_LETTER}\s*/\s*{_LETTER}|{_LETTER}(?:\s*[-+]?\s*{_LETTER})+"
)


def equal(candidate: str, gold: str) -> bool:
    """Whether the texts of two boxes are one answer; False where either is not understood."""
    try:
        ours, right = notation.plain(candidate), notation.plain(gold)
    except ValueError:
        return False
    if not ours or not right:
        return False
    if _squeezed(ours) == _squeezed(right):
        return True
    forms = dict.fromkeys((ours, notation.plain(candidate, metres=True)))
    found = [reading for form in forms for reading in _readings(form)]
    return any(_equal(one, other) for one, other in product(found, _readings(right)))


def understood(gold: str) -> bool:
    """Whether an answer can be read, and so be met by the same value written otherwise."""
    try:
        forms = _readings(notation.plain(gold))
    except ValueError:
        return False
    return any(_agree(one, one) for one in forms)


def _readings(text: str) -> list[Reading]:
    """Those with `1,000` as a thousand and as a list, where there are both."""
    found = []
    for form in dict.fromkeys((notation.without_commas(text), text)):
        try:
            found.append(read(form))
        except UnreadableError:
            continue
    return found


def _equal(candidate: Reading, gold: Reading) -> bool:
    try:
        return same(candidate, gold)
    except UnreadableError:
        return False


def _squeezed(text: str) -> str:
    """Without spaces, and without the braces around one digit or one letter of an index."""
    text = re.sub(r"(?<=\d)\s+(?=\d)", "_", text)
    return re.sub(r"\s+", "", re.sub(r"\{(\d)\}|(?<=[\^_])\{(\w)\}", r"\1\2", text))


def same(ours: Reading, right: Reading, *, worked_out: bool = True) -> bool:
    """Whether a reading of an answer is the right one; raises UnreadableError.

    With `worked_out`, a whole number must not be left as a sum or a product.
    """
    if isinstance(ours, Choice) or isinstance(right, Choice):
        return _same_choice(ours, right)
    if isinstance(ours, Chain) or isinstance(right, Chain):
        return _same_chain(ours, right, worked_out)
    if isinstance(ours, Member) or isinstance(right, Member):
        one, other = sets.letters(ours), sets.letters(right)
        found, wanted = (side.of if isinstance(side, Member) else side for side in (ours, right))
        return (not one or not other or one == other) and same(found, wanted, worked_out=worked_out)
    if isinstance(ours, Words) or isinstance(right, Words):
        return _spoken(ours) == _spoken(right)
    if isinstance(ours, Ellipsis) or isinstance(right, Ellipsis):
        return ours == right
    if any(isinstance(one, Interval | Condition | Combined) for one in (ours, right)):
        return sets.same(ours, right)
    if isinstance(ours, Parts) and isinstance(right, Parts):
        return _same_parts(ours, right, worked_out)
    if isinstance(ours, Expression) and isinstance(right, Expression):
        return amounts.same(ours, right, worked_out)
    return amounts.same_total(ours, right)


def _spoken(reading: Reading) -> str:
    """Words, or what is written like one."""
    if isinstance(reading, Words):
        return reading.text
    return reading.latex.lower().strip() if isinstance(reading, Expression) else "\0"


def _same_choice(ours: Reading, right: Reading) -> bool:
    """A letter is right, or the value beside it."""
    if isinstance(ours, Choice) and isinstance(right, Choice):
        if ours.letter != right.letter:
            return False
        return ours.beside is None or right.beside is None or same(ours.beside, right.beside)
    for one, other in ((ours, right), (right, ours)):
        letter = isinstance(other, Expression) and re.fullmatch(r"[A-Z]", other.latex)
        if isinstance(one, Choice) and letter:
            return letter[0] == one.letter
    if isinstance(ours, Choice):
        return ours.beside is not None and same(ours.beside, right)
    return isinstance(right, Choice) and right.beside is not None and same(ours, right.beside)


def _same_chain(ours: Reading, right: Reading, worked_out: bool) -> bool:
    if not isinstance(right, Chain):
        sides = _answers(ours) if isinstance(ours, Chain) else ()
        return any(_met(side, right, worked_out) for side in sides)
    named = _name(right)
    if isinstance(ours, Chain):
        if _same_equation(ours, right):
            return True
        if named and _name(ours) not in (None, named):
            return False
    if len(right.sides) == 2 and named is None and _letters(right.sides[0]):
        return False  # an equation, not a name and its value
    return same(ours, _answers(right)[-1], worked_out=worked_out)


def _met(side: Reading, right: Reading, worked_out: bool) -> bool:
    try:
        return same(side, right, worked_out=worked_out)
    except UnreadableError:
        return False


def _answers(chain: Chain) -> tuple[Reading, ...]:
    """The sides that are the answer, all of one value; the first one may be a name for it."""
    first, rest = chain.sides[0], chain.sides[1:]
    agree = _about if chain.about else _agree
    if not all(agree(one, other) for one, other in pairwise(rest)):
        raise UnreadableError("no single answer")
    if _is_name(chain, rest):
        return rest
    if not agree(first, rest[0]):
        raise UnreadableError("no single answer")
    return chain.sides


def _agree(one: Reading, other: Reading) -> bool:
    try:
        return same(one, other, worked_out=False)
    except UnreadableError:
        return False


def _about(one: Reading, other: Reading) -> bool:
    """Whether two sides of `≈` are one value: one is the other, rounded to its last digit."""
    if _agree(one, other):
        return True
    if not (isinstance(one, Expression) and isinstance(other, Expression)):
        return False
    return amounts.is_rounding(one, other) or amounts.is_rounding(other, one)


def _letters(reading: Reading) -> set[str]:
    """Names of the letters in an expression; `?` where it cannot be read."""
    if not isinstance(reading, Expression):
        return {"?"} if isinstance(reading, Words) else set()
    try:
        return {symbol.name for symbol in values.parse(reading.latex).free_symbols}
    except UnreadableError:
        return {"?"}


def _name(chain: Chain) -> str | None:
    """The left side, where it is a name such as `x` or `f(x)`."""
    left = chain.texts[0].strip()
    return left if _SIMPLE_NAME.fullmatch(left) and left not in ("e", "i", "\\pi") else None


def _is_name(chain: Chain, rest: Sequence[Reading]) -> bool:
    """Whether the first side only names the others' value: `x`, `f(3)`, `m + n`, `AB`."""
    left = chain.texts[0].strip()
    if any(read_unit(said).qualifiers for said in SAID.findall(left)):
        return False  # `\\text{not} = 5`
    inside = set().union(*(_letters(side) for side in rest))
    if _name(chain):
        head = re.sub(r"\\frac\{d(?=\w+\})|[({_'}].*", "", left).strip().lstrip("\\")
        return head not in inside
    return not inside and _OF_LETTERS.fullmatch(left) is not None


def _same_equation(ours: Chain, right: Chain) -> bool:
    """Whether two equations say the same of their letters: one is a multiple of the other."""
    if len(ours.sides) != 2 or len(right.sides) != 2:
        return False
    try:
        one, other = (
            values.parse(_latex(chain.sides[0])) - values.parse(_latex(chain.sides[1]))
            for chain in (ours, right)
        )
    except UnreadableError:
        return False
    if one.free_symbols != other.free_symbols or not one.free_symbols or other == 0:
        return False
    return bool(sympy.simplify(one / other).is_number)


def _latex(side: Reading) -> str:
    if isinstance(side, Expression) and side.unit is None:
        return side.latex
    raise UnreadableError("no formula")


def _same_parts(ours: Parts, right: Parts, worked_out: bool) -> bool:
    kinds = {ours.kind, right.kind}
    if "quantity" in kinds:
        return _same_quantity(ours, right) or amounts.same_total(ours, right)
    if len(ours.items) != len(right.items):
        return False
    if ours.kind == right.kind == "named":
        found = dict(zip(ours.names, ours.items, strict=True))
        return found.keys() == set(right.names) and all(
            same(found[name], item, worked_out=worked_out)
            for name, item in zip(right.names, right.items, strict=True)
        )
    if kinds <= _UNORDERED or (kinds & {"named"} and kinds & _UNORDERED):
        return _matched(list(ours.items), list(right.items), worked_out)
    in_order = len(kinds) == 1 or kinds in ({"list", "tuple"}, {"named", "tuple"})
    if ours.kind == right.kind == "ratio" and not amounts.same_words(ours.names, right.names):
        return False
    return in_order and all(
        same(one, other, worked_out=worked_out)
        for one, other in zip(ours.items, right.items, strict=True)
    )


def _matched(ours: list[Reading], right: list[Reading], worked_out: bool) -> bool:
    """Whether each value of one has its own in the other, in any order."""
    for wanted in right:
        found = next((one for one in ours if _met(one, wanted, worked_out)), None)
        if found is None:
            return False
        ours.remove(found)
    return not ours


def _same_quantity(ours: Parts, right: Parts) -> bool:
    """Every number with its word: `3 red and 5 blue`."""
    if ours.kind != right.kind or sorted(ours.names) != sorted(right.names):
        return False
    found = dict(zip(ours.names, ours.items, strict=True))
    pairs = zip(right.names, right.items, strict=True)
    return len(found) == len(ours.items) and all(same(found[name], item) for name, item in pairs)
