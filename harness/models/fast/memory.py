"""Freed memory stays with the process for the next step.

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
    """Ask glibc not to return freed memory to the system. It costs no memory beyond the peak.

    Returns:
        Whether it will; elsewhere than on Linux with glibc nothing is asked.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version")):
        return False
    return all(
        libc.mallopt(name, size)
        for name, size in ((M_TRIM_THRESHOLD, KEPT_BYTES), (M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES))
    )
