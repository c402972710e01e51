"""Memory that a CPU's training steps free is kept for the next ones, instead of going back to the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

#: Parameters of glibc's `mallopt`, with the values that it begins with.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_BEGUN_WITH = {_TRIM_THRESHOLD: 128 * 2**10, _TOP_PAD: 128 * 2**10, _MMAP_MAX: 65536}
#: No block is a mapping of its own, and what is free at the end of an arena (64 MiB at most in each) stays there.
_KEPT = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20, _MMAP_MAX: 0}
#: Whoever sets one of these has decided otherwise.
_OWN_SETTINGS = (
    "GLIBC_TUNABLES",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
)


@contextlib.contextmanager
def kept_memory() -> Iterator[bool]:
    """Lets the C library keep freed memory inside; afterwards what is free goes back to the operating system.

    Matrix products pack their operands into blocks of many MiB, which are freed after each product: the operating
    system takes them back and hands them out again page by page, thousands of times a step. Memory in use grows no
    higher, since the same blocks are used again. Works with glibc; elsewhere, and where environment variables say how
    to allocate, nothing is changed.

    Yields:
        Whether memory is kept.
    """
    library = _glibc()
    if library is None or any(name in os.environ for name in _OWN_SETTINGS):
        yield False
        return
    for name, value in _KEPT.items():
        library.mallopt(name, value)
    try:
        yield True
    finally:
        for name, value in _BEGUN_WITH.items():
            library.mallopt(name, value)
        library.malloc_trim(0)


def _glibc() -> Any:
    """Returns the C library of this process; None when it is another than glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    known = all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim"))
    return library if known else None
