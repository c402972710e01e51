"""The parts of a `tf.data.Dataset`'s elements: their names, and whether they hold one row or several."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfft.core.errors import DataError
from tfft.data.sources._rows import unnamed_columns

#: Rows that TensorFlow hands over at once, and the bytes that they may take.
_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 24
#: Types of parts that can be read, and types of numbers that hold something else than data.
_READABLE = {"TensorSpec", "RaggedTensorSpec", "SparseTensorSpec"}
_HANDLES = {"resource", "variant"}
#: What makes single rows of a dataset's elements, batches of them, or either, by the names of its steps in TensorFlow.
_ROWS = ("Unbatch", "TensorSlice", "TextLine", "TFRecord", "FixedLengthRecord", "RangeDataset")
_BATCHES = ("Batch", "GroupByWindow")
_EITHER = ("FlatMap", "Interleave")


@dataclasses.dataclass(frozen=True)
class Component:
    """One tensor of an element.

    Attributes:
        spec: Its `TypeSpec`.
        path: Keys and positions that lead to it.
    """

    spec: Any
    path: tuple[Any, ...]

    def check(self, name: str, where: str) -> None:
        """Checks that it is a tensor of data.

        Args:
            name: The column.
            where: Name of the source, for messages.

        Raises:
            DataError: When it is something else, such as a dataset in a dataset.
        """
        kind = type(self.spec).__name__
        if kind not in _READABLE or self.spec.dtype.name in _HANDLES:
            raise DataError(
                f"{where}: the column {name!r} is a {kind.removesuffix('Spec')}, which holds no data that can be read. "
                "Turn it into a tensor with dataset.map, or name other columns."
            )

    def pick(self, element: Any, *, batched: bool) -> Any:
        """Takes it out of an element; sparse numbers become dense, and sparse strings ragged.

        Args:
            element: The element, inside a graph.
            batched: Whether its first dimension counts rows.

        Returns:
            A tensor or a ragged tensor.
        """
        import tensorflow as tf

        for key in self.path:
            element = element[key]
        if not isinstance(element, tf.SparseTensor):
            return element
        if element.dtype != tf.string:
            return tf.sparse.to_dense(element)
        ragged = tf.RaggedTensor.from_sparse(element if batched else tf.sparse.expand_dims(element, 0))
        return ragged if batched else ragged[0]


def components(spec: Any, wanted: Sequence[str] | None, where: str) -> dict[str, Component]:
    """Returns the tensors of an element by column name.

    Args:
        spec: The dataset's `element_spec`.
        wanted: Names for the parts of a tuple; None for those of `unnamed_columns`.
        where: Name of the source, for messages.

    Returns:
        Column name to component; a dict in a dict gives "outer.inner".

    Raises:
        DataError: When a tuple has another number of parts than there are columns, or a part is a dict.
    """
    if isinstance(spec, Mapping) or hasattr(spec, "_fields"):
        return dict(_named_parts(spec, "", ()))
    parts = spec if isinstance(spec, tuple) else (spec,)
    if any(isinstance(part, (Mapping, tuple)) for part in parts):
        raise DataError(
            f"{where} has elements made of {', '.join(type(part).__name__ for part in parts)}, so that some parts "
            'have no name. Make one dict of them: dataset.map(lambda features, label: {**features, "label": label}).'
        )
    names = unnamed_columns(len(parts)) if wanted is None else wanted
    if len(names) != len(parts):
        raise DataError(
            f"{where} has elements of {len(parts)} parts, but these columns were named: {', '.join(names)}. "
            "Make dicts of them, so that each part has a name: dataset.map(lambda text, label: "
            '{"text": text, "label": label}).'
        )
    steps = [(at,) if isinstance(spec, tuple) else () for at in range(len(parts))]
    return {name: Component(part, path) for name, part, path in zip(names, parts, steps, strict=True)}


def _named_parts(part: Any, prefix: str, path: tuple[Any, ...]) -> Iterator[tuple[str, Component]]:
    if isinstance(part, Mapping):
        inner = [(str(key), key, value) for key, value in part.items()]
    elif isinstance(part, tuple):
        fields = getattr(part, "_fields", range(len(part)))
        inner = [(str(name), at, value) for at, (name, value) in enumerate(zip(fields, part, strict=True))]
    else:
        yield prefix, Component(part, path)
        return
    for name, key, value in inner:
        yield from _named_parts(value, f"{prefix}.{name}" if prefix else name, (*path, key))


def is_batched(dataset: Any, parts: Sequence[Component]) -> bool | None:
    """Tells whether each element holds several rows.

    It does when each part has a first dimension (of the same size, where it is known), and the dataset was made by
    `batch`, `padded_batch`, `ragged_batch`, `rebatch` or `group_by_window` with no `unbatch` after it. A shape alone
    cannot tell a batch of texts from one sequence of words.

    Args:
        dataset: The `tf.data.Dataset`.
        parts: Parts of its elements.

    Returns:
        True or False; None when each part has a first dimension of unknown size and the dataset does not tell what it
        is, for instance after `from_generator`, `flat_map` or `interleave`.
    """
    if any(not hasattr(part.spec, "shape") or part.spec.shape.rank == 0 for part in parts):
        return False
    shapes = [part.spec.shape for part in parts]
    first = {shape[0] for shape in shapes if shape.rank and shape[0] is not None}
    if len(first) > 1:
        return False
    made = _made_by_batching(dataset)
    return None if made is None and not first else bool(made)


def _made_by_batching(dataset: Any) -> bool | None:
    step = type(dataset).__name__
    for names, answer in ((_ROWS, False), (_BATCHES, True), (_EITHER, None)):
        if any(name in step for name in names):
            return answer
    found = {_made_by_batching(item) for item in getattr(dataset, "_inputs", list)()}
    return True if True in found else False if False in found else None


def every_part(spec: Any) -> list[Any]:
    """Returns the `TypeSpec` of every part of an element."""
    return [part.spec for _, part in _named_parts(spec, "", ())]


def batch_size(specs: Sequence[Any]) -> tuple[int, bool]:
    """Returns how many rows to read at once.

    Args:
        specs: `TypeSpec` of each part of a row.

    Returns:
        The number, and whether their lengths differ, so that batches have to be ragged. 1 when a part cannot be put
        into batches: sparse tensors, datasets, and pictures of different size, which would be slow as ragged tensors.
    """
    fixed, ragged = 1, False
    for spec in specs:
        if type(spec).__name__ == "RaggedTensorSpec":
            continue
        if type(spec).__name__ != "TensorSpec":
            return 1, False
        if spec.shape.is_fully_defined():
            fixed += math.prod(spec.shape) * spec.dtype.size
        elif spec.shape.rank == 1:
            ragged = True
        else:
            return 1, False
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // fixed)), ragged
