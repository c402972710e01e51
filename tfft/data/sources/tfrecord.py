"""TFRecord files of `tf.train.Example`."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tfft.core.errors import DataError
from tfft.data.sources._examples import feature_cells, parse_examples, record_batches
from tfft.data.sources._weight import blocks
from tfft.data.sources.base import Columns, ReadRequest, existing_file, select_columns, sources

#: Bytes around a record: its length and two checksums.
_FRAME = 16
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
            rows = parse_examples(block, str(path), number + 1)
            known.update(dict.fromkeys(sorted(set().union(*rows) - known.keys())))
            names = list(known) if request.columns is None else request.columns
            yield {name: _column(rows, name, lists) for name in names}
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
        for records in record_batches(dataset, str(path)):
            number += len(records)
            found = sum(map(len, records)) + _FRAME * len(records)
            size += found
            if advance is not None:
                advance(found)
            yield from records
    if not _is_whole(path, size, compressed):
        raise DataError(f"{path} ends in the middle of record {number + 1}. Write or fetch it again.")


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


def _column(rows: Sequence[Mapping[str, Any]], name: str, lists: set[str]) -> list[Any]:
    """Returns cells; adds to the columns that are lists."""
    values = feature_cells(rows, name)
    if any(value is not None and len(value) != 1 for value in values):
        lists.add(name)
    return values if name in lists else [None if value is None else value[0] for value in values]


sources.register("tfrecord")(TfRecordFile())
