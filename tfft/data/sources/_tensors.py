"""Elements of a `tf.data.Dataset` as columns."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources._cells import as_cells
from tfft.data.sources._components import Component, batch_size, every_part
from tfft.data.sources._weight import joined
from tfft.data.sources.base import Columns

#: Dimensions of rows of numbers or words; more of them make pictures and the like.
_MATRIX = 2


@dataclasses.dataclass(frozen=True)
class Elements:
    """How to read a dataset.

    Attributes:
        dataset: The `tf.data.Dataset`.
        parts: The components of its elements to read, by column name.
        where: Its name, for messages.
        batched: Whether an element holds several rows.
        labels: For columns of class numbers, the name of each number (as a string).
        arrays: Columns whose rows stay NumPy arrays although they have one dimension.
    """

    dataset: Any
    parts: Mapping[str, Component]
    where: str
    batched: bool = False
    labels: Mapping[str, Mapping[str, str | None]] = dataclasses.field(default_factory=dict)
    arrays: Collection[str] = ()

    def chunks(self, console: Console) -> Iterator[Columns]:
        """Reads the elements.

        Args:
            console: Where progress is shown.

        Yields:
            Chunks.

        Raises:
            DataError: When a part holds no data, there are no rows, or TensorFlow fails.
        """
        for name, component in self.parts.items():
            component.check(name, self.where)
        total = max(int(self.dataset.cardinality()), 0)
        unit = "batches" if self.batched else "rows"
        progress = console.progress(f"reading {self.where}", total, unit) if total else contextlib.nullcontext(_ignore)
        empty = True
        with progress as advance:
            for chunk in joined(self._pieces(advance)):
                empty = False
                yield chunk
        if empty:
            raise DataError(f"{self.where} has no rows.")

    def _pieces(self, advance: Callable[..., None]) -> Iterator[Columns]:
        rows = 0
        elements = self._elements()
        while True:
            try:
                values = next(elements, None)
            except Exception as error:
                raise DataError(f"{self.where} failed after row {rows}: {said(error)}") from error
            if values is None:
                return
            piece = {name: self._cells(name, value) for name, value in zip(self.parts, values, strict=True)}
            counts = {name: len(cells) for name, cells in piece.items()}
            count = next(iter(counts.values()))
            if set(counts.values()) != {count}:
                raise DataError(f"{self.where}: the parts of the batch after row {rows} differ in length: {counts}.")
            rows += count
            advance(1 if self.batched else count)
            if count:
                yield piece

    def _elements(self) -> Iterator[list[Any]]:
        """Yields the parts of several rows at once, as tensors or ragged tensors."""
        import tensorflow as tf

        dataset, parts, batched = self.dataset, list(self.parts.values()), self.batched
        if not batched:
            rows, ragged = batch_size(every_part(dataset.element_spec))
            if rows == 1:  # pictures of different size, perhaps only in columns that are not wanted
                dataset, parts = _picked(dataset, parts)
                rows, ragged = batch_size(dataset.element_spec)
            dataset = dataset.ragged_batch(rows) if ragged else dataset.batch(rows)
        options = tf.data.Options()
        options.deterministic = True
        for element in dataset.with_options(options):
            yield [part.pick(element, batched=True) for part in parts]

    def _cells(self, name: str, value: Any) -> list[Any]:
        if name in self.arrays:
            return _arrays(value)
        cells = _rows(value)
        return [named(cell, self.labels[name]) for cell in cells] if name in self.labels else cells


def named(cell: Any, names: Mapping[str, str | None]) -> Any:
    """Returns the name of a class number, or a list of names for a list; null stays null."""
    if isinstance(cell, list):
        return [named(item, names) for item in cell]
    return None if cell is None else names[cell]


def class_names(names: Sequence[str]) -> dict[str, str | None]:
    """Returns the name of each class number; -1, which stands for no label, becomes null."""
    return {"-1": None, **{str(number): name for number, name in enumerate(names)}}


def said(error: Exception) -> str:
    """Returns an error of TensorFlow on one line, without the names of its own nodes."""
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*", "", str(error))
    return " ".join(f"{type(error).__name__}: {text}".split())[:500]


def _picked(dataset: Any, parts: Sequence[Component]) -> tuple[Any, list[Component]]:
    """Returns a dataset whose elements are tuples of these parts, and the parts of those."""
    import tensorflow as tf

    is_tuple = type(dataset.element_spec) is tuple  # map hands over a named tuple whole

    @tf.autograph.experimental.do_not_convert
    def pick(*element: Any) -> tuple[Any, ...]:
        whole = element if is_tuple else element[0]
        return tuple(part.pick(whole, batched=False) for part in parts)

    picked = dataset.map(pick)
    return picked, [Component(spec, (at,)) for at, spec in enumerate(picked.element_spec)]


def _ignore(count: int = 1) -> None:
    """Shows nothing."""


def _rows(value: Any) -> list[Any]:
    """Returns the cells of a tensor or ragged tensor whose first dimension counts rows."""
    if not hasattr(value, "row_splits"):
        return as_cells(value.numpy())
    if value.shape.rank > _MATRIX and value.dtype.name != "string":
        return as_cells(_arrays(value))
    inner = _rows(value.values)
    return [inner[start:end] for start, end in itertools.pairwise(value.row_splits.numpy().tolist())]


def _arrays(value: Any) -> list[Any]:
    """Returns rows of numbers as arrays; as lists where the rows within a row differ in shape."""
    if not hasattr(value, "row_splits"):
        return list(value.numpy())
    splits = value.row_splits.numpy()
    if not hasattr(value.values, "row_splits"):
        return np.split(value.values.numpy(), splits[1:-1])
    inner = _arrays(value.values)
    groups = [inner[start:end] for start, end in itertools.pairwise(splits.tolist())]
    return [np.stack(group) if len({np.shape(item) for item in group}) == 1 else group for group in groups]
