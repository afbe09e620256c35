r"""What a completion gives as its answer: its last box, or the last boxes that stand together.

`\boxed{…}` and `\fbox{…}` count where their braces close, whatever stands between them and the
brace; so does `\boxed 6`, as TeX reads it. A box that never closes is none. Several boxes with
nothing but `,`, `and` or `or` between them are one answer of several values.
"""

import re

_TOKEN = re.compile(
    r"\\(?:boxed|fbox)(?![A-Za-z])\s*(?:[-+]?[0-9][0-9.,]*(?<![.,])|\{)?|\\.|[{}]", re.S
)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_LONGEST_JOINT = 80  # characters between two boxes of one answer
_WORDS = r"\\(?:text|mathrm|textrm|mbox)\s*\{\s*,?\s*(?:and|or)\s*\}|\b(?:and|or)\b"
_SPACE = r"[\s$,;&~]|\\[,;:! ]|\\q?quad|\\[()\[\]]"
_NAME = r"[A-Za-z](?:_\{?\w+\}?)?\s*=\s*\$?"
_JOINT = re.compile(f"(?:{_WORDS}|{_SPACE})*(?:{_NAME})?\\s*")


def answer(text: str) -> str | None:
    """The content of the last box, or of the last boxes, joined by commas; None without a box."""
    found = _closed(text)
    if not found:
        return None
    together = [found[-1]]
    for box in reversed(found[:-1]):
        between = text[box[1] : together[0][0]]
        if len(between) > _LONGEST_JOINT or not _JOINT.fullmatch(between):
            break
        together.insert(0, box)
    # `\\boxed{x = \\boxed{4}}` is 4.
    values = dict.fromkeys(
        content if (inner := answer(content)) is None else inner for _, _, content in together
    )
    return ", ".join(values)


def _closed(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of each box that closes and is in no other box; one pass."""
    found: list[tuple[int, int, str]] = []
    opened: list[tuple[int, int] | None] = []  # of each open brace, the box that it begins
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign == "{":
            opened.append(None)
        elif _BOX.match(sign):
            if sign.endswith("{"):
                opened.append((token.start(), token.end()))
            elif sign[-1].isdigit():
                found.append((token.start(), token.end(), _BOX.sub("", sign)))
        elif sign == "}" and opened:
            box = opened.pop()
            if box is not None:
                while found and found[-1][0] > box[0]:
                    found.pop()  # it is inside of this one
                found.append((box[0], token.end(), text[box[1] : token.start()].strip()))
    return found
