"""A dataset of packed sequences from several sources, which training reads from first to last."""

from typing import Protocol

import numpy as np

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.order import Location, Locations, Order
from moxin_recipes.tokens.shards import Shard

_AHEAD = 128  # sequences that are located together


class Tokens(Protocol):
    """A source of the tokens of shards: a folder, or the Hub."""

    def read(self, shard: Shard, start: int, count: int) -> np.ndarray:
        """Returns `count` token ids (int64) of a shard, from position `start` on."""

    def expect(self, current: list[Shard], upcoming: list[Shard]) -> None:
        """Announces which shards are read from now on, and which are read after them."""


class Mixture:
    """A map-style dataset of `length` sequences in the order of `order`, with O(1) access.

    A sequence depends only on its index: the object keeps no state except caches. So resume is
    exact, and any number of processes reads the same sequences.
    """

    def __init__(self, tokens: Tokens, order: Order, length: int, framing: Framing) -> None:
        self._tokens, self._order, self._length, self._framing = tokens, order, length, framing
        self._chunk = -1
        self._located: Locations | None = None
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
        """Returns `input_ids`, `labels` and `position_ids` of a sequence, each (context,) int64."""
        chunk, row = divmod(index, _AHEAD)
        if chunk != self._chunk or self._located is None:
            indices = np.arange(chunk * _AHEAD, (chunk + 1) * _AHEAD)
            self._located, self._chunk = self._order.locate_all(indices), chunk
            self._tokens.expect(*self._order.shards_at(index))
        location = self._order.location(self._located, row)
        ids = self._tokens.read(location.shard, location.start, self._order.context)
        return self._framing.packed(ids)

    def locate(self, index: int) -> Location:
        """Returns where the sequence at `index` comes from."""
        return self._order.locate(index)

    def facts(self) -> dict[str, int | float]:
        """Returns counts for the manifest: tokens and epochs of each source."""
        epochs = self._order.epochs(self._length)
        counts: dict[str, int | float] = {}
        for item, windows in zip(self._order.items, self._order.windows, strict=True):
            read = round(epochs[item.source] * int(windows))
            counts[f"{item.source}/tokens"] = read * self._order.context
            counts[f"{item.source}/epochs"] = round(epochs[item.source], 4)
        return counts
