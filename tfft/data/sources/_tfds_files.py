"""The fast way to a dataset of TensorFlow Datasets: its files, where they hold nothing that has to be decoded.

The library parses and decodes row by row. For texts, classes and numbers, whose form in the files is the form they are
needed in, reading the records in batches is several times as fast.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfft.console import Console
from tfft.data.sources._examples import feature_cells, parse_examples, record_batches
from tfft.data.sources._tensors import named
from tfft.data.sources._weight import blocks
from tfft.data.sources.base import Columns

_TRUTH = {"0": "false", "1": "true"}


@dataclasses.dataclass(frozen=True)
class PlainFeature:
    """A column that can be taken from the files as it is.

    Attributes:
        key: Its name in the files.
        is_list: Whether it is a sequence.
        names: What its cells stand for; None when they stand for themselves.
    """

    key: str
    is_list: bool
    names: Mapping[str, str | None] | None

    def column(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Returns the cells of parsed rows."""
        cells: list[Any] = [value or [] for value in feature_cells(rows, self.key)]
        if not self.is_list:
            cells = [cell[0] if cell else None for cell in cells]
        return cells if self.names is None else [named(cell, self.names) for cell in cells]


def plain_feature(
    kind: Any, path: Sequence[str], sequences: int, names: Mapping[str, str | None] | None
) -> PlainFeature | None:
    """Tells whether a feature is in the files as it is needed.

    Args:
        kind: The feature, without sequences around it.
        path: Names that lead to it.
        sequences: How many sequences are around it.
        names: Names of its classes.

    Returns:
        How to read it; None when it has to be decoded.
    """
    import tensorflow_datasets as tfds

    if type(kind) not in {tfds.features.Text, tfds.features.ClassLabel, tfds.features.Tensor, tfds.features.Scalar}:
        return None
    stored, dtype = kind.get_serialized_info(), np.dtype(kind.np_dtype)
    if stored.shape != () or np.dtype(stored.np_dtype) != dtype or sequences > 1:
        return None
    if dtype == np.bool_:
        return PlainFeature("/".join(path), sequences > 0, _TRUTH)
    fits = dtype.kind in "OS" or dtype == np.float32 or (dtype.kind in "iu" and dtype != np.uint64)
    return PlainFeature("/".join(path), sequences > 0, names) if fits else None


def file_parts(builder: Any, split: str) -> list[tuple[str, int, int]] | None:
    """Returns the files of a split, and from which record how many are read; None when they cannot be read directly."""
    if builder.info.file_format is None or builder.info.file_format.value != "tfrecord":
        return None
    try:
        found = builder.info.splits[split].file_instructions
    except Exception:  # the library says itself what is wrong with a split
        return None
    parts = [(os.fspath(part.filename), part.skip, part.take) for part in found]
    return parts if all(os.path.isfile(name) for name, _, _ in parts) else None


def file_chunks(
    parts: Sequence[tuple[str, int, int]], features: Mapping[str, PlainFeature], where: str, console: Console
) -> Iterator[Columns]:
    """Reads columns from files.

    Args:
        parts: What `file_parts` returns.
        features: Columns by name.
        where: Name of the source, for messages.
        console: Where progress is shown.

    Yields:
        Chunks.

    Raises:
        DataError: When a file is damaged.
    """
    with console.progress(f"reading {where}", sum(take for _, _, take in parts), "rows") as advance:
        for block in blocks(_records(parts)):
            rows = parse_examples(block, where, 1)
            yield {name: feature.column(rows) for name, feature in features.items()}
            advance(len(block))


def _records(parts: Sequence[tuple[str, int, int]]) -> Iterator[bytes]:
    import tensorflow as tf

    for name, skip, take in parts:
        for records in record_batches(tf.data.TFRecordDataset(name).skip(skip).take(take), name):
            yield from records
