"""Datasets of Hugging Face's `datasets`: that library made the object, so tfft never imports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tfft.core.errors import DataError
from tfft.data.sources._cells import as_cells
from tfft.data.sources._hf_features import Part, parts_of
from tfft.data.sources._kinds import is_a
from tfft.data.sources._rows import RowGatherer
from tfft.data.sources._weight import blocks, joined
from tfft.data.sources.base import Columns, ReadRequest, select_columns, sources

_KINDS = ("Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict")
_WHERE = "The Hugging Face dataset"
#: Rows taken at once.
_SLICE = 1024


class HfDataset:
    """Reads a `Dataset` or an `IterableDataset`.

    Classes come by name (-1, no class, as null), sequences as lists, `Array2D` and its like as arrays, and a field of a
    struct as "outer.inner". Pictures, sound and video are not decoded: one that is a file comes as its path.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def accepts(self, source: Any) -> bool:
        """Accepts the library's datasets and, to say what to pass instead, its dicts of splits."""
        return is_a(source, "datasets", _KINDS)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the dataset once through.

        Args:
            request: What to read.

        Yields:
            Chunks of rows.

        Raises:
            DataError: When it is a dict of splits, has no rows or lacks a column, or a row cannot be made.
        """
        dataset = request.source
        if isinstance(dataset, dict):
            splits = ", ".join(map(repr, dataset)) or "none"
            first = next(iter(dataset), "train")
            raise DataError(
                f"{_WHERE} is a {type(dataset).__name__} with the splits {splits}; pass one of them: data[{first!r}]."
            )
        sized = hasattr(dataset, "__len__")
        parts = parts_of(dataset.features or {})
        custom = sized and dataset.format["type"] == "custom"  # with_transform, which may make other columns
        if parts and not custom:
            select_columns(list(parts), request.columns, _WHERE)
        if not sized:
            if not parts:
                request.console.say(
                    f"{_WHERE} does not know its features (as after map), so class numbers stay numbers; "
                    "data.cast(features) tells it."
                )
            undecoded = dataset.decode(False) if parts and hasattr(dataset, "decode") else dataset
            yield from _from_rows(_rows(undecoded.iter(batch_size=_SLICE), _chosen(parts, request)), request)
        elif custom:
            starts = range(0, len(dataset), _SLICE)
            yield from _from_rows(_rows((dataset[start : start + _SLICE] for start in starts), {}), request)
        elif len(dataset):
            yield from joined(_from_tables(dataset, _chosen(parts, request), request))
        else:
            raise DataError(f"{_WHERE} has no rows.")


def _chosen(parts: Mapping[str, Part], request: ReadRequest) -> dict[str, Part]:
    """Returns the columns wanted; without names, all but those whose cells would have to be decoded."""
    if request.columns is not None:
        return {name: parts[name] for name in request.columns if name in parts}
    media = [name for name, part in parts.items() if part.is_media]
    if media and len(media) == len(parts):
        return dict(parts)
    if media:
        request.console.say(f"{_WHERE}: left out, because they would have to be decoded: {', '.join(media)}.")
    return {name: part for name, part in parts.items() if name not in media}


def _from_tables(dataset: Any, parts: Mapping[str, Part], request: ReadRequest) -> Iterator[Columns]:
    """Reads Arrow tables, in which nothing is decoded."""
    from pyarrow import compute

    outer = list({part.path[0]: None for part in parts.values()})
    view = dataset.select_columns(outer).with_format("arrow")
    for start in range(0, len(dataset), _SLICE):
        table = view[start : start + _SLICE]
        piece = {}
        for name, part in parts.items():
            column = table[part.path[0]]
            for field in part.path[1:]:
                column = compute.struct_field(column, field)
            piece[name] = as_cells(part.convert(column.to_pylist()))
        yield piece


def _from_rows(rows: Iterator[dict[str, Any]], request: ReadRequest) -> Iterator[Columns]:
    gatherer = RowGatherer(request.columns, _WHERE)
    first_row = 1
    for block in blocks(rows):
        gatherer.look(block, first_row)
        yield gatherer.columns(block)
        first_row += len(block)
    gatherer.check()


def _rows(batches: Iterator[Mapping[str, list[Any]]], parts: Mapping[str, Part]) -> Iterator[dict[str, Any]]:
    """Takes batches (lists by column) apart into rows; columns whose features are not known come as they are."""
    number = 0
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"{_WHERE} failed after row {number}: {said}") from error
        if batch is None:
            return
        columns = {name: part.convert(part.values(batch)) for name, part in parts.items()} if parts else batch
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))
            number += 1


sources.register("hf_datasets")(HfDataset())
