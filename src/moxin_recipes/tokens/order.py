"""Which sequence comes at which place of training: a pure function of (seed, index)."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moxin_recipes.recipe.keys.pretrain import MixtureItem, PretrainKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.shards import Shard

BLOCK = 10_000  # sequences over which the shares of a mixture come out exactly
_EPOCHS_KEPT = 64  # of all sources together; each is a few arrays as long as its shards
_DIVISION = (0,)  # seed of the order in which phases divide the shards of a source: one for all


@dataclass(frozen=True)
class Sample:
    """Where a training sequence comes from: `context` tokens of a shard from `start` on."""

    source: str
    epoch: int
    shard: Shard
    start: int


@dataclass(frozen=True)
class Samples:
    """Many of them as arrays: places in `items`, in that source's extents, and epochs, starts."""

    source: np.ndarray
    epoch: np.ndarray
    extent: np.ndarray
    start: np.ndarray


@dataclass(frozen=True)
class Extent:
    """`windows` sequences of a shard, from token `start` on."""

    shard: Shard
    start: int
    windows: int


def shuffled(positions: np.ndarray, size: int, seed: tuple[int, ...]) -> np.ndarray:
    """Images of `positions` under a seeded permutation of range(size); O(1) memory for each.

    A four-round Feistel network on the next even number of bits, walked until it lands inside.
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    found = np.asarray(positions, np.uint64).copy()
    outside = np.arange(len(found))
    while len(outside):
        left, right = found[outside] >> half, found[outside] & mask
        for key in _round_keys(seed):
            mixed = right * np.uint64(0x9E3779B97F4A7C15) + key
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
        found[outside] = (left << half) | right
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


@functools.lru_cache(maxsize=4096)
def _round_keys(seed: tuple[int, ...]) -> tuple[np.uint64, ...]:
    return tuple(np.random.SeedSequence(seed).generate_state(4, np.uint64))


def _round_robin(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(BLOCK,) source of each place; (BLOCK, sources) places of each source before it."""
    sources, before = np.zeros(BLOCK, int), np.zeros((BLOCK, len(counts)), int)
    credit, used = np.zeros(len(counts), int), np.zeros(len(counts), int)
    for place in range(BLOCK):
        credit += counts
        which = int(credit.argmax())
        credit[which] -= BLOCK
        sources[place], before[place] = which, used
        used[which] += 1
    return sources, before


def _alike(*columns: np.ndarray) -> list[np.ndarray]:
    """The places of each distinct row of some columns."""
    order = np.lexsort(columns)
    changes = [column[order][1:] != column[order][:-1] for column in columns]
    return np.split(order, np.flatnonzero(np.logical_or.reduce(changes)) + 1)


def extents(shards: Sequence[Shard], item: MixtureItem, context: int) -> list[Extent]:
    """The part of a source between `start` and `stop`, as whole sequences of each shard.

    The shards are taken in an order of their own that is the same for every phase and context, so
    parts that do not overlap in the recipes do not overlap in what they read.
    """
    total = sum(shard.tokens for shard in shards)
    first, last = round(item.start * total), round(item.stop * total)
    found, at = [], 0
    for position in shuffled(np.arange(len(shards)), len(shards), _DIVISION):
        shard = shards[int(position)]
        begin, end = max(0, first - at), min(shard.tokens, last - at)
        windows = max(0, end - begin) // context
        if windows:
            found.append(Extent(shard, begin, windows))
        at += shard.tokens
    return found


class _Epoch:
    """One pass over a source: its extents in a seeded order, shuffled together in groups."""

    def __init__(self, extents: Sequence[Extent], group: int, seed: tuple[int, ...]) -> None:
        self._seed = seed
        self.order = shuffled(np.arange(len(extents)), len(extents), seed)
        windows = np.array([extents[i].windows for i in self.order])
        self._at = np.concatenate([[0], np.cumsum(windows)])  # first window of each extent
        self._groups = np.append(self._at[:-1:group], self._at[-1])
        self._group = group

    def group_of(self, positions: np.ndarray) -> np.ndarray:
        """The group that is read at each position of the pass."""
        return np.searchsorted(self._groups, positions, "right") - 1

    def members(self, group: int) -> list[int]:
        """Extents of a group; empty behind the last one."""
        return [int(i) for i in self.order[group * self._group : (group + 1) * self._group]]

    def windows(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(extent, window in it) of each position."""
        groups = self.group_of(positions)
        found = np.empty(len(positions), np.int64)
        for here in _alike(groups):
            group = int(groups[here[0]])
            begin, end = self._groups[group], self._groups[group + 1]
            inside = shuffled(positions[here] - begin, int(end - begin), (*self._seed, group))
            found[here] = begin + inside
        place = np.searchsorted(self._at, found, "right") - 1
        return self.order[place], found - self._at[place]


class Order:
    """The places of training: which shard and which tokens of it each sequence is.

    Sources take turns by smooth weighted round robin, so each has its share to within a sequence
    or two in any stretch of training, and exactly in any 10,000 sequences. Within a source each
    window is read once an epoch: the shards come in a seeded order, and the windows of `group`
    shards at a time in a seeded order among them.

    The trade-off of `group`: a batch reads from `group` shards of each source at most, so a disk
    cache of some 3 × sources × `group` shards never downloads anything twice; but documents of
    shards in different groups do not meet in a batch. With 16 shards of 250M tokens a group is 4B
    tokens, 2,000 steps of 2M: far beyond what a shuffle buffer holds. A source of no more than
    `group` shards is shuffled as a whole.
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
        self.windows = np.array([sum(e.windows for e in found) for found in self.extents])
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
        self._starts = [np.array([e.start for e in found]) for found in self.extents]
        self._epochs: dict[tuple[int, int], _Epoch] = {}

    @classmethod
    def of(cls, own: PretrainKeys, shards: Callable[[str, str], list[Shard]]) -> "Order":
        """The order of a recipe; `shards` lists those of a source and split."""
        found = {item.source: shards(item.source, "train") for item in own.mixture}
        return cls(found, own.mixture, own.context_length, own.seed, own.shuffle_shards)

    def _epoch(self, which: int, epoch: int) -> _Epoch:
        if (which, epoch) not in self._epochs:
            if len(self._epochs) >= _EPOCHS_KEPT:
                self._epochs.clear()
            seed = (self._seed, 2, which, epoch)
            self._epochs[which, epoch] = _Epoch(self.extents[which], self._group, seed)
        return self._epochs[which, epoch]

    def locate_all(self, indices: np.ndarray) -> Samples:
        """The sequences at `indices`; a million of them in about a second."""
        block, place = np.divmod(np.asarray(indices, np.int64), BLOCK)
        source = self._source_at[place]
        ordinal = block * self._counts[source] + self._before[place, source]
        epoch, position = np.divmod(ordinal, self.windows[source])
        extent, start = np.empty_like(source), np.empty_like(source)
        for here in _alike(source, epoch):
            which, number = int(source[here[0]]), int(epoch[here[0]])
            extent[here], window = self._epoch(which, number).windows(position[here])
            start[here] = self._starts[which][extent[here]] + window * self.context
        return Samples(source, epoch, extent, start)

    def locate(self, index: int) -> Sample:
        """The sequence at one place, in time that does not grow with the index."""
        found = self.locate_all(np.array([index]))
        return self.sample(found, 0)

    def sample(self, found: Samples, at: int) -> Sample:
        """One of many located sequences."""
        which, extent = int(found.source[at]), int(found.extent[at])
        shard = self.extents[which][extent].shard
        return Sample(self.items[which].source, int(found.epoch[at]), shard, int(found.start[at]))

    def shards_at(self, index: int) -> tuple[list[Shard], list[Shard]]:
        """The shards that training reads from at a place, and those that it will read next."""
        now: list[Shard] = []
        later: list[Shard] = []
        block, place = divmod(index, BLOCK)
        for which, found in enumerate(self.extents):
            ordinal = block * int(self._counts[which]) + int(self._before[place, which])
            number, position = divmod(ordinal, int(self.windows[which]))
            epoch = self._epoch(which, number)
            group = int(epoch.group_of(np.array([position]))[0])
            after = epoch.members(group + 1) or self._epoch(which, number + 1).members(0)
            now += [found[i].shard for i in epoch.members(group)]
            later += [found[i].shard for i in after]
        return now, later

    def epochs(self, length: int) -> dict[str, float]:
        """How often each source's part is read in `length` sequences."""
        blocks, rest = divmod(length, BLOCK)
        read = blocks * self._counts + np.bincount(
            self._source_at[:rest], minlength=len(self._counts)
        )
        return {
            item.source: float(share)
            for item, share in zip(self.items, read / self.windows, strict=True)
        }
