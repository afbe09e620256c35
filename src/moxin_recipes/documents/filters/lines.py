"""RefinedWeb's corrections by line, with the numbers of DCLM's configuration."""

import re
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from moxin_recipes.documents.filters import Given
from moxin_recipes.documents.words import WORDS

_COUNTED = (
    "likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views"
    "|followers"
)
_COUNTER = re.compile(rf"\W*\d[\d,.]*[kmb]?\s+(?:{_COUNTED})\W*", re.IGNORECASE)
# Left-over buttons, taken out of lines of at most SHORT_LINE words.
_BUTTONS = re.compile(r"\s?items in cart|\s?read more\.\.\.$|^sign-in\s?", re.IGNORECASE)
SHORT_LINE = 10
MAX_UPPERCASE = 0.5  # of a line's characters
MIN_WORDS = 2  # of a line
MAX_REMOVED = 0.05  # of a document's words; above that the document goes


class Lines(BaseFilter):
    """Takes out lines of capitals, of digits, counters ("3 likes"), single words and buttons.

    A document that loses more than 5 % of its words that way goes as a whole, with its text as it
    was. Source: github mlfoundations/dclm, `dclm_baseline_refinedweb.yaml`.
    """

    name = "🧾 Lines"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Empty lines stay: they separate paragraphs."""
        corrected = [_corrected(line) for line in doc.text.split("\n")]
        text = "\n".join(line for line in corrected if line is not None).strip()
        before = len(WORDS.word_tokenize(doc.text))
        removed = before - len(WORDS.word_tokenize(text))
        if not text or removed > MAX_REMOVED * before:
            return False, "lines"
        doc.text = text
        return True


def _corrected(line: str) -> str | None:
    """The line without buttons, or None for one that goes."""
    if not line:
        return line
    if sum(map(str.isupper, line)) / len(line) > MAX_UPPERCASE or line.isdigit():
        return None
    words = len(line.split())
    if words < MIN_WORDS or _COUNTER.fullmatch(line):
        return None
    if words <= SHORT_LINE:
        line = _BUTTONS.sub("", line)
        return line if line.strip() else None
    return line


def block(given: Given) -> Lines:
    """With the numbers above."""
    return Lines(exclusion_writer=given.removed)
