"""MinHash signatures of word or character n-grams, in bounded memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.text import simplify_text

from moxin_recipes.documents.filters.short import simplified
from moxin_recipes.documents.words import WORDS

_AT_A_TIME = 1 << 15  # n-grams × 200 hashes × 8 bytes is 50 MB


class Signature(MinhashDedupSignature):
    """datatrove's first step, for n-grams of words (FineWeb) or of characters (SlimPajama).

    SlimPajama's "13-grams" are characters: its published code makes n-grams of a string
    (Cerebras/modelzoo, `slimpajama/dedup/to_hash.py`), some two or three words each.
    """

    def __init__(self, folder: str, config: MinhashConfig, characters: bool) -> None:
        super().__init__(folder, config, language=WORDS)
        self.characters = characters

    def get_shingles(self, text: str) -> np.ndarray:
        """(distinct n-grams, 1) hashes below 2^61, uint64."""
        n, digest = self.config.n_grams, xxhash.xxh3_64_intdigest
        parts: Iterator[str]
        if self.characters:
            whole = simplified(text)
            parts = (whole[at : at + n] for at in range(len(whole) - n + 1))
        else:
            words = WORDS.word_tokenize(simplify_text(text, self.config.norm_config))
            parts = (" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        hashes = {digest(part.encode()) & 0x1FFFFFFFFFFFFFFF for part in parts}
        return np.fromiter(hashes, np.uint64, len(hashes)).reshape(-1, 1)

    def get_signature(self, shingles: np.ndarray) -> Any:
        """As datatrove's, over parts of a long text: a minimum of minima is the minimum."""
        parts = [shingles[at : at + _AT_A_TIME] for at in range(0, len(shingles), _AT_A_TIME)]
        made = [np.array(super(Signature, self).get_signature(part), np.uint64) for part in parts]
        return np.minimum.reduce(made).tolist()
