"""HTML for the pages: all but markup is escaped, and cards become markup that can do no harm."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from html import escape
from typing import Any
from urllib.parse import quote, unquote, urlsplit

try:  # comes with rich; without it a card is shown as the text that it is
    from markdown_it import MarkdownIt
except ImportError:
    MarkdownIt = None  # type: ignore[assignment,misc]

_LARGEST_CARD = 1 << 17  # characters that are rendered
_HEAD = re.compile(r"\s*---[ \t]*\r?\n(?:|.*?\n)---[ \t]*(?:\r?\n|$)", re.DOTALL)


class Html(str):
    """Markup; any other value is escaped on its way into a page."""

    __slots__ = ()


class _Escaping(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return value if isinstance(value, Html) else escape(format(value, format_spec))


_ESCAPING = _Escaping()


def html(template: str, /, *values: object) -> Html:
    """The template with its `{}` filled in, escaped where they are no Html."""
    return Html(_ESCAPING.vformat(template, values, {}))


def join(parts: Iterable[Html], between: str = "") -> Html:
    return Html(between.join(parts))


def link(address: str, text: object) -> Html:
    return html('<a href="{}">{}</a>', address, text)


def card(text: str, home: str, title: str) -> Html:
    """A card's Markdown as HTML; its links and pictures are those of the repository at `home`.

    A first heading that only repeats `title` is left out.

    No HTML of the card's own, no address but http, https, mailto and the repository's files, and
    no picture from elsewhere.
    """
    if head := _HEAD.match(text):
        text = text[head.end() :]
    if len(text) > _LARGEST_CARD:
        text = text[:_LARGEST_CARD] + "\n\n… the rest is in README.md"
    if MarkdownIt is None:
        return html("<pre>{}</pre>", text)
    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = reader.parse(text)
    if len(tokens) > 2 and tokens[0].type == "heading_open" and tokens[1].content == title:
        del tokens[:3]
    for token in tokens:
        _tame(token, home)
    return Html(reader.renderer.render(tokens, reader.options, {}))


def _tame(token: Any, home: str) -> None:
    """Addresses the repository's own files; makes pictures from elsewhere their descriptions."""
    for child in token.children or ():
        _tame(child, home)
    if align := token.attrs.pop("style", None):  # of a table's cells; the page allows no styles
        token.attrs["class"] = str(align).removeprefix("text-align:")
    if token.type == "link_open":
        token.attrs["href"] = _address(str(token.attrs.get("href", "")), home)
        token.attrs["rel"] = "noreferrer nofollow"
    elif token.type == "image":
        address = _address(str(token.attrs.get("src", "")), home)
        if address.startswith(home + "/"):
            token.attrs["src"] = address
        else:
            token.type, token.content = "text", f"[{token.content or 'picture'}]"


def _address(target: str, home: str) -> str:
    try:
        parts = urlsplit(target)
    except ValueError:
        return "#"
    if parts.scheme in ("http", "https"):
        return target if parts.netloc else "#"  # to a browser `http:/x` is a path of this Hub
    if parts.scheme == "mailto" or target.startswith("#"):
        return target
    if parts.scheme or parts.netloc or target.startswith(("/", "\\")):
        return "#"
    names = [name for name in parts.path.split("/") if name not in ("", ".")]
    return "#" if ".." in map(unquote, names) else f"{home}/{quote('/'.join(names), safe='/%')}"
