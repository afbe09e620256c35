r"""The notation of `notation.plain` → the parts of an answer.

It does no mathematics: an `Expression` is LaTeX that `values.py` gives to the parser of
math-verify. What cannot be read as exactly one answer raises `UnreadableError`, and is never right.
"""

import re
from collections.abc import Iterator

from moxin_recipes.rewards.maths import units
from moxin_recipes.rewards.maths.brackets import inside, split
from moxin_recipes.rewards.maths.readings import (
    Chain,
    Choice,
    Combined,
    Condition,
    Ellipsis,
    Expression,
    Interval,
    Parts,
    Reading,
    UnreadableError,
    Words,
)

_REAL = re.compile(r"(?:[A-Za-z]|\\[a-z]+)(?:_\{?\w+\}?)?(?:\s*\\in\s*\\mathbb\{R\})?")
_COMPARING = {"<", ">", "\\leq", "\\geq", "\\neq"}
_VECTOR = re.compile(
    r"\\begin\{([pbvB]?matrix|array)\}(?:\s*\{[lcr|\s]*\})?(.*)\\end\{\1\}(?:\^\{?(?:T|\\top)\}?)?",
    re.S,
)
_AROUND = re.compile(r"[(\[]\s*(\\begin\{array\}.*\\end\{array\})\s*[)\]]", re.S)
_LETTER = re.compile(r"\\text\{\s*\(?([A-Z])\)?[.:]?\s*\}|\(([A-Z])\)")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_BASED = re.compile(r"([0-9A-Za-z]+)\s*_\s*(?:\{?\s*(\d{1,2})\s*\}?|\{?\\text\{([a-z]+)\}\}?)")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
_TEXTS = re.compile(r"(?:\s*(?:\\text\{[^{}]*\}(?:\^\s*\{?-?\d\}?)?|/|\\cdot))+$")
_INNER = re.compile(r"\\text\{([^{}]*)\}")
_QUANTITY = re.compile(r"\s*((?:(?!\\text).)+?)\s*\\text\{([^{}]*)\}")
_SHORT = "no yes on off odd up all any one two six ten red mon tue wed thu fri sat sun ann bob tom"
_SHORT_WORDS = frozenset(_SHORT.split())
_LETTERS = 3  # of a product of letters, at most; more of them are a word
_LINES = re.compile(r"\\\\")


def _is_word(token: str, *words: str) -> bool:
    said = token.removeprefix("\\text{").removesuffix("}").strip(" ,").lower()
    return token.startswith("\\text{") and said in words


def read(text: str) -> Reading:
    """The parts of an answer; raises UnreadableError."""
    text = text.strip()
    if not text:
        raise UnreadableError("empty")
    for reader in (_words, _choice, _quantity, _several, _conditions, _chain, _sets, _signs,
                   _bracketed, _vector, _ratio, _based):  # fmt: skip
        found = reader(text)
        if found is not None:
            return found
    return _expression(text)


def _words(text: str) -> Reading | None:
    if text == "\\ldots":
        return Ellipsis()
    spoken = _INNER.sub(r"\1", text)
    alone = re.fullmatch(r"(?:\\text\{[^{}]*\}\s*)+", text) is not None
    short = text.lower() in _SHORT_WORDS
    letters = re.fullmatch(r"[A-Za-z]+(?:[' -][A-Za-z]+)*", text) is not None
    long = letters and max(map(len, re.split("[' -]", text))) > _LETTERS
    if not (alone or short or long) or _LETTER.fullmatch(text):
        return None
    if any(sign.isdigit() for sign in spoken):
        raise UnreadableError("a number among words")
    return Words(" ".join(spoken.lower().strip(" .()").split()))


def _choice(text: str) -> Reading | None:
    letter = _LETTER.match(text)
    if letter is None:
        return None
    rest = text[letter.end() :].strip(" .:=")
    if rest and letter[2] and not re.match(r"[\s.:]", text[letter.end() :]):
        return None  # (A)(B), (A)x: letters that are multiplied
    return Choice(letter[1] or letter[2], read(rest) if rest else None)


def _quantity(text: str) -> Reading | None:
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
    if any(set(number) & set("=<>") or "\\" + "leq" in number for number, _ in pairs):
        return None
    items = tuple(_expression(f"{number} \\text{{{words}}}") for number, words in pairs)
    return Parts("quantity", items, tuple(words.lower().removesuffix("s") for _, words in pairs))


def _several(text: str) -> Reading | None:
    """Values with commas, `and`, `or` or lines between them; conditions are joined by these."""
    if len(rows := split(text, lambda token: token == ";")[0]) > 1 and any(
        len(split(row, lambda token: token == ",")[0]) > 1 for row in rows
    ):
        return Parts("list", tuple(map(read, filter(None, rows))))
    pieces, marks = split(
        text, lambda token: token in ",;" or _is_word(token, "and", "or") or token == "\\\\"
    )
    if not marks:
        return None
    pairs = [(piece, mark) for piece, mark in zip(pieces, ["", *marks], strict=True) if piece]
    if any("\\\\" in mark for _, mark in pairs):
        raise UnreadableError("no single answer")
    items = tuple(read(piece) for piece, _ in pairs)
    if len(items) == 1:
        return items[0]
    if all(isinstance(item, Condition | Combined) for item in items):
        either = any(_is_word(mark, "or") for mark in marks)
        return Combined("or" if either else "and", items)
    if any(isinstance(item, Ellipsis) for item in items):
        return Parts("sequence", items)
    if any(isinstance(item, Condition | Combined) for item in items):
        raise UnreadableError("no single answer")
    if all(isinstance(item, Chain) and len(item.sides) == 2 for item in items):
        named = tuple(item.texts[0] for item in items if isinstance(item, Chain))
        if len(set(named)) == len(named) and all(map(_REAL.fullmatch, named)):
            values = tuple(item.sides[1] for item in items if isinstance(item, Chain))
            return Parts("named", values, named)
    return Parts("list", items)


def _conditions(text: str) -> Reading | None:
    within = inside(text, "\\{", "\\}")
    if within is not None:
        pieces, marks = split(within, lambda token: token in "|:")
        if marks and len(pieces) == 2:  # {x | x > 3}
            if not _REAL.fullmatch(pieces[0]):
                raise UnreadableError("a set of other things than one real letter")
            return read(pieces[1])
        return None
    pieces, marks = split(text, lambda token: token == "\\in")
    if marks:
        if len(pieces) != 2 or not _REAL.fullmatch(pieces[0]):
            raise UnreadableError("no single answer")
        return read(pieces[1])
    pieces, marks = split(text, lambda token: token in _COMPARING)
    if not marks:
        return None
    if not all(pieces) or any("=" in piece for piece in pieces):
        raise UnreadableError("a comparison without a side")
    return Condition(tuple(pieces), tuple(marks))


def _chain(text: str) -> Reading | None:
    pieces, marks = split(text, lambda token: token in ("=", "\\approx"))
    if not marks:
        return None
    if not all(pieces):
        pieces = [piece for piece in pieces if piece]
        if len(pieces) == 1:
            return read(pieces[0])
        raise UnreadableError("an equation without a side")
    return Chain(tuple(map(read, pieces)), tuple(pieces), "\\approx" in marks)


def _sets(text: str) -> Reading | None:
    for sign, how in (("\\cup", "or"), ("\\cap", "and"), ("\\setminus", "minus")):
        pieces, marks = split(text, lambda token, sign=sign: token == sign)  # type: ignore[misc]
        if marks:
            return Combined(how, tuple(map(read, pieces)))  # type: ignore[arg-type]
    if text.replace(" ", "") in ("\\emptyset", "\\{\\}", "\\phi"):
        return Parts("set", ()) if text != "\\phi" else None
    return None


def _signs(text: str) -> Reading | None:
    """`a ± b`: both values."""
    if "\\pm" not in text and "\\mp" not in text:
        return None
    upper = text.replace("\\pm", "+").replace("\\mp", "-")
    lower = text.replace("\\pm", "-").replace("\\mp", "+")
    return Parts("list", (read(upper), read(lower)))


def _bracketed(text: str) -> Reading | None:
    within = inside(text, "\\{", "\\}")
    if within is not None:
        return Parts("set", tuple(_items(within)))
    within = inside(text, "\\langle", "\\rangle")
    if within is not None:
        return Parts("tuple", tuple(_items(within)))
    if text[0] not in "([" or text[-1] not in ")]":
        return None
    within = inside(text, text[0], text[-1])
    pieces = split(within, lambda token: token in ",;")[0] if within else []
    if len(pieces) < 2 or within is None:
        if text[0] + text[-1] == "[]" and within:
            return Parts("bracket", (read(within),))
        return None
    endless = any("\\infty" in piece for piece in pieces)
    if len(pieces) == 2 and (endless or text[0] + text[-1] in ("(]", "[)")):
        return Interval(pieces[0], pieces[1], (text[0] == "[", text[-1] == "]"))
    return Parts("tuple" if text[0] == "(" else "bracket", tuple(map(read, pieces)))


def _items(within: str) -> Iterator[Reading]:
    if not within:
        return
    pieces, _ = split(within, lambda token: token in ",;")
    for piece in pieces:
        yield read(piece)


def _vector(text: str) -> Reading | None:
    match = _VECTOR.fullmatch(_AROUND.sub(r"\1", text))
    if match is None:
        return None
    lines = [line for line in _LINES.split(match[2]) if line.strip()]
    rows = [tuple(read(cell) for cell in line.split("&")) for line in lines]
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        return Parts("tuple", tuple(cell for row in rows for cell in row))
    return Parts("matrix", tuple(Parts("tuple", row) for row in rows))


def _ratio(text: str) -> Reading | None:
    words = _TEXTS.search(text)
    bare = text[: words.start()] if words else text
    pieces, marks = split(bare, lambda token: token == ":")
    if not marks:
        return None
    if not all(pieces):
        raise UnreadableError("a ratio without a part")
    said = frozenset().union(*(units.read(w).qualifiers for w in _INNER.findall(text)))
    return Parts("ratio", tuple(map(read, pieces)), tuple(sorted(said)))


def _based(text: str) -> Reading | None:
    match = _BASED.fullmatch(text)
    if match is None or not re.search(r"\d", match[1]):
        return None
    base = int(match[2]) if match[2] else _BASES.get(match[3], 0)
    try:
        int(match[1], base) if 2 <= base <= 36 else int("x")
    except ValueError as error:
        raise UnreadableError("digits that its base has not") from error
    return Expression(str(int(match[1], base)), base=base)


def _expression(text: str) -> Reading:
    """LaTeX and the words after it."""
    words = _TEXTS.search(text)
    if words is None or not words[0].strip():
        if "\\text" in text:
            raise UnreadableError("words within a formula")
        return Expression(text)
    latex, said = (
        text[: words.start()].strip(),
        _INNER.sub(r" \1 ", words[0]).replace("\\cdot", " "),
    )
    if not latex or "\\text" in latex:
        raise UnreadableError("words within a formula")
    if any(sign.isdigit() for sign in re.sub(r"\^\s*\{?-?\d\}?", "", said)):
        raise UnreadableError("a number among words")
    spoken = said.split()
    percent = "percent" in spoken
    rest = " ".join(word for word in spoken if word != "percent")
    return Expression(latex, units.read(rest) if rest.strip() else None, percent)
