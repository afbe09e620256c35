"""At most one blank line in a row; takes no document out."""

import re

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from moxin_recipes.documents.filters import Given

_BLANK_LINES = re.compile(r"\n{3,}")


class BlankLines(BaseFilter):
    """DCLM's `newline_removal_modifier` with `max_consecutive` 2."""

    name = "🔤 Blank lines"

    def filter(self, doc: Document) -> bool:
        """Changes the text only."""
        doc.text = _BLANK_LINES.sub("\n\n", doc.text)
        return True


def block(given: Given) -> BlankLines:
    """It has no numbers that a recipe gives."""
    return BlankLines(exclusion_writer=given.removed)
