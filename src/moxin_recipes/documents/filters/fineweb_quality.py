"""FineWeb's rules on lines: how they end, how short they are, how often one comes again.

The numbers are datatrove's, which are the paper's (arXiv 2406.17557).
"""

from datatrove.pipeline.filters import FineWebQualityFilter

from moxin_recipes.documents.filters import Given
from moxin_recipes.documents.words import WORDS


def block(given: Given) -> FineWebQualityFilter:
    """datatrove's block; its words are this package's, since spaCy's would be a large model."""
    return FineWebQualityFilter(language=WORDS, exclusion_writer=given.removed)
