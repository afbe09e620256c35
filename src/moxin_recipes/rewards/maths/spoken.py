r"""Words, and values with words after: `\\text{red}`, `3 \\text{ km}`, `3 hours 20 minutes`."""

import re
from typing import Literal

from moxin_recipes.rewards.maths import units
from moxin_recipes.rewards.maths.brackets import SAID
from moxin_recipes.rewards.maths.readings import (
    Ellipsis,
    Expression,
    Interval,
    Parts,
    Reading,
    UnreadableError,
    Words,
)

AFTER = re.compile(r"(?:\s*(?:\\text\{[^{}]*\}(?:\^\s*\{?-?\d\}?)?|/|\\cdot))+$")
LETTER = re.compile(
    r"\\text\{\s*(?:(?:Option|Choice|Answer):?\s+)?\(?([A-Z])\)?[.:]?\s*\}|\(([A-Z])\)"
)
NOTHING = Parts("set", ())
REALS = Interval("-\\infty", "\\infty", (False, False))
_NONE = re.compile(
    r"(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?|values?)(?: exists?)?|"
    r"(?:the )?empty set"
)
_ALL = re.compile(
    r"(?:the set of )?(?:all|any|every) reals?(?: numbers?| values?)?(?: (?:of )?[a-z])?"
)
# Names with commas keep their order: `Ann, Bob, Tom` may be a ranking.
_PARTINGS: tuple[tuple[Literal["tuple", "list"], re.Pattern[str]], ...] = (
    ("tuple", re.compile(r"\s*,\s*(?:and\s+)?")),
    ("list", re.compile(r"\s+and\s+")),
)
_BASED = re.compile(r"([0-9A-Za-z]+)\s*_\s*(?:\{?\s*(\d{1,2})\s*\}?|\{?\\text\{([a-z]+)\}\}?)")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
_QUANTITY = re.compile(r"\s*((?:(?!\\text).)+?)\s*\\text\{([^{}]*)\}")
_SHORT = "no yes on off odd up all any one two six ten red mon tue wed thu fri sat sun ann bob tom"
_SHORT_WORDS = frozenset(_SHORT.split())
_LETTERS = 3  # of a product of letters, at most; more of them are a word


def words(text: str) -> Reading | None:
    """Words alone, or several of them; None of anything else."""
    if text == "\\ldots":
        return Ellipsis()
    spoken = SAID.sub(r"\1", text)
    alone = re.fullmatch(r"(?:\\text\{[^{}]*\}\s*)+", text) is not None
    short = text.lower() in _SHORT_WORDS
    letters = re.fullmatch(r"[A-Za-z]+(?:[' -][A-Za-z]+)*", text) is not None
    long = letters and max(map(len, re.split("[' -]", text))) > _LETTERS
    if not (alone or short or long) or LETTER.fullmatch(text):
        return None
    if any(sign.isdigit() for sign in spoken):
        raise UnreadableError("a number among words")
    said = " ".join(spoken.lower().strip(" .()").split())
    if _NONE.fullmatch(said):
        return NOTHING
    if _ALL.fullmatch(said):
        return REALS
    for kind, parting in _PARTINGS:
        if len(pieces := [piece for piece in parting.split(said) if piece]) > 1:
            return Parts(kind, tuple(map(Words, pieces)))
    return Words(said)


def quantity(text: str) -> Reading | None:
    """`3 hours and 20 minutes`: two or more numbers with their words, and nothing else."""
    pairs: list[tuple[str, str]] = []
    place = 0
    while match := _QUANTITY.match(text, place):
        number = match[1].strip(" ,&")
        words = re.sub(r"^(?:and|,)\s+|[\s,]+(?:and|,)$", "", match[2].strip(" ,.")).strip()
        if not re.search(r"\d", number) or not words or words in ("and", "or"):
            if words == "and" and not number and pairs:
                place = match.end()
                continue
            return None
        pairs.append((number, words))
        place = match.end()
        joint = re.match(
            r"\s*(?:,|\\text\{\s*,?\s*and\s*\}|,\s*\\text\{\s*and\s*\})\s*", text[place:]
        )
        place += joint.end() if joint else 0
    if text[place:].strip() or len(pairs) < 2:
        return None
    if any(set(number) & set("=<>") or "\\leq" in number for number, _ in pairs):
        return None
    items = tuple(expression(f"{number} \\text{{{words}}}") for number, words in pairs)
    return Parts("quantity", items, tuple(words.lower().removesuffix("s") for _, words in pairs))


def based(text: str) -> Reading | None:
    """`52_8`: digits in a base; raises UnreadableError where the base has no such digit."""
    match = _BASED.fullmatch(text)
    if match is None or not re.search(r"\d", match[1]):
        return None
    base = int(match[2]) if match[2] else _BASES.get(match[3], 0)
    try:
        int(match[1], base) if 2 <= base <= 36 else int("x")
    except ValueError as error:
        raise UnreadableError("digits that its base has not") from error
    return Expression(str(int(match[1], base)), base=base)


def expression(text: str) -> Reading:
    """LaTeX and the words after it."""
    after = AFTER.search(text)
    if after is None or not after[0].strip():
        if "\\text" in text:
            raise UnreadableError("words within a formula")
        return Expression(text)
    latex, said = (
        text[: after.start()].strip(),
        SAID.sub(r" \1 ", after[0]).replace("\\cdot", " "),
    )
    if not latex or "\\text" in latex:
        raise UnreadableError("words within a formula")
    if any(sign.isdigit() for sign in re.sub(r"\^\s*\{?-?\d\}?", "", said)):
        raise UnreadableError("a number among words")
    spoken = said.split()
    percent = "percent" in spoken
    rest = " ".join(word for word in spoken if word != "percent")
    return Expression(latex, units.read(rest) if rest.strip() else None, percent)
