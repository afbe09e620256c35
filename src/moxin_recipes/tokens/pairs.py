"""Counts which token follows which in a tokens repository."""

import numpy as np

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.shards import TokenFolder

MOST = 2**13  # tokens of a vocabulary: its pairs take 0.5 GB as int64


def counts(tokens: TokenFolder, vocabulary: int) -> np.ndarray:
    """Returns how often a token (row) is followed by another (column) in all training tokens.

    The shape is (vocabulary, vocabulary). RecipeError for a vocabulary above `MOST`.
    """
    if vocabulary > MOST:
        raise RecipeError(
            f"`bigrams_name`: {vocabulary:,} tokens make too many pairs; leave it out for "
            f"vocabularies above {MOST:,}"
        )
    pairs = np.zeros(vocabulary**2, np.int64)
    for source in tokens.sources("train"):
        for shard in tokens.shards(source, "train"):
            ids = tokens.read(shard, 0, shard.tokens)
            pairs += np.bincount(ids[:-1] * vocabulary + ids[1:], minlength=vocabulary**2)
    return pairs.reshape(vocabulary, vocabulary)
