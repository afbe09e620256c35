"""The pages that users read: their commands, their links, and what they name in backticks."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/**/README.md")]
    if path.name != "CHANGELOG.md"  # what was so once
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_PROGRAMS = ("moxin", "make", "accelerate", "sbatch", "pip", "python", "cp", "eval")


def text(page: str) -> str:
    """A page, as it stands."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    return _BLOCK.findall(text(page))


def prose(page: str) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", text(page))


def spans(page: str) -> list[str]:
    """What stands in backticks within the text."""
    return _CODE.findall(prose(page))


def is_command(words: str) -> bool:
    """Whether it begins with a program and says something of it."""
    return words.split(" ")[0] in _PROGRAMS and " " in words


def commands(page: str) -> list[str]:
    """The lines of each block of commands, and the cells of tables that are one; in page order.

    A line that ends with a backslash goes on in the next one.
    """
    found = [
        (match.start(), _lines(match[2]))
        for match in _BLOCK.finditer(text(page))
        if match[1] == "sh"
    ]
    for row in re.finditer(r"^\|.*\|$", text(page), re.M):
        cells = (_CODE.fullmatch(cell.strip()) for cell in row[0].split("|"))
        found.append((row.start(), [cell[1] for cell in cells if cell and is_command(cell[1])]))
    return list(itertools.chain.from_iterable(lines for _, lines in sorted(found)))


def _lines(block: str) -> list[str]:
    whole = block.replace("\\\n", "").splitlines()
    return [line for line in whole if line.strip() and not line.lstrip().startswith("#")]


def mentions(page: str) -> list[str]:
    """Commands that the text names."""
    run = commands(page)
    return [span for span in spans(page) if is_command(span) and span not in run]


def links(page: str) -> Iterator[tuple[Path, str]]:
    """(path, anchor) of each link within the repository; the anchor may be empty."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", prose(page))):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            yield ((ROOT / page).parent / path if path else ROOT / page), anchor


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub and the embedded Hub make them."""
    titles = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text(encoding="utf-8")), re.M)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in plain}
