"""Counts which token follows which in a tokens repository."""

from typing import TYPE_CHECKING

import numpy as np

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.encode import reference
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.shards import TokenFolder

if TYPE_CHECKING:  # transformers takes seconds to load, and readers of tokens do without
    from transformers import PreTrainedTokenizerBase

MOST = 2**13  # tokens of a vocabulary: their pairs take 0.5 GB, with the fit to them 1.4 GB
_PART = 2**20  # tokens that are read together
_PROOF = 2**12  # tokens of each source that are written again
_OTHERS = "make the tokens with the recipe's tokenizer"


def prove(tokens: TokenFolder, tokenizer: "PreTrainedTokenizerBase") -> None:
    """RecipeError unless the first training tokens of each source are what `tokenizer` writes.

    Their text is encoded again. Sizes and marks would not do: all tokenizers that the data stage
    trains to one size have the same ones.
    """
    framing, encode = Framing.of(tokenizer, "bigrams_name"), reference(tokenizer.backend_tokenizer)
    for source in tokens.sources("train"):
        shard = tokens.shards(source, "train")[0]
        ids = tokens.read(shard, 0, min(shard.tokens, _PROOF))
        same = total = 0
        for part in np.split(ids, np.flatnonzero(np.isin(ids, (framing.begin, framing.end)))):
            part = part[~np.isin(part, (framing.begin, framing.end))]
            text = tokenizer.decode(part.tolist(), clean_up_tokenization_spaces=False)
            again = encode([text])[0][: len(part)]
            same += int((again == part[: len(again)]).sum())
            total += len(part)
        if same < 0.9 * total:  # not all: the last document is cut
            raise RecipeError(
                f"`bigrams_name`: the tokens of {source} are another tokenizer's; {_OTHERS}"
            )


def counts(tokens: TokenFolder, vocabulary: int, framing: Framing) -> np.ndarray:
    """Returns how often a token (row) is followed by another (column) in all training tokens.

    The shape is (vocabulary, vocabulary), the dtype int64. All sources count as they are: a
    mixture and its weights belong to a phase of pretraining, and are not used. A BOS of its own is
    nobody's next token, as in `Framing.packed`.

    Raises:
        RecipeError: the vocabulary is above `MOST`, there are no training tokens, or they have ids
            beyond the vocabulary.
    """
    if vocabulary > MOST:
        raise RecipeError(
            f"`bigrams_name`: {vocabulary:,} tokens make too many pairs; leave it out for "
            f"vocabularies above {MOST:,}"
        )
    flat = np.zeros(vocabulary**2, np.int64)
    for source in tokens.sources("train"):
        for shard in tokens.shards(source, "train"):
            for start in range(0, shard.tokens - 1, _PART):
                ids = tokens.read(shard, start, min(_PART + 1, shard.tokens - start))
                if ids.max() >= vocabulary:
                    raise RecipeError(
                        f"`bigrams_name`: its ids go up to {ids.max():,} and more, the "
                        f"tokenizer's to {vocabulary - 1:,}; {_OTHERS}"
                    )
                np.add.at(flat, ids[:-1] * vocabulary + ids[1:], 1)  # bincount makes another array
    pairs = flat.reshape(vocabulary, vocabulary)
    if not framing.has_one_mark:
        pairs[:, framing.begin] = 0
    if not pairs.any():
        raise RecipeError("`bigrams_name`: there are no training tokens to count pairs of")
    return pairs
