"""Looking at a base as it was before an adapter was merged into it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tfft.peft.base import Adapter


@contextlib.contextmanager
def unmerged(adapter: Adapter) -> Iterator[None]:
    """Unmerges an adapter for the duration of a block, if it is merged.

    Args:
        adapter: The adapter.

    Yields:
        Nothing.
    """
    merged = adapter.merged
    if merged:
        adapter.unmerge()
    try:
        yield
    finally:
        if merged:
            adapter.merge()
