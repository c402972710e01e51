"""Chunks that are bounded in bytes as well as in rows, so that long texts and pictures do not fill the memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tfft.data.sources.base import CHUNK_ROWS, Columns

#: A chunk ends with the row that takes it over this many bytes.
CHUNK_BYTES = 1 << 26

_Row = TypeVar("_Row")


def blocks(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Gathers rows into lists of the size of a chunk.

    Args:
        rows: Dicts, tuples or anything else.

    Yields:
        Lists with at least one row.
    """
    block: list[_Row] = []
    weight = 0
    for row in rows:
        block.append(row)
        weight += weigh(row)
        if len(block) == CHUNK_ROWS or weight > CHUNK_BYTES:
            yield block
            block, weight = [], 0
    if block:
        yield block


def joined(pieces: Iterable[Columns]) -> Iterator[Columns]:
    """Joins small pieces into chunks.

    Args:
        pieces: Pieces of columns, all with the same names.

    Yields:
        Chunks of `CHUNK_ROWS` rows or a little more.
    """
    chunk: Columns = {}
    rows = weight = 0
    for piece in pieces:
        for name, cells in piece.items():
            chunk.setdefault(name, []).extend(cells)
            weight += weigh(cells)
        rows += len(next(iter(piece.values())))
        if rows >= CHUNK_ROWS or weight > CHUNK_BYTES:
            yield chunk
            chunk, rows, weight = {}, 0, 0
    if rows:
        yield chunk


def weigh(value: Any) -> int:
    """Returns about how many bytes a cell, or a row of cells, takes."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(weigh, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(weigh, value))
    return int(getattr(value, "nbytes", 8))
