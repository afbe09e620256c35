"""Packed sequences from several sources, as a dataset that training reads from first to last."""

from typing import Protocol

import numpy as np

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.order import Order, Sample, Samples
from moxin_recipes.tokens.shards import Shard
from moxin_recipes.tokens.write import packed

_AHEAD = 128  # places that are located together


class Tokens(Protocol):
    """Where the tokens of shards come from."""

    def read(self, shard: Shard, start: int, count: int) -> np.ndarray:
        """`count` token ids (int64) of a shard from position `start`."""

    def expect(self, now: list[Shard], later: list[Shard]) -> None:
        """Told which shards are read from now on, and which after them."""


class Mixture:
    """`length` sequences in the order of `order`: a map-style dataset with O(1) access.

    Which process asks for which place makes no odds, and no state is kept but caches: so resume is
    exact, and any number of processes reads the same sequences.
    """

    def __init__(self, tokens: Tokens, order: Order, length: int, bos: int) -> None:
        self._tokens, self._order, self._length, self._bos = tokens, order, length, bos
        self._chunk = -1
        self._located: Samples | None = None
        for item in order.items:
            epochs = order.epochs(length)[item.source]
            if epochs > item.epochs:
                raise RecipeError(
                    f"`mixture`: {item.source} would be read {epochs:.2f} times; lower its weight "
                    f"or raise its `epochs` (now {item.epochs:g})"
                )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """ids, labels and positions of one sequence, each (context,) int64."""
        chunk, at = divmod(index, _AHEAD)
        if chunk != self._chunk or self._located is None:
            places = np.arange(chunk * _AHEAD, (chunk + 1) * _AHEAD)
            self._located, self._chunk = self._order.locate_all(places), chunk
            self._tokens.expect(*self._order.shards_at(index))
        sample = self._order.sample(self._located, at)
        ids = self._tokens.read(sample.shard, sample.start, self._order.context)
        return packed(ids, self._bos)

    def locate(self, index: int) -> Sample:
        """Where the sequence at `index` comes from."""
        return self._order.locate(index)

    def facts(self) -> dict[str, int | float]:
        """Counts for the manifest: tokens and epochs of each source."""
        epochs = self._order.epochs(self._length)
        counts: dict[str, int | float] = {}
        for item, windows in zip(self._order.items, self._order.windows, strict=True):
            read = round(epochs[item.source] * int(windows))
            counts[f"{item.source}/tokens"] = read * self._order.context
            counts[f"{item.source}/epochs"] = round(epochs[item.source], 4)
        return counts
