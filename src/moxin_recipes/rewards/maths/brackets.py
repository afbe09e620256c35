"""A formula's commands and signs, what stands outside of its brackets, and what is inside."""

import re
from collections.abc import Callable

from moxin_recipes.rewards.maths.readings import UnreadableError

_TOKEN = re.compile(
    r"\\begin\{[A-Za-z]+\*?\}|\\end\{[A-Za-z]+\*?\}|\\text\{[^{}]*\}|\\[A-Za-z]+|\\.|.", re.S
)
SAID = re.compile(r"\\text\{([^{}]*)\}")
_OPENING = {"(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil"}
_CLOSING = {")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"}


def tokens(text: str) -> list[str]:
    """The text's commands, `\\text{…}` and signs."""
    return _TOKEN.findall(text)


def split(text: str, parting: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """(pieces, what parts them) at tokens outside of all brackets."""
    pieces, marks, depth = [""], [], 0
    for token in tokens(text):
        if token in _OPENING or token.startswith("\\begin"):
            depth += 1
        elif token in _CLOSING or token.startswith("\\end"):
            depth -= 1
        elif depth == 0 and parting(token):
            marks.append(token)
            pieces.append("")
            continue
        pieces[-1] += token
    if depth:
        raise UnreadableError("brackets that do not close")
    return [piece.strip() for piece in pieces], marks


def inside(text: str, opening: str, closing: str) -> str | None:
    """What stands in brackets that open at the beginning and close at the end."""
    if not (text.startswith(opening) and text.endswith(closing)):
        return None
    depth, place = 0, 0
    for token in tokens(text):
        place += len(token)
        depth += (token in _OPENING) - (token in _CLOSING)
        if depth == 0:
            break
    return text[len(opening) : -len(closing)].strip() if place == len(text) else None
