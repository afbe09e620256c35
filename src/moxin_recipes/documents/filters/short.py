"""SlimPajama's rule on length."""

import re
import string
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from moxin_recipes.documents.filters import Given

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_BLANK = re.compile(r"\s+")


def simplified(text: str) -> str:
    """Lower-cased, without ASCII punctuation, runs of blanks as one space, none around it.

    What SlimPajama's published code counts the characters of, and cuts its 13-grams from
    (Cerebras/modelzoo, `slimpajama/preprocessing/filter.py` and `dedup/to_hash.py`).
    """
    return _BLANK.sub(" ", text.lower().translate(_PUNCTUATION).strip())


class Short(BaseFilter):
    """Takes out texts of fewer than `min_characters` (SlimPajama: 200).

    The data card says that spaces, newlines and tabs are not counted; the published code counts
    each run of them as one space. This is the card's rule.
    """

    name = "📏 Short"

    def __init__(self, min_characters: int, **options: Any) -> None:
        super().__init__(**options)
        self.min_characters = min_characters

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """The count is of the first part that is long enough: a book is not copied for it."""
        if len(doc.text) < self.min_characters:
            return False, "short"
        for end in (8 * self.min_characters, len(doc.text)):
            if len(simplified(doc.text[:end]).replace(" ", "")) >= self.min_characters:
                return True
        return False, "short"


def block(given: Given) -> Short:
    """With the recipe's `min_characters`."""
    return Short(given.source.min_characters, exclusion_writer=given.removed)
