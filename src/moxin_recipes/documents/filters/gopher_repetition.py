"""Gopher's rules on repeated lines, paragraphs and n-grams (arXiv 2112.11446, table A1).

The numbers are datatrove's, which are the table's.
"""

from datatrove.pipeline.filters import GopherRepetitionFilter

from moxin_recipes.documents.filters import Given
from moxin_recipes.documents.words import WORDS


def block(given: Given) -> GopherRepetitionFilter:
    """datatrove's block; its words are this package's, since spaCy's would be a large model."""
    return GopherRepetitionFilter(language=WORDS, exclusion_writer=given.removed)
