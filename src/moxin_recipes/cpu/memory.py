"""Freed memory stays with a process that trains on a CPU; standard library only."""

import ctypes
import os

# mallopt(3): sizes from which memory is mapped by itself, and given back from the heap's top.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _MOST = -3, -1, 2**31 - 1
_MOST_OF_OLD = 2**25  # mallopt(3)'s limit of the first; a glibc that keeps to it refuses more


def keep_freed_memory() -> None:
    """On a CPU launch: has glibc keep what is freed, for the next step to use again.

    Otherwise each buffer of some megabytes goes back to the kernel and comes anew, zeroed page by
    page, at every step (`python -m bench train_step` has the figures). A process then stays as
    large as it ever was; on GPU nodes, whose weights pass through here once, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library has none
    if not mallopt or os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true":
        return
    # The second alone would have all larger buffers mapped anew: it ends glibc's own rule.
    if any(mallopt(_M_MMAP_THRESHOLD, size) for size in (_MOST, _MOST_OF_OLD)):
        mallopt(_M_TRIM_THRESHOLD, _MOST)
