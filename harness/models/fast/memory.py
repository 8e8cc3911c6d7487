"""Freed memory is kept for the next step.

glibc hands every large block back to the system as soon as it is freed, and the system clears it page by page
when it is asked for again. A training step frees and asks for the same gigabyte every time.
"""

from __future__ import annotations

import ctypes
import sys

# names of mallopt's parameters in glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**31 - 1  # mallopt takes an int
LARGEST_BLOCK_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed; whether there was one to ask. Costs no memory beyond the peak."""
    libc = _glibc()
    if libc is None:
        return False
    kept = libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(kept and libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES))


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version") else None
