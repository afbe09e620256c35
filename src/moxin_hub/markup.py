"""A card's Markdown as HTML that can do no harm, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from markupsafe import Markup, escape

from moxin_hub.front_matter import split

_LARGEST_CARD = 1 << 17  # characters that are rendered
# Lines of their own that fold a part of a card away; a comment for those who write cards shows as
# nothing.
_FOLD = re.compile(
    r"(?P<open><details>)|(?P<close></details>)|<summary>(?P<title>[^<>]*)</summary>|<!--.*-->"
)


def breakable(text: str) -> Markup:
    """Text whose long names may go on in the next line after `_`, `/` and `@`."""
    return Markup(re.sub(r"(?<=[_/@])(?=\w)", "<wbr>", escape(text)))  # noqa: S704 (escaped)


def _text(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return breakable(tokens[index].content)


def card(text: str, home: str, title: str) -> Markup:
    """A card's Markdown as HTML; its links and pictures are those of the repository at `home`.

    A first heading that only repeats `title` is left out.

    No HTML of the card's own but `<details>` and its `<summary>`, each on a line of its own, no
    address but http, https, mailto and the repository's files, and no picture from elsewhere.
    """
    text = split(text)[1]
    if len(text) > _LARGEST_CARD:
        text = text[:_LARGEST_CARD] + "\n\n… the rest is in README.md"
    # Made anew for each card: two threads must not compile the rules of one at a time.
    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    reader.add_render_rule("text", _text)
    reader.block.ruler.before("paragraph", "fold", _fold, {"alt": ["paragraph", "blockquote"]})
    found: dict[str, int] = {}
    tokens = reader.parse(text, found)
    if len(tokens) > 2 and tokens[0].type == "heading_open" and tokens[1].content == title:
        del tokens[:3]
    for token in tokens:
        _tame(token, home)
    shown = reader.renderer.render(tokens, reader.options, {}) + "</details>" * found.get("open", 0)
    return Markup(shown)  # noqa: S704 (it is tame)


def _fold(state: StateBlock, start: int, _: int, silent: bool) -> bool:
    """The rule of Markdown for a line of `_FOLD`; what is opened is closed, and nothing else."""
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]].strip()
    found = _FOLD.fullmatch(line)
    if found is None or state.level or state.is_code_block(start):
        return False
    change = bool(found["open"]) - bool(found["close"])
    depth = int(state.env.get("open", 0)) + change
    if depth < 0:
        return False
    if not silent:
        state.env["open"] = depth
        state.line = start + 1
        content = line if change else ""
        if found["title"] is not None:
            content = f"<summary>{escape(found['title'])}</summary>"
        state.push("html_block", "", 0).content = content and content + "\n"
    return True


def _tame(token: Token, home: str) -> None:
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
