"""CSV and TSV files.

The standard library's reader is used rather than pandas': it refuses ragged rows on both sides, never turns the word
"NA" into a null, and lets a bad byte be reported with its row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tfft.core.errors import DataError
from tfft.data.sources.base import ReadRequest, existing_file, numbered, select_columns, sources
from tfft.data.text_file import decode_error, open_text

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
#: A field may be this long (characters): a whole book. The reader's own limit is 131,072.
_LONGEST_FIELD = 2**27


class DelimitedFile:
    """Reads a comma- or tab-separated file with a header line."""

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .csv, .tsv or .tab."""
        return isinstance(source, (str, Path)) and Path(source).suffix.lower() in _DELIMITERS

    def read(self, request: ReadRequest) -> pd.DataFrame:
        """Reads the requested columns.

        Args:
            request: What to read.

        Returns:
            A table of strings with row numbers as index.

        Raises:
            DataError: When the file is missing, empty, not decodable, ragged or lacks a column.
        """
        path = existing_file(Path(request.source))
        wanted: dict[str, list[str | None]] = {name: [] for name in request.columns}
        with open_text(path, request.encoding, request.console) as stream:
            rows = _records(stream, path, request.encoding)
            header = next(rows)
            positions = select_columns(header, request.columns, str(path))
            number = 0
            for row in rows:
                if not row and len(header) > 1:
                    continue  # a blank line between records; with one column it is a record, and a blank one
                number += 1
                if len(row or [""]) != len(header):
                    raise DataError(
                        f"{path}, row {number}: {len(row)} fields, but the header has {len(header)}. "
                        "Put fields that hold the delimiter, a newline or a carriage return in double quotes."
                    )
                for name, position in zip(request.columns, positions, strict=True):
                    wanted[name].append(row[position] if row else "")
        if number == 0:
            raise DataError(f"{path} has a header but no rows.")
        return numbered(wanted)


def _records(stream: io.TextIOBase, path: Path, encoding: str) -> Iterator[list[str]]:
    """Yields records; turns what can go wrong into a `DataError` with the row."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    reader = csv.reader(stream, delimiter=_DELIMITERS[path.suffix.lower()], strict=True)
    number = -1
    while True:
        try:
            record = next(reader)
        except StopIteration:
            if number < 0:
                raise DataError(f"The file {path} is empty.") from None
            return
        except UnicodeError:
            raise decode_error(path, encoding, _count_records) from None
        except csv.Error as error:
            raise DataError(f"{path}, row {number + 1} (line {reader.line_num}): not valid CSV: {error}.") from None
        if record or number < 0:
            number += 1
        yield record


def _count_records(text: str, path: Path) -> int:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_DELIMITERS[path.suffix.lower()])
    return max(sum(1 for record in reader if record) - 1, 0)


sources.register("delimited")(DelimitedFile())
