"""A `tf.data.Dataset`: single rows or batches, as dicts or tuples of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tfft.core.errors import DataError
from tfft.data.sources._components import components, is_batched
from tfft.data.sources._kinds import is_a
from tfft.data.sources._tensors import Elements
from tfft.data.sources.base import Columns, ReadRequest, select_columns, sources

_WHERE = "The tf.data.Dataset"
_INFINITE = -1


class TfDataset:
    """Reads a `tf.data.Dataset`.

    The parts of a dict are columns by name (a dict in a dict gives "outer.inner"), those of a tuple in the order of the
    columns wanted. Batches are taken apart; what counts as a batch says `_components.is_batched`. Padding that a batch
    brought in stays. Class numbers stay numbers. Sparse numbers are read as dense, sparse strings as lists.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def accepts(self, source: Any) -> bool:
        """Accepts instances of `tf.data.Dataset`, told by name, so that TensorFlow is not imported for others."""
        return is_a(source, "tensorflow", ("DatasetV2",))

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the dataset once through.

        Args:
            request: What to read.

        Yields:
            Chunks of rows.

        Raises:
            DataError: When the dataset has no end, lacks a column, has no rows, or fails.
        """
        dataset = request.source
        if int(dataset.cardinality()) == _INFINITE:
            raise DataError(
                f"{_WHERE} has no end (repeat without a count). Leave repeat out, since tfft repeats epochs itself, or "
                "cut it: dataset.take(rows)."
            )
        parts = components(dataset.element_spec, request.columns, _WHERE)
        batched = is_batched(dataset, list(parts.values()))
        if batched is None:
            request.console.say(
                f"{_WHERE} was not made by batch, so each element is read as one row of sequences. If its elements are "
                "batches, pass dataset.unbatch()."
            )
        names = list(parts)
        chosen = {names[at]: parts[names[at]] for at in select_columns(names, request.columns, _WHERE)}
        yield from Elements(dataset, chosen, _WHERE, batched=bool(batched)).chunks(request.console)


sources.register("tf_dataset")(TfDataset())
