"""Duplicate paragraphs and documents by a Bloom filter of n-grams, after DCLM's BFF."""

import contextlib
import math
from typing import Any

import numpy as np
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from moxin_recipes.documents.columns import Removed
from moxin_recipes.documents.grams import Numbers, gram_hashes, word_hashes
from moxin_recipes.documents.words import WORDS


class BloomDedup(PipelineStep):
    """Takes out paragraphs, then documents, of which a share `threshold` of n-grams was seen.

    `capacity` is the number of n-grams at which one in `false_positives` is taken for seen. The
    filter lives as long as a task: what two tasks read is not compared (DCLM, too, works on parts),
    and a killed task starts with an empty one. A paragraph is a line; one of fewer words than `n`
    is never judged. datatrove's own Bloom filter judges documents only, holds at most 268 MB and
    uses one bit in eight of them (0.10.1).
    """

    type = "🫂 - DEDUPS"
    name = "🪷 Bloom filter by paragraph"

    def __init__(
        self,
        n: int,
        threshold: float,
        capacity: int,
        false_positives: float,
        exclusion_writer: Removed,
    ) -> None:
        super().__init__()
        self.n, self.threshold = n, threshold
        self.bits = math.ceil(-capacity * math.log(false_positives) / math.log(2) ** 2)
        self.hashes = max(1, round(self.bits / capacity * math.log(2)))
        self.exclusion_writer = exclusion_writer
        self._filter: Any = None

    def _places(self, grams: Numbers) -> Numbers:
        """(n-grams, hashes) bit numbers: two halves of a hash make as many as are wanted."""
        low, high = grams & np.uint64(0xFFFFFFFF), (grams >> np.uint64(32)) | np.uint64(1)
        steps = np.arange(self.hashes, dtype=np.uint64)
        spread = low[:, None] * np.uint64(0x9E3779B97F4A7C15) + high[:, None] * (
            steps * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(1)
        )
        return (spread ^ (spread >> np.uint64(31))) % np.uint64(self.bits)

    def _seen(self, places: Numbers) -> np.ndarray:
        bits = self._filter[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)
        seen: np.ndarray = (bits & 1).all(axis=1)
        return seen

    def _add(self, places: Numbers) -> None:
        bits = np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
        np.bitwise_or.at(self._filter, (places >> np.uint64(3)).ravel(), bits.ravel())

    def _deduplicated(self, text: str) -> str | None:
        """The text without the paragraphs that were seen; None where the document was."""
        kept, total, duplicates = [], 0, 0
        for paragraph in text.split("\n"):
            grams = gram_hashes(word_hashes(WORDS.word_tokenize(paragraph)), [self.n])[self.n]
            if len(grams):
                places = self._places(grams)
                seen = self._seen(places)
                total += len(grams)
                duplicates += int(seen.sum())
                if seen.mean() >= self.threshold:
                    continue
                self._add(places[~seen])
            kept.append(paragraph)
        if total and duplicates / total >= self.threshold:
            return None
        return "\n".join(kept).strip() or None

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> Any:  # noqa: ARG002
        """Yields what is new, in order; `paragraphs` counts documents that were shortened."""
        self._filter = np.zeros((self.bits + 7) // 8, np.uint8)
        with contextlib.closing(self.exclusion_writer) as writer:
            for document in data:
                with self.track_time():
                    text = self._deduplicated(document.text)
                    if text is None:
                        self.stat_update("dropped")
                        writer.write(document, rank)
                        continue
                    if text != document.text:
                        self.stat_update("paragraphs")
                        document.text = text
                yield document
