"""Rows of different length in a temporary file, for data larger than memory."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from tfft.core.errors import DataError

#: Bytes that are written at once.
_BUFFER = 1 << 20


class RowStore:
    """Rows of numbers, end to end in a file; only where each begins is in memory.

    Rows are read with `pread`, not through a memory map: pages of a map count as resident memory, and random access
    would soon have touched all of them. The file has no name once it is open, so nothing is left behind however the
    process ends.

    Attributes:
        dtype: Type of the numbers.
        splits: Where rows begin and end, int64 of shape `(rows + 1,)`.
        directory: Where the file is, for stores that derive from this one.
    """

    def __init__(self, descriptor: int, dtype: np.dtype, splits: np.ndarray, directory: Path) -> None:
        """Takes over an open file.

        Args:
            descriptor: The file; closed with the store.
            dtype: Type of the numbers.
            splits: Where rows begin and end, int64 of shape `(rows + 1,)`.
            directory: Where the file is.
        """
        self.dtype = dtype
        self.splits = splits
        self.directory = directory
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.splits) - 1

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads rows.

        Args:
            rows: Row positions, int64 of shape `(batch,)`.

        Returns:
            Their numbers end to end, and the length of each row, int64 of shape `(batch,)`.
        """
        size = self.dtype.itemsize
        starts, ends = self.splits[rows], self.splits[np.asarray(rows) + 1]
        parts: list[bytes] = []
        at = 0
        while at < len(starts):  # neighbours in the file are read at once
            last = at
            while last + 1 < len(starts) and starts[last + 1] == ends[last]:
                last += 1
            parts.append(self._read(int(starts[at]) * size, int(ends[last]) * size))
            at = last + 1
        return np.frombuffer(b"".join(parts), dtype=self.dtype), ends - starts

    def _read(self, start: int, end: int) -> bytes:
        content = os.pread(self._descriptor, end - start, start)
        while len(content) < end - start:  # one call reads at most 2 GiB
            more = os.pread(self._descriptor, end - start - len(content), start + len(content))
            if not more:
                raise DataError("A temporary file of this run was cut short by something else.")
            content += more
        return content


class RowWriter:
    """Appends rows to what becomes a `RowStore`."""

    def __init__(self, directory: Path, dtype: np.dtype) -> None:
        """Opens a file without a name.

        Args:
            directory: Where to put it.
            dtype: Type of the numbers.

        Raises:
            DataError: When the directory cannot be written.
        """
        self._directory = directory
        self._dtype = dtype
        self._lengths: list[np.ndarray] = [np.zeros(1, np.int64)]
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix="tfft-rows-", dir=directory)
        except OSError as error:
            raise DataError(
                f"Rows cannot be kept in {directory}: {error.strerror}. Name another place with cache_dir."
            ) from error
        os.unlink(name)
        self._descriptor = descriptor
        self._pending = bytearray()
        self._closing = weakref.finalize(self, os.close, descriptor)

    def append(self, flat: np.ndarray, lengths: np.ndarray) -> None:
        """Appends rows.

        Args:
            flat: Their numbers, end to end.
            lengths: Length of each row, shape `(rows,)`.

        Raises:
            DataError: When the disk is full.
        """
        with self._disk():
            self._pending += np.ascontiguousarray(flat, dtype=self._dtype).tobytes()
            if len(self._pending) >= _BUFFER:
                self._flush()
        self._lengths.append(np.asarray(lengths, dtype=np.int64))

    def finish(self) -> RowStore:
        """Closes the writer.

        Returns:
            The store.

        Raises:
            DataError: When the disk is full.
        """
        with self._disk():
            self._flush()
        self._closing.detach()  # the store closes it
        lengths, self._lengths = np.concatenate(self._lengths), []
        return RowStore(self._descriptor, self._dtype, np.cumsum(lengths, out=lengths), self._directory)

    def _flush(self) -> None:
        rest = memoryview(self._pending)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._pending = bytearray()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else str(error)
            raise DataError(
                f"Rows cannot be kept in {self._directory}: {reason}. Name another place with cache_dir."
            ) from error


class StoredTexts(Sequence[str]):
    """Texts in a `RowStore`, read when they are asked for."""

    def __init__(self, store: RowStore, positions: np.ndarray | None = None) -> None:
        """Creates a view.

        Args:
            store: Rows of UTF-8 bytes.
            positions: Which rows, int64 of shape `(rows,)`; None for all.
        """
        self.store = store
        self._positions = positions

    def __len__(self) -> int:
        """Returns the number of texts."""
        return len(self.store) if self._positions is None else len(self._positions)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Reads one text, or a list of texts for a slice."""
        if isinstance(index, slice):
            return self._read(np.arange(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._read(np.array([index % len(self)]))[0]

    def __iter__(self) -> Iterator[str]:
        """Iterates in blocks."""
        for start in range(0, len(self), 4096):
            yield from self[start : start + 4096]

    def take(self, positions: np.ndarray) -> StoredTexts:
        """Returns a view of some of the texts."""
        return StoredTexts(self.store, positions if self._positions is None else self._positions[positions])

    def _read(self, places: np.ndarray) -> list[str]:
        flat, lengths = self.store.gather(places if self._positions is None else self._positions[places])
        content, ends = flat.tobytes(), np.cumsum(lengths)
        return [content[end - length : end].decode() for end, length in zip(ends, lengths, strict=True)]


class CodedLabels(Sequence[str]):
    """Labels as numbers into a list of names: four bytes a row."""

    def __init__(self, codes: np.ndarray, names: Sequence[str]) -> None:
        """Creates the sequence.

        Args:
            codes: Place of each row's label in `names`, int32 of shape `(rows,)`.
            names: The distinct labels.
        """
        self.codes = codes
        self.names = names

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Returns one label, or a list of labels for a slice."""
        if isinstance(index, slice):
            return [self.names[code] for code in self.codes[index]]
        label: str = self.names[self.codes[index]]
        return label

    def take(self, positions: np.ndarray) -> CodedLabels:
        """Returns the labels of some rows."""
        return CodedLabels(self.codes[positions], self.names)
