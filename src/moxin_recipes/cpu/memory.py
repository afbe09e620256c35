"""Freed memory stays with a process that trains on a CPU; standard library only."""

import ctypes
import os

# mallopt(3): sizes from which memory is mapped by itself, and given back from the heap's top.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _MOST = -3, -1, 2**31 - 1


def keep_freed_memory() -> None:
    """On a CPU launch: has glibc keep what is freed, for the next step to use again.

    Otherwise each buffer of some megabytes goes back to the kernel and comes anew, zeroed page by
    page, at every step (`python -m bench train_step` has the figures). A process then stays as
    large as it ever was; on GPU nodes, whose weights pass through here once, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library has none
    if mallopt and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, _MOST)
