"""How the C library's allocator and Python's garbage collector treat the server's memory."""

from __future__ import annotations

import ctypes
import gc

__all__ = ["keep_freed_memory", "settle_objects", "spare_objects"]

# From <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MIB = 2**20


def keep_freed_memory() -> None:
    """Let glibc keep buffers of up to 32 MiB for the next message; does nothing elsewhere.

    By default it gives buffers of the size of a chunk back to the kernel after each, which then
    clears every page anew: a million page faults in a download of 1 GiB, half of its time. Up to
    64 MiB of free memory is kept.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
    mallopt(_M_TRIM_THRESHOLD, 64 * _MIB)
    mallopt(_M_TOP_PAD, 4 * _MIB)
    mallopt(_M_ARENA_MAX, 2)


def spare_objects() -> None:
    """Collect no garbage until `settle_objects`, while there is next to none.

    Importing MLflow makes a million objects that stay; going through them again and again takes
    a quarter of the time that a start needs.
    """
    gc.disable()


def settle_objects() -> None:
    """Collect garbage again, but never go through what there is now, which stays to the end.

    A full collection of it stops every thread for a tenth of a second.
    """
    gc.freeze()
    gc.enable()
