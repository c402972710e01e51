"""TFRecord files of `tf.train.Example`."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tfft.core.errors import DataError
from tfft.data.sources._cells import as_cells
from tfft.data.sources._tensors import said
from tfft.data.sources._weight import blocks
from tfft.data.sources.base import Columns, ReadRequest, existing_file, select_columns, sources

#: Records that TensorFlow hands over at once.
_BATCH = 128
#: Bytes around a record: its length and two checksums.
_FRAME = 16
_AGAIN = "Write or fetch it again."
#: The end of the name, with the number of a shard and compression: "a.tfrecord-00000-of-00010.gz".
_NAME = re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$", re.IGNORECASE)


class TfRecordFile:
    """Reads features by name; a record without a feature has null there.

    A feature of one value is a string or a number as a string. From the chunk on in which a column has a row of several
    values (or of none), all its cells are lists. Bytes that are not UTF-8, such as pictures, come with lone surrogates:
    `cell.encode("utf-8", "surrogateescape")` gives them back.
    """

    endings: ClassVar[tuple[str, ...]] = (".tfrecord", ".tfrecords")

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .tfrecord or .tfrecords, with or without shard numbers and .gz."""
        return isinstance(source, (str, Path)) and bool(_NAME.search(str(source)))

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the requested features.

        Args:
            request: What to read.

        Yields:
            Chunks of rows.

        Raises:
            DataError: When the file is missing, empty, damaged, or its records are no `tf.train.Example`.
        """
        path = existing_file(Path(request.source))
        known: dict[str, None] = {}
        lists: set[str] = set()
        number = 0
        for block in blocks(_records(path, request)):
            rows = _parsed(block, path, number + 1)
            known.update(dict.fromkeys(sorted(set().union(*rows) - known.keys())))
            names = list(known) if request.columns is None else request.columns
            yield {name: _column(name, rows, lists) for name in names}
            number += len(rows)
        if not number:
            raise DataError(f"{path} has no rows.")
        select_columns(list(known), request.columns, str(path))


def _records(path: Path, request: ReadRequest) -> Iterator[bytes]:
    import tensorflow as tf

    compressed = path.suffix.lower() == ".gz"
    dataset = tf.data.TFRecordDataset(str(path), compression_type="GZIP" if compressed else None)
    progress = request.console.progress(f"reading {path.name}", path.stat().st_size, "bytes")
    number = size = 0
    with contextlib.nullcontext() if compressed else progress as advance:
        batches = iter(dataset.batch(_BATCH))
        while True:
            try:
                batch = next(batches, None)
            except tf.errors.OpError:
                raise _damaged(path, dataset, number, compressed) from None
            if batch is None:
                break
            records = batch.numpy().tolist()
            number += len(records)
            found = sum(map(len, records)) + _FRAME * len(records)
            size += found
            if advance is not None:
                advance(found)
            yield from records
    if not _is_whole(path, size, compressed):
        raise DataError(f"{path} ends in the middle of record {number + 1}. {_AGAIN}")


def _damaged(path: Path, dataset: Any, before: int, compressed: bool) -> DataError:
    """Returns the error for a damaged record, some way after the first `before` ones."""
    number = before + 1
    try:
        for _ in dataset.skip(before):
            number += 1
    except Exception as error:
        hint = "" if compressed else " If it is compressed, its name should end in .gz."
        return DataError(f"{path}, record {number}: damaged, or not a TFRecord file ({said(error)}). {_AGAIN}{hint}")
    return DataError(f"{path} changed while it was read.")


def _is_whole(path: Path, size: int, compressed: bool) -> bool:
    """Tells whether records of this many bytes are the whole file: TensorFlow drops one cut in its first bytes."""
    if not compressed:
        return path.stat().st_size == size
    with path.open("rb") as stream:
        stream.seek(-min(4, path.stat().st_size), os.SEEK_END)
        if int.from_bytes(stream.read(4), "little") == size % 2**32:
            return True  # the size that gzip writes at the end
    try:
        with gzip.open(path) as stream:  # of several parts
            return sum(map(len, iter(lambda: stream.read(1 << 20), b""))) == size
    except (OSError, EOFError, zlib.error):
        return False


def _parsed(records: Sequence[bytes], path: Path, first_row: int) -> list[Mapping[str, Any]]:
    """Returns the features of records, by name."""
    from google.protobuf.message import DecodeError
    from google.protobuf.unknown_fields import UnknownFieldSet
    from tensorflow.train import Example

    rows = []
    for number, record in enumerate(records, first_row):
        try:
            example = Example.FromString(record)
            unknown = len(UnknownFieldSet(example))
        except DecodeError:
            unknown = 1
        if unknown:
            raise DataError(
                f"{path}, record {number}: not a tf.train.Example (a tf.train.SequenceExample is none either). "
                "Read it with tf.data.TFRecordDataset and a map that parses it, and pass that dataset."
            )
        rows.append(example.features.feature)
    return rows


def _values(feature: Any) -> list[Any] | None:
    kind = feature.WhichOneof("kind")
    return None if kind is None else list(getattr(feature, kind).value)


def _column(name: str, rows: Sequence[Mapping[str, Any]], lists: set[str]) -> list[Any]:
    values = [_values(row[name]) if name in row else None for row in rows]
    flat: Any = list(itertools.chain.from_iterable(value for value in values if value is not None))
    if flat and all(type(value) is float for value in flat):
        flat = np.array(flat, np.float32)  # what they are in the file
    cells = iter(as_cells(flat))
    if any(value is not None and len(value) != 1 for value in values):
        lists.add(name)
    if name in lists:
        return [None if value is None else list(itertools.islice(cells, len(value))) for value in values]
    return [None if value is None else next(cells) for value in values]


sources.register("tfrecord")(TfRecordFile())
