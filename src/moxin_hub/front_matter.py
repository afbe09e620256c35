"""The metadata at the head of a card, by PyYAML's safe loader without what could do harm."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

_HEAD = re.compile(r"\ufeff?(\s*---[ \t]*\n)(|.*?\n)---[ \t]*(?:\n|$)", re.DOTALL)
_LARGEST = 1 << 17  # characters of metadata; PyYAML reads as many in some seconds at worst
_DEEPEST = 30
_HALF = re.compile(r"[\ud800-\udfff]")  # may come of an escape, and can be sent to nobody
# Values that are no text. As on the public Hub, `no` and `2020-01-01` are text; so is every number
# that JSON cannot hold.
_TYPES = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]{0,17})",
    "float": r"[-+]?([0-9]{1,18}\.[0-9]*|\.[0-9]+)([eE](\+[0-9]{1,2}|-[0-9]{1,3}))?",
}


class FrontMatterError(ValueError):
    """The metadata are wrong; the message is one line and names the line of the card."""


class NotReadHere(FrontMatterError):
    """The metadata may be right, but they need more of YAML than this Hub reads."""


class _TooMuch(ComposerError):
    """What the loader meets of that kind."""


class _Loader(yaml.SafeLoader):
    """No aliases, anchors, tags, merges or repeated names; names are text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name for its table)
    _depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor or event.tag:
            problem = "aliases, anchors and tags are not read: write the value itself"
            raise _TooMuch(problem=problem, problem_mark=event.start_mark)
        if self._depth == _DEEPEST:
            problem = f"values are nested more than {_DEEPEST} deep"
            raise _TooMuch(problem=problem, problem_mark=event.start_mark)
        if _HALF.search(getattr(event, "value", "")):
            problem = "half of a surrogate pair is no character"
            raise ComposerError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        values: dict[Hashable, Any] = {}
        for name, value in node.value:
            if not isinstance(name, ScalarNode):
                problem = "lists and mappings are not read as names"
                raise _TooMuch(problem=problem, problem_mark=name.start_mark)
            if name.value in values:
                problem = f"duplicated mapping key {name.value[:80]!r}"
                raise ConstructorError(problem=problem, problem_mark=name.start_mark)
            values[name.value] = self.construct_object(value, deep=deep)
        return values


for _type, _pattern in _TYPES.items():
    _whole = re.compile(rf"({_pattern})\Z")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", _whole, None)


def split(card: str) -> tuple[str, str, int]:
    """A card's YAML, its Markdown, and the line, counted from 1, in which the YAML starts.

    The YAML is "" if there is none, or no line that closes it.
    """
    text = card.replace("\r\n", "\n").replace("\r", "\n")
    match = _HEAD.match(text)
    if match is None:
        return "", text, 1
    return match[2], text[match.end() :], 1 + match[1].count("\n")


def read(card: str) -> dict[str, Any]:
    """The metadata of a card, as JSON could hold them; {} if it has none.

    Raises:
        FrontMatterError: this is no YAML, or no mapping; NotReadHere: we cannot tell.
    """
    head, _, first = split(card)
    if len(head) > _LARGEST:
        raise NotReadHere(f"line {first}: more than {_LARGEST:,} characters are not read")
    try:
        values = yaml.load(head, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.reader.ReaderError as error:
        line = first + head.count("\n", 0, error.position)
        raise FrontMatterError(f"line {line}: control characters are not allowed") from None
    except yaml.MarkedYAMLError as error:
        line = first + (error.problem_mark.line if error.problem_mark else 0)
        kind = NotReadHere if isinstance(error, _TooMuch) else FrontMatterError
        about = ": ".join(filter(None, (error.context, error.problem)))
        raise kind(f"line {line}: {about}") from None
    except (ValueError, OverflowError):  # of an escape such as \U00110000
        raise FrontMatterError(f"line {first}: an escape is no character") from None
    if not isinstance(values, dict | None):
        raise FrontMatterError(f"line {first}: metadata are a mapping of names to values")
    return values or {}
