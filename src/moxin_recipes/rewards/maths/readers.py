r"""The notation of `notation.plain` → the parts of an answer.

It does no mathematics: an `Expression` is LaTeX that `values.py` gives to the parser of
math-verify. What cannot be read as exactly one answer raises `UnreadableError`, and is never right.
"""

import re
from collections.abc import Iterator

from moxin_recipes.rewards.maths import spoken, units
from moxin_recipes.rewards.maths.brackets import SAID, inside, split
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

_REAL = re.compile(r"(?:[A-Za-z]|\\[a-z]+)(?:_\{?\w+\}?)?(?:\s*\\in\s*\\mathbb\{R\})?")
_COMPARING = {"<", ">", "\\leq", "\\geq", "\\neq"}
_VECTOR = re.compile(
    r"\\begin\{([pbvB]?matrix|array)\}(?:\s*\{[lcr|\s]*\})?(.*)\\end\{\1\}(?:\^\{?(?:T|\\top)\}?)?",
    re.S,
)
_AROUND = re.compile(r"[(\[]\s*(\\begin\{array\}.*\\end\{array\})\s*[)\]]", re.S)
_LINES = re.compile(r"\\\\")


_NAMED = re.compile(r"(\\text\{[^{}]*(?::|\b(?:is|are))\s*\}|[A-Z]'?(?=\s*\(.*,))\s*(\S.*)", re.S)


def _is_word(token: str, *words: str) -> bool:
    said = token.removeprefix("\\text{").removesuffix("}").strip(" ,").lower()
    return token.startswith("\\text{") and said in words


def read(text: str) -> Reading:
    """The parts of an answer; raises UnreadableError."""
    text = text.strip()
    if not text:
        raise UnreadableError("empty")
    for reader in (spoken.words, _choice, spoken.quantity, _several, _conditions, _chain, _sets,
                   _signs, _bracketed, _vector, _ratio, spoken.based):  # fmt: skip
        found = reader(text)
        if found is not None:
            return found
    return spoken.expression(text)


def _choice(text: str) -> Reading | None:
    letter = spoken.LETTER.match(text)
    if letter is None:
        return None
    rest = text[letter.end() :].strip(" .:=")
    if rest and letter[2] and not re.match(r"[\s.:]", text[letter.end() :]):
        return None  # (A)(B), (A)x: letters that are multiplied
    return Choice(letter[1] or letter[2], read(rest) if rest else None)


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
    if all(isinstance(item, Condition | Combined | Member) for item in items):
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
        if len(pieces) == 2 and _names(pieces[0]):
            return read(pieces[1])
        if len(pieces) != 2 or not _REAL.fullmatch(pieces[0]):
            raise UnreadableError("no single answer")
        return Member(pieces[0].partition("\\in")[0].strip(), read(pieces[1]))
    pieces, marks = split(text, lambda token: token in _COMPARING)
    if not marks:
        return None
    if not all(pieces) or any("=" in piece for piece in pieces):
        raise UnreadableError("a comparison without a side")
    return Condition(tuple(pieces), tuple(marks))


def _chain(text: str) -> Reading | None:
    pieces, marks = split(text, lambda token: token in ("=", "\\approx"))
    if not marks:
        return _labelled(text)
    if not all(pieces):
        pieces = [piece for piece in pieces if piece]
        if len(pieces) == 1:
            return read(pieces[0])
        raise UnreadableError("an equation without a side")
    if len(pieces) > 2 and all(map(_REAL.fullmatch, pieces[:-1])):  # x = y = 1
        return Parts("named", (read(pieces[-1]),) * (len(pieces) - 1), tuple(pieces[:-1]))
    names = _names(pieces[0]) if len(pieces) == 2 else ()
    if names:
        found = read(pieces[1])
        if isinstance(found, Parts) and found.kind == "tuple" and len(found.items) == len(names):
            return Parts("named", found.items, names)
    return Chain(tuple(map(read, pieces)), tuple(pieces), "\\approx" in marks)


def _labelled(text: str) -> Reading | None:
    r"""`\text{The answer is } 42` and `A(1, 2)`: as if `=` stood after the name."""
    match = _NAMED.fullmatch(text)
    if match is None:
        return None
    return Chain((spoken.expression("A"), read(match[2])), (match[1].replace(":", ""), match[2]))


def _names(text: str) -> tuple[str, ...]:
    """The letters of `(x, y)`."""
    within = inside(text, "(", ")")
    pieces = split(within, lambda token: token == ",")[0] if within else []
    return tuple(pieces) if len(pieces) > 1 and all(map(_REAL.fullmatch, pieces)) else ()


def _sets(text: str) -> Reading | None:
    for sign, how in (("\\cup", "or"), ("\\cap", "and"), ("\\setminus", "minus")):
        pieces, marks = split(text, lambda token, sign=sign: token == sign)  # type: ignore[misc]
        if marks:
            return Combined(how, tuple(map(read, pieces)))  # type: ignore[arg-type]
    bare = re.sub(r"\s", "", text)
    if bare in ("\\emptyset", "\\{\\}"):
        return spoken.NOTHING
    if known := re.fullmatch(r"\\mathbb\{?([A-Z])\}?((?:[\^_].*)?)", bare):
        return spoken.REALS if known[1] + known[2] == "R" else Words(re.sub("[{}]", "", bare))
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
    after = spoken.AFTER.search(text)
    if after and text[0] in "([" and text[: after.start()].rstrip()[-1:] in (")", "]"):
        found = read(text[: after.start()])
        if not isinstance(found, Parts) or found.kind != "tuple":
            raise UnreadableError("words after other brackets than those of a vector")
        each = (item.latex if isinstance(item, Expression) else "" for item in found.items)
        return Parts("tuple", tuple(spoken.expression(latex + after[0]) for latex in each))
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
    if match[1] == "vmatrix":
        raise UnreadableError("a determinant that is not worked out")
    lines = [line for line in _LINES.split(match[2]) if line.strip()]
    rows = [tuple(read(cell) for cell in line.split("&")) for line in lines]
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        return Parts("tuple", tuple(cell for row in rows for cell in row))
    return Parts("matrix", tuple(Parts("tuple", row) for row in rows))


def _ratio(text: str) -> Reading | None:
    words = spoken.AFTER.search(text)
    bare = text[: words.start()] if words else text
    pieces, marks = split(bare, lambda token: token == ":")
    if not marks:
        return None
    if not all(pieces):
        raise UnreadableError("a ratio without a part")
    said = frozenset().union(*(units.read(w).qualifiers for w in SAID.findall(text)))
    return Parts("ratio", tuple(map(read, pieces)), tuple(sorted(said)))
