"""Memory of the training process: kept for the next step, in large pages."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep what a step frees, since the next step needs as much again.

    A step frees and allocates tensors of tens of megabytes; by default each goes back to the system and
    comes anew as zeroed pages, a third of the time of a step on the CPU. Also asks torch for large pages,
    which it heeds if it has not allocated yet. Process-wide; False where the C library is not glibc.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _LARGEST))
