"""Parquet files, read batch by batch and only in the columns needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tfft.core.errors import DataError, name_list
from tfft.data.sources._cells import as_cells
from tfft.data.sources.base import (
    CHUNK_ROWS,
    Columns,
    ReadRequest,
    existing_file,
    is_file_like,
    select_columns,
    sources,
)
from tfft.data.text_file import BLOCK_BYTES, binary_kind

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile as ArrowFile

#: Bytes of column values (as stored, before compression) after which a chunk ends, however few its rows are.
_CHUNK_BYTES = 1 << 24
_MAGIC = b"PAR1"


class ParquetFile:
    """Reads a Parquet file.

    Numbers, dates and decimals become text, lists are cells, and structs become their JSON text.
    """

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .parquet or .pq."""
        return is_file_like(source, self.endings)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the requested columns.

        Args:
            request: What to read.

        Yields:
            Chunks of cells.

        Raises:
            DataError: When the file is missing, damaged, not a Parquet file, or lacks a column.
        """
        import pyarrow as pa

        path = existing_file(Path(request.source))
        _check_start(path)
        count = 0
        try:
            # Without buffering ahead, and with a buffer, no row group has to be in memory as a whole.
            with _open(path) as file:
                names = _columns(file, request.columns, path)
                total = file.metadata.num_rows
                with request.console.progress(f"reading {path.name}", total, "rows") as advance:
                    batches = file.iter_batches(_batch_rows(file), columns=names, use_threads=False)
                    for batch in batches:
                        yield {name: _cells(batch.column(batch.schema.names.index(name))) for name in names}
                        count += batch.num_rows
                        advance(batch.num_rows)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{path}, row {count + 1} or soon after: the Parquet file cannot be read ({reason}). Copy or download "
                "it again, or write it anew."
            ) from None
        if count != total:
            raise DataError(f"{path} says that it has {total:,} rows, but {count:,} could be read. Write it anew.")
        if not count:
            request.console.say(f"{path} has no rows.")


def _open(path: Path) -> ArrowFile:
    from pyarrow import parquet

    return parquet.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES, page_checksum_verification=True)


def _check_start(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(16)
    if start.startswith(_MAGIC):
        return
    kind, advice = binary_kind(start) or ("no Parquet file", "name it after its format")
    if start.startswith(b"\x1f\x8b"):
        kind, advice = "compressed by gzip", "decompress it; Parquet files are compressed inside"
    raise DataError(f"{path} is {kind}, whatever its name says; {advice}.")


def _columns(file: ArrowFile, wanted: Sequence[str] | None, path: Path) -> list[str]:
    """Returns the names of the columns to read."""
    schema = file.schema_arrow
    if not schema.names:
        raise DataError(f"{path} has no columns.")
    positions = select_columns(schema.names, wanted, str(path))
    raw = [schema.names[at] for at in positions if _holds_bytes(schema.field(at).type)]
    if raw:
        raise DataError(
            f"{path}: {name_list([repr(name) for name in raw])} holds raw bytes inside structs, as packed pictures and "
            "recordings do. Write them as files, one folder for each class, and pass that folder."
        )
    return [schema.names[at] for at in positions]


def _holds_bytes(kind: pa.DataType, *, inside: bool = False) -> bool:
    """Tells whether there are raw bytes in a struct, which have no text."""
    from pyarrow import types

    if inside and (types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)):
        return True
    inside = inside or types.is_struct(kind)
    return any(_holds_bytes(kind.field(at).type, inside=inside) for at in range(kind.num_fields))


def _batch_rows(file: ArrowFile) -> int:
    """Returns how many rows make a chunk, judging by the mean size of a row in all its columns."""
    # Not by single columns: damaged statistics of one end the process inside Arrow.
    total = sum(file.metadata.row_group(at).total_byte_size for at in range(file.metadata.num_row_groups))
    rows: int = _CHUNK_BYTES * file.metadata.num_rows // max(total, 1)
    return max(1, min(CHUNK_ROWS, rows))


def _cells(column: pa.Array) -> list[Any]:
    from pyarrow import types

    if types.is_float32(column.type) or types.is_float16(column.type):
        return as_cells(column.to_numpy(zero_copy_only=False))  # which knows how short 0.1 is
    try:
        return as_cells(column.to_pylist())
    except UnicodeDecodeError:  # text that is not UTF-8: as bytes, of which the bad ones are kept
        return as_cells(column.cast(_as_bytes(column.type)).to_pylist())


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    return pa.large_binary()


sources.register("parquet")(ParquetFile())
