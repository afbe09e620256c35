"""A reader for the YAML that cards are written in; it says so where it meets more than that.

Block mappings and sequences, flow lists and mappings on one line, plain, quoted and block scalars,
comments. Anchors, aliases, tags, merges, complex keys and several documents are Unsupported.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_COLON = re.compile(r":(?=\s|$)")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+][0-9]+")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_BLOCK = re.compile(r"([|>])([-+]?)(?:\s+#.*)?")
_DEEPEST = 50
# A value in several lines is looked at again with each of them: an end for texts made to be slow.
_MOST_SCANNED = 4 << 20  # characters
_LONGEST_FLOW = 1 << 16


class YamlError(ValueError):
    """The text is no YAML."""


class Unsupported(Exception):
    """The text uses more of YAML than this reader knows."""


@dataclass
class _Line:
    number: int
    indent: int
    text: str  # without indentation; comments are still there


def parse(text: str) -> Any:
    """The value of a document: dict, list, str, int, float, bool or None.

    Raises:
        YamlError: this is no YAML.
        Unsupported: it may be YAML, but not of the kind that cards are written in.
    """
    try:
        return _Reader(text).document()
    except RecursionError:
        raise Unsupported from None


class _Reader:
    def __init__(self, text: str) -> None:
        self._raw = text.splitlines()
        self._next = 0
        self._scanned = 0

    def document(self) -> Any:
        value = self._node(0, 0)
        if (line := self._peek()) is not None:
            raise YamlError(f"line {line.number}: this does not belong to what stands above it")
        return value

    def _peek(self) -> _Line | None:
        """The next line that says something."""
        while self._next < len(self._raw):
            raw = self._raw[self._next]
            text = raw.lstrip(" ")
            if text.startswith("\t") and text.strip():
                raise YamlError(f"line {self._next + 1}: a tab where spaces must be")
            if text.strip() and not text.startswith("#"):
                if text.startswith(("--- ", "...", "%")) or text == "---":
                    raise Unsupported
                return _Line(self._next + 1, len(raw) - len(text), text.rstrip())
            self._next += 1
        return None

    def _node(self, indent: int, depth: int) -> Any:
        """The block at `indent` or deeper that starts with the next line."""
        line = self._peek()
        if line is None or line.indent < indent:
            return None
        if depth > _DEEPEST:
            raise Unsupported
        if _is_item(line.text):
            return self._sequence(line.indent, depth)
        if _key(line.text):
            return self._mapping(line.indent, depth)
        if line.text.startswith("? "):
            raise Unsupported
        self._next += 1
        return self._scalar(line.text, line.indent - 1, line.number)

    def _sequence(self, indent: int, depth: int) -> list[Any]:
        items: list[Any] = []
        while (line := self._peek()) and line.indent == indent and _is_item(line.text):
            rest = line.text[1:].lstrip()
            if not rest or rest.startswith("#"):
                self._next += 1
                items.append(self._node(indent + 1, depth + 1))
            else:  # what follows the dash is a block of its own, as deep as it stands
                inner = indent + len(line.text) - len(rest)
                self._raw[self._next] = " " * inner + rest
                items.append(self._node(inner, depth + 1))
        return items

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (line := self._peek()) and line.indent == indent and not _is_item(line.text):
            key = _key(line.text)
            if key is None:
                raise YamlError(f"line {line.number}: `name: value` is expected")
            name, rest = key
            if name in found:
                raise YamlError(f"line {line.number}: duplicated mapping key {name!r}")
            if name == "<<":
                raise Unsupported
            self._next += 1
            found[name] = self._value(rest, indent, depth, line.number)
        return found

    def _value(self, rest: str, indent: int, depth: int, number: int) -> Any:
        if rest and not rest.startswith("#"):
            return self._scalar(rest, indent, number)
        following = self._peek()
        if following and following.indent == indent and _is_item(following.text):
            return self._sequence(indent, depth + 1)  # lists may stand as far left as their name
        return self._node(indent + 1, depth + 1)

    def _scalar(self, text: str, indent: int, number: int) -> Any:
        """A value that starts with `text` and may go on in lines deeper than `indent`."""
        if block := _BLOCK.fullmatch(text):
            return self._block(block[1], block[2], indent)
        if text[0] in "|>":
            raise Unsupported
        blanks = 0  # a single line break is a space, n + 1 of them are n
        while not self._is_whole(text):
            if self._next >= len(self._raw):
                raise YamlError(f"line {number}: a quote or a bracket is never closed")
            if more := self._raw[self._next].strip():
                text += ("\n" * blanks or " ") + more
            blanks = 0 if more else blanks + 1
            self._next += 1
        if text[0] not in "\"'[{":
            while (line := self._peek()) and line.indent > indent:
                if _key(line.text):
                    raise YamlError(f"line {line.number}: a mapping is not expected here")
                self._scan(text)
                text = f"{_uncomment(text)} {line.text}"
                self._next += 1
        return _simple(text, number)

    def _is_whole(self, text: str) -> bool:
        """Whether the quotes and brackets that a value opens are closed in it."""
        self._scan(text)
        return text[0] not in "\"'[{" or _flow_end(text, 0) is not None

    def _scan(self, text: str) -> None:
        self._scanned += len(text)
        if self._scanned > _MOST_SCANNED or (text[0] in "[{" and len(text) > _LONGEST_FLOW):
            raise Unsupported

    def _block(self, style: str, chomping: str, indent: int) -> str:
        lines: list[str] = []
        while self._next < len(self._raw):
            raw = self._raw[self._next]
            if raw.strip() and len(raw) - len(raw.lstrip(" ")) <= indent:
                break
            lines.append(raw)
            self._next += 1
        depth = min((len(raw) - len(raw.lstrip(" ")) for raw in lines if raw.strip()), default=0)
        text = "\n".join(raw[depth:] for raw in lines)
        if style == ">":
            text = re.sub(r"(?<=\S)\n(?=\S)", " ", text)
        text = text.rstrip("\n")
        return text if chomping == "-" or not text else text + "\n"


def _key(text: str) -> tuple[str, str] | None:
    """The name and what follows it, if the line is `name: value`."""
    if text[0] in "\"'":
        end = _flow_end(text, 0)
        rest = text[end:].lstrip() if end else ""
        if end is None or not _COLON.match(rest):
            return None
        return str(_simple(text[:end], 0)), rest[1:].strip()
    if text[0] in "#[]{},&*!|>%@`" or (text[0] in "?-" and text[1:2] in ("", " ")):
        return None
    colon = _COLON.search(text)
    if colon is None or " #" in text[: colon.start()]:
        return None
    return text[: colon.start()].rstrip(), text[colon.end() :].strip()


def _is_item(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _uncomment(text: str) -> str:
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip()


def _simple(text: str, number: int) -> Any:
    """A scalar or a flow collection that is complete."""
    if text[0] in "\"'[{":
        end = _flow_end(text, 0)
        if end is None:
            raise YamlError(f"line {number}: a quote or a bracket is never closed")
        if _uncomment(" " + text[end:]).strip():
            raise YamlError(f"line {number}: unexpected {text[end:].strip()[:20]!r}")
        return _flow(text[:end], number)
    return _plain(_uncomment(text))


def _plain(text: str) -> Any:
    if text[:1] in ("&", "*", "!"):
        raise Unsupported
    if text[:1] in ("@", "`", "%"):
        raise YamlError(f"a value cannot start with {text[0]!r}")
    if text.lower() in _WORDS and text in (text.lower(), text.capitalize(), text.upper()):
        return _WORDS[text.lower()]
    if _INT.fullmatch(text) and len(text) < 20:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _flow_end(text: str, start: int) -> int | None:
    """The place after the quoted text or bracket that opens at `start`."""
    opening = text[start]
    if opening in "\"'":
        pattern = r'"(?:[^"\\]|\\.)*"' if opening == '"' else r"'(?:[^']|'')*'"
        match = re.compile(pattern, re.DOTALL).match(text, start)
        return match.end() if match else None
    depth, place = 0, start
    while place < len(text):
        if text[place] in "\"'" and text[place - 1] in " [{,:":
            end = _flow_end(text, place)
            if end is None:
                return None
            place = end
            continue
        depth += (text[place] in "[{") - (text[place] in "]}")
        place += 1
        if depth > _DEEPEST:
            raise Unsupported
        if depth == 0:
            return place
    return None


def _flow(text: str, number: int) -> Any:
    if text[0] == "'":
        return text[1:-1].replace("''", "'")
    if text[0] == '"':
        try:
            return json.loads(text.replace("\t", "\\t"), strict=False)
        except ValueError:
            raise Unsupported from None  # escapes that JSON does not have
    parts = _split(text[1:-1])
    if text[0] == "[":
        return [_simple(part, number) for part in parts]
    found = {}
    for part in parts:
        key = _key(part)
        if key is None:
            raise Unsupported
        found[key[0]] = _simple(key[1], number) if key[1] else None
    return found


def _split(text: str) -> list[str]:
    """The parts between the commas of a flow collection."""
    parts, start, place = [], 0, 0
    while place < len(text):
        if text[place] in "\"'[{":
            place = _flow_end(text, place) or len(text)
        elif text[place] == ",":
            parts.append(text[start:place].strip())
            place += 1
            start = place
        else:
            place += 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]
