"""Gopher's rules on words, symbols, lines and stop words (MassiveText, arXiv 2112.11446, A1.1).

50 to 100,000 words of a mean length of 3 to 10 characters; at most 0.1 symbols a word, 0.9 of the
lines with a bullet, 0.3 with an ellipsis at the end; at least 0.8 of the words with a letter, and 2
distinct stop words (DCLM counts each occurrence). The numbers are datatrove's, which are the
source's.
"""

from datatrove.pipeline.filters import GopherQualityFilter

from moxin_recipes.documents.filters import Given
from moxin_recipes.documents.words import WORDS


def block(given: Given) -> GopherQualityFilter:
    """datatrove's block; its words are this package's, since spaCy's would be a large model."""
    return GopherQualityFilter(language=WORDS, exclusion_writer=given.removed)
