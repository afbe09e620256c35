"""Which sequence comes at which place of training: a pure function of (seed, index)."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moxin_recipes.arguments import MixtureItem
from moxin_recipes.data.tokens import TokenStream, packed
from moxin_recipes.strict import RecipeError

BLOCK = 10_000  # sequences over which the shares of a mixture come out exactly


@dataclass(frozen=True)
class Sample:
    """Where a training sequence comes from: window `window` of epoch `epoch` over a source."""

    source: str
    epoch: int
    window: int


def shuffled(position: int, size: int, seed: tuple[int, ...]) -> int:
    """Image of `position` under a seeded permutation of range(size), in O(1) time and memory.

    A four-round Feistel network on the next even number of bits, walked until it lands inside.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = _round_keys(seed)
    while True:
        left, right = position >> half, position & mask
        for key in keys:
            mixed = (right * 0x9E3779B97F4A7C15 + key) & 0xFFFFFFFFFFFFFFFF
            mixed ^= mixed >> 29
            mixed = (mixed * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ ((mixed >> 32) & mask)
        position = (left << half) | right
        if position < size:
            return position


@functools.lru_cache(maxsize=4096)
def _round_keys(seed: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(key) for key in np.random.SeedSequence(seed).generate_state(4, np.uint64))


def _round_robin(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(BLOCK,) source of each place, and how many places of that source came before it."""
    sources, ranks = np.zeros(BLOCK, int), np.zeros(BLOCK, int)
    credit, used = np.zeros(len(counts), int), np.zeros(len(counts), int)
    for place in range(BLOCK):
        credit += counts
        which = int(credit.argmax())
        credit[which] -= BLOCK
        sources[place], ranks[place] = which, used[which]
        used[which] += 1
    return sources, ranks


class Mixture(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """`length` packed sequences of `context` tokens, mixed from several sources by weight.

    Sources take turns by smooth weighted round robin, so each has its share to within a sequence
    or two in any stretch of training, and exactly in each 10,000 sequences; within a source each
    window is read once an epoch, in a seeded order.
    """

    def __init__(
        self,
        folder: Path,
        items: list[MixtureItem],
        context: int,
        length: int,
        seed: int,
        bos: int,
    ) -> None:
        self._streams = [TokenStream(folder / item.source, "train") for item in items]
        self._items, self._context, self._length = items, context, length
        self._seed, self._bos = seed, bos
        self._windows = [len(stream) // context for stream in self._streams]
        for item, windows in zip(items, self._windows, strict=True):
            if not windows:
                raise RecipeError(
                    f"`mixture`: source {item.source} has no whole sequence of {context}"
                )
        total = sum(item.weight for item in items)
        shares = np.rint(np.cumsum([item.weight / total for item in items]) * BLOCK)
        self._counts = np.diff(shares.astype(int), prepend=0)
        self._source_at, self._rank_at = _round_robin(self._counts)

    def __len__(self) -> int:
        return self._length

    def locate(self, index: int) -> Sample:
        """Source, epoch and window of the sequence at `index`; O(1)."""
        block, place = divmod(index, BLOCK)
        which = int(self._source_at[place])
        ordinal = block * int(self._counts[which]) + int(self._rank_at[place])
        epoch, position = divmod(ordinal, self._windows[which])
        window = shuffled(position, self._windows[which], (self._seed, 2, which, epoch))
        return Sample(self._items[which].source, epoch, window)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """ids, labels and positions of one sequence, each (context,) int64."""
        sample = self.locate(index)
        which = [item.source for item in self._items].index(sample.source)
        ids = self._streams[which].read(sample.window * self._context, self._context)
        return {key: torch.from_numpy(value) for key, value in packed(ids, self._bos).items()}
