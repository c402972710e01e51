"""Serialized `tf.train.Example` as cells, without a description of their features."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfft.core.errors import DataError
from tfft.data.sources._cells import as_cells
from tfft.data.sources._tensors import said

#: Records that TensorFlow hands over at once.
_BATCH = 128


def record_batches(dataset: Any, where: str) -> Iterator[list[bytes]]:
    """Reads the records of a `tf.data.TFRecordDataset`.

    Args:
        dataset: The dataset.
        where: Name of the file, for messages.

    Yields:
        Some records.

    Raises:
        DataError: When a record is damaged; names it.
    """
    number = 0
    batches = iter(dataset.batch(_BATCH))
    while True:
        try:
            batch = next(batches, None)
        except Exception:
            raise _damaged(dataset, number, where) from None
        if batch is None:
            return
        records = batch.numpy().tolist()
        number += len(records)
        yield records


def _damaged(dataset: Any, before: int, where: str) -> DataError:
    """Returns the error for a damaged record, some way after the first `before` ones."""
    number = before + 1
    try:
        for _ in dataset.skip(before):
            number += 1
    except Exception as error:
        return DataError(
            f"{where}, record {number}: damaged, or not a TFRecord file ({said(error)}). Write or fetch it again; "
            "if it is compressed, its name should end in .gz."
        )
    return DataError(f"{where} changed while it was read.")


def parse_examples(records: Sequence[bytes], where: str, first_row: int) -> list[Mapping[str, Any]]:
    """Parses records.

    Args:
        records: Serialized examples.
        where: Name of the file, for messages.
        first_row: Number of the first record.

    Returns:
        The features of each, by name.

    Raises:
        DataError: When a record is no `tf.train.Example`.
    """
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
                f"{where}, record {number}: not a tf.train.Example (a tf.train.SequenceExample is none either). "
                "Read it with tf.data.TFRecordDataset and a map that parses it, and pass that dataset."
            )
        rows.append(example.features.feature)
    return rows


def feature_cells(rows: Sequence[Mapping[str, Any]], name: str) -> list[list[Any] | None]:
    """Returns the values of a feature.

    Args:
        rows: The features of each row, by name.
        name: The feature.

    Returns:
        A list of cells for each row, None where the feature is missing or has no type.
    """
    values = [_values(row[name]) if name in row else None for row in rows]
    flat: Any = list(itertools.chain.from_iterable(value for value in values if value is not None))
    kinds = set(map(type, flat))
    if kinds == {float}:
        flat = np.array(flat, np.float32)  # what they are in the file
    elif float in kinds:
        flat = [np.float32(value) if type(value) is float else value for value in flat]
    cells = iter(as_cells(flat))
    return [None if value is None else list(itertools.islice(cells, len(value))) for value in values]


def _values(feature: Any) -> list[Any] | None:
    kind = feature.WhichOneof("kind")
    return None if kind is None else list(getattr(feature, kind).value)
