"""n-grams as 64-bit numbers, many at a time."""

from collections.abc import Iterable

import numpy as np
import xxhash

Numbers = np.ndarray  # of uint64
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying loses nothing


def word_hashes(words: list[str]) -> Numbers:
    """(words,) hashes of words."""
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter((digest(word.encode()) for word in words), np.uint64, len(words))


def gram_hashes(hashes: Numbers, sizes: Iterable[int]) -> dict[int, Numbers]:
    """For each size n, the (words - n + 1,) hashes of all runs of n words, or none at all.

    A polynomial modulo 2^64: two n-grams meet with a chance of 2^-64, the order counts.
    """
    wanted = set(sizes)
    total = np.zeros(len(hashes), np.uint64)
    hashes_by_size = {}
    for n in range(1, max(wanted, default=0) + 1):
        count = max(0, len(hashes) - n + 1)
        total = total[:count] * _FACTOR + hashes[len(hashes) - count :]
        if n in wanted:
            hashes_by_size[n] = total ^ (total >> np.uint64(29))
    return hashes_by_size
