"""How documents stand in a stream of tokens: one rule for writers, training and scores.

A tokenizer with a BOS and another EOS: `BOS text EOS`. Positions begin again at each BOS, the EOS
is predicted from the text before it, and nothing predicts a BOS.

A tokenizer with one mark (the same id for both, as GPT-2's; an EOS alone, as Qwen's; a BOS alone):
`text MARK`. The mark ends a document and begins the next one: it is predicted from the text before
it, and its own position is the 0 of the next document, whose first token it predicts. So a model
has learned to go on from a mark at position 0, which is where evaluation puts it.

The ids alone show where documents begin, because a literal mark in a text is ordinary text.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:  # transformers takes seconds to load, and readers of tokens do without
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Framing:
    """The ids at which a document begins and ends; the same id where there is one mark."""

    begin: int
    end: int

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", key: str) -> "Framing":
        """The rule for a tokenizer; RecipeError names the recipe's `key` if it has no mark."""
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        marks = [mark for mark in (bos, eos) if mark is not None]
        if not marks:
            raise RecipeError(
                f"`{key}`: the tokenizer has neither BOS nor EOS, so nothing would tell documents "
                "apart; give it one (`tokenizer.eos_token = …`) and save it again"
            )
        return cls(marks[0], marks[-1])

    @property
    def has_one_mark(self) -> bool:
        """Whether the mark that ends a document begins the next one."""
        return self.begin == self.end

    @property
    def rule(self) -> str:
        """The rule in words, for manifests and cards."""
        if self.has_one_mark:
            return f"text {self.end}: the mark ends a document and begins the next one"
        return f"{self.begin} text {self.end}"

    def framed(
        self, ids: np.ndarray, counts: np.ndarray, dtype: np.dtype
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the stream of documents with `counts` of the `ids`, and where each ends in it."""
        marks = 1 if self.has_one_mark else 2
        ends = np.cumsum(counts + marks)
        stream = np.empty(int(ends[-1]), dtype)
        inside = np.ones(len(stream), bool)
        for at, token in ((ends - counts - marks, self.begin), (ends - 1, self.end))[-marks:]:
            stream[at] = token
            inside[at] = False
        stream[inside] = ids
        return stream, ends

    def packed(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Returns a window of a stream as model inputs: ids, labels, positions, (length,) int64.

        Positions start again at each document, which isolates documents in attention. A BOS is no
        label, so nothing is predicted across a boundary; one mark is the last label of the document
        before it.
        """
        starts = ids == self.begin
        unpredicted = np.zeros(len(ids), bool) if self.has_one_mark else starts.copy()
        starts[0] = unpredicted[0] = True  # no token before it can predict it
        indices = np.arange(len(ids))
        first = np.maximum.accumulate(np.where(starts, indices, 0))
        labels = np.where(unpredicted, -100, ids)
        return {"input_ids": ids, "labels": labels, "position_ids": indices - first}
