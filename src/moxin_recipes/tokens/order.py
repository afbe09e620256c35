"""Decides which sequence training reads at which index: a pure function of (seed, index)."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moxin_recipes.recipe.keys.pretrain import MixtureItem, PretrainKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.shards import Shard

BLOCK = 10_000  # sequences in which each source has exactly its share of the mixture
_EPOCHS_KEPT = 64  # over all sources; each holds a few arrays with one item a shard
_DIVISION = (0,)  # all phases divide the shards of a source in the order of this one seed


@dataclass(frozen=True)
class Location:
    """Where a training sequence comes from: `context` tokens of `shard`, from token `start` on."""

    source: str
    epoch: int
    shard: Shard
    start: int


@dataclass(frozen=True)
class Locations:
    """The locations of many sequences, as int64 arrays (sequences,).

    `source` is an index in `items`; `extent` is an index in the extents of that source.
    """

    source: np.ndarray
    epoch: np.ndarray
    extent: np.ndarray
    start: np.ndarray


@dataclass(frozen=True)
class Extent:
    """`windows` consecutive sequences of a shard, from token `start` on."""

    shard: Shard
    start: int
    windows: int


def shuffled(positions: np.ndarray, size: int, seed: tuple[int, ...]) -> np.ndarray:
    """Maps `positions` by a seeded permutation of range(size), in O(1) memory for each.

    A four-round Feistel network permutes the numbers of the next even count of bits. It is applied
    again to each image that is not below `size`.
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    images = np.asarray(positions, np.uint64).copy()
    outside = np.arange(len(images))
    while len(outside):
        left, right = images[outside] >> half, images[outside] & mask
        for key in _round_keys(seed):
            mixed = right * np.uint64(0x9E3779B97F4A7C15) + key
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
        images[outside] = (left << half) | right
        outside = outside[images[outside] >= size]
    return images.astype(np.int64)


@functools.lru_cache(maxsize=4096)
def _round_keys(seed: tuple[int, ...]) -> tuple[np.uint64, ...]:
    return tuple(np.random.SeedSequence(seed).generate_state(4, np.uint64))


def _round_robin(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deals the places of a block to the sources, `counts` of them to each.

    Returns the source of each place, (BLOCK,), and how many places before it each source has,
    (BLOCK, sources).
    """
    sources, before = np.zeros(BLOCK, int), np.zeros((BLOCK, len(counts)), int)
    credit, used = np.zeros(len(counts), int), np.zeros(len(counts), int)
    for place in range(BLOCK):
        credit += counts
        source = int(credit.argmax())
        credit[source] -= BLOCK
        sources[place], before[place] = source, used
        used[source] += 1
    return sources, before


def _equal_rows(*columns: np.ndarray) -> list[np.ndarray]:
    """Groups rows that are equal in all `columns`: one array of row numbers for each group."""
    order = np.lexsort(columns)
    changes = [column[order][1:] != column[order][:-1] for column in columns]
    return np.split(order, np.flatnonzero(np.logical_or.reduce(changes)) + 1)


def extents(shards: Sequence[Shard], item: MixtureItem, context: int) -> list[Extent]:
    """Returns the part of a source between `item.start` and `item.stop`, as whole sequences.

    Every phase and every context takes the shards in the same order. So parts that do not overlap
    in the recipes do not overlap in the tokens that they read.
    """
    total = sum(shard.tokens for shard in shards)
    first, last = round(item.start * total), round(item.stop * total)
    parts, tokens_before = [], 0
    for position in shuffled(np.arange(len(shards)), len(shards), _DIVISION):
        shard = shards[int(position)]
        begin, end = max(0, first - tokens_before), min(shard.tokens, last - tokens_before)
        windows = max(0, end - begin) // context
        if windows:
            parts.append(Extent(shard, begin, windows))
        tokens_before += shard.tokens
    return parts


class _Epoch:
    """One pass over a source: extents in a seeded order; windows are shuffled within groups."""

    def __init__(self, extents: Sequence[Extent], group: int, seed: tuple[int, ...]) -> None:
        self._seed = seed
        self.order = shuffled(np.arange(len(extents)), len(extents), seed)
        windows = np.array([extents[i].windows for i in self.order])
        self._first_windows = np.concatenate(
            [[0], np.cumsum(windows)]
        )  # first window of each extent
        self._group_starts = np.append(self._first_windows[:-1:group], self._first_windows[-1])
        self._group = group

    def group_of(self, positions: np.ndarray) -> np.ndarray:
        """Returns the group that is read at each position of the pass."""
        return np.searchsorted(self._group_starts, positions, "right") - 1

    def members(self, group: int) -> list[int]:
        """Returns the extents of a group; a group after the last one has none."""
        return [int(i) for i in self.order[group * self._group : (group + 1) * self._group]]

    def windows(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the extent at each position, and the window in that extent."""
        groups = self.group_of(positions)
        shuffled_windows = np.empty(len(positions), np.int64)
        for places in _equal_rows(groups):
            group = int(groups[places[0]])
            begin, end = self._group_starts[group], self._group_starts[group + 1]
            inside = shuffled(positions[places] - begin, int(end - begin), (*self._seed, group))
            shuffled_windows[places] = begin + inside
        ranks = np.searchsorted(self._first_windows, shuffled_windows, "right") - 1
        return self.order[ranks], shuffled_windows - self._first_windows[ranks]


class Order:
    """Maps each sequence index to a shard and to a start in it.

    Sources take turns by smooth weighted round robin. In any stretch of training the share of each
    source is exact to within a sequence or two; in any 10,000 sequences it is exact. Each window
    of a source is read once an epoch: the shards come in a seeded order, and the windows of each
    `group` of shards are shuffled together.

    `group` is a trade-off. A batch reads at most `group` shards of each source, so a disk cache of
    some 3 × sources × `group` shards downloads nothing twice. But documents of different groups
    never meet in a batch. A group of 16 shards of 250M tokens holds 4B tokens, which are 2,000
    steps of 2M tokens: far more than a shuffle buffer holds. A source of at most `group` shards is
    shuffled as a whole.
    """

    def __init__(
        self,
        shards: dict[str, list[Shard]],
        items: Sequence[MixtureItem],
        context: int,
        seed: int,
        group: int,
    ) -> None:
        self.items, self.context = items, context
        self._seed, self._group = seed, group
        self.extents = [extents(shards[item.source], item, context) for item in items]
        self.windows = np.array(
            [sum(extent.windows for extent in extents) for extents in self.extents]
        )
        for item, windows in zip(items, self.windows, strict=True):
            if not windows:
                raise RecipeError(
                    f"`mixture`: source {item.source} has no whole sequence of {context} tokens "
                    f"between {item.start:g} and {item.stop:g}"
                )
        total = sum(item.weight for item in items)
        shares = np.rint(np.cumsum([item.weight / total for item in items]) * BLOCK)
        self._counts = np.diff(shares.astype(int), prepend=0)
        for item, count in zip(items, self._counts, strict=True):
            if not count:
                raise RecipeError(f"`mixture`: a weight of {item.weight:g} is never read")
        self._source_at, self._before = _round_robin(self._counts)
        self._starts = [np.array([extent.start for extent in extents]) for extents in self.extents]
        self._epochs: dict[tuple[int, int], _Epoch] = {}

    @classmethod
    def from_keys(cls, keys: PretrainKeys, shards: Callable[[str, str], list[Shard]]) -> "Order":
        """Returns the order of a recipe; `shards(source, split)` lists the shards of a source."""
        shards_by_source = {item.source: shards(item.source, "train") for item in keys.mixture}
        return cls(
            shards_by_source, keys.mixture, keys.context_length, keys.seed, keys.shuffle_shards
        )

    def _epoch(self, source: int, epoch: int) -> _Epoch:
        if (source, epoch) not in self._epochs:
            if len(self._epochs) >= _EPOCHS_KEPT:
                self._epochs.clear()
            seed = (self._seed, 2, source, epoch)
            self._epochs[source, epoch] = _Epoch(self.extents[source], self._group, seed)
        return self._epochs[source, epoch]

    def locate_all(self, indices: np.ndarray) -> Locations:
        """Returns the locations of the sequences at `indices`; a million take about a second."""
        blocks, places = np.divmod(np.asarray(indices, np.int64), BLOCK)
        sources = self._source_at[places]
        ordinals = blocks * self._counts[sources] + self._before[places, sources]
        epochs, positions = np.divmod(ordinals, self.windows[sources])
        extent_indices, starts = np.empty_like(sources), np.empty_like(sources)
        for rows in _equal_rows(sources, epochs):
            source, epoch = int(sources[rows[0]]), int(epochs[rows[0]])
            extent_indices[rows], windows = self._epoch(source, epoch).windows(positions[rows])
            starts[rows] = self._starts[source][extent_indices[rows]] + windows * self.context
        return Locations(sources, epochs, extent_indices, starts)

    def locate(self, index: int) -> Location:
        """Returns the location of one sequence, in time that does not grow with the index."""
        return self.location(self.locate_all(np.array([index])), 0)

    def location(self, locations: Locations, row: int) -> Location:
        """Returns one of many locations."""
        source, extent = int(locations.source[row]), int(locations.extent[row])
        shard = self.extents[source][extent].shard
        epoch, start = int(locations.epoch[row]), int(locations.start[row])
        return Location(self.items[source].source, epoch, shard, start)

    def shards_at(self, index: int) -> tuple[list[Shard], list[Shard]]:
        """Returns the shards that training reads from at an index, and those that it reads next."""
        current: list[Shard] = []
        upcoming: list[Shard] = []
        block, place = divmod(index, BLOCK)
        for source, source_extents in enumerate(self.extents):
            ordinal = block * int(self._counts[source]) + int(self._before[place, source])
            number, position = divmod(ordinal, int(self.windows[source]))
            epoch = self._epoch(source, number)
            group = int(epoch.group_of(np.array([position]))[0])
            after = epoch.members(group + 1) or self._epoch(source, number + 1).members(0)
            current += [source_extents[i].shard for i in epoch.members(group)]
            upcoming += [source_extents[i].shard for i in after]
        return current, upcoming

    def epochs(self, length: int) -> dict[str, float]:
        """Returns how many times `length` sequences read each source's part."""
        blocks, places_left = divmod(length, BLOCK)
        read = blocks * self._counts + np.bincount(
            self._source_at[:places_left], minlength=len(self._counts)
        )
        return {
            item.source: float(share)
            for item, share in zip(self.items, read / self.windows, strict=True)
        }
