"""CSV and TSV files.

The standard library's reader is used rather than pandas': it refuses ragged rows on both sides, never turns the word
"NA" into a null, and keeps undecodable bytes where they are.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

from tfft.core.errors import DataError
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, file_ending, is_file_like, select_columns, sources
from tfft.data.text_file import (
    CHUNK_CHARACTERS,
    ENCODING_ADVICE,
    UnreadableError,
    text_blocks,
    undecodable,
    whole_lines,
)

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
#: A line that says how fields are separated, as Excel writes and reads it.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[\r\n]*', re.IGNORECASE)
#: Records taken at once: so few that the garbage collector sees no pile of lists to go through.
_GROUP_ROWS = 256
#: A field may be this long (characters): several times the Bible. The reader's own limit is 131,072. It also bounds how
#: much is read in vain behind a quote that is never closed.
LONGEST_FIELD = 1 << 24


class DelimitedFile:
    """Reads a comma- or tab-separated file with a header line.

    A first line `sep=;` is honoured. Where the header is a single column by the delimiter that belongs to the ending,
    and several by just one of comma, tab, semicolon and vertical bar, that one is used, and it is said.
    """

    endings: ClassVar[tuple[str, ...]] = tuple(_DELIMITERS)

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .csv, .tsv or .tab, compressed or not."""
        return is_file_like(source, self.endings)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the requested columns; one without a name is called after its place, for instance unnamed_3.

        Args:
            request: What to read.

        Yields:
            Chunks of strings.

        Raises:
            DataError: When the file is missing, empty, ragged or not valid, or lacks a column.
        """
        records = _Records(request)
        header = records.header
        positions = select_columns(header, request.columns, str(records.path))
        chunk: Columns = {header[position]: [] for position in positions}
        rows, taken = 0, records.characters
        while group := records.take():
            for position in positions:
                chunk[header[position]] += [row[position] for row in group]
            rows += len(group)
            if rows >= CHUNK_ROWS or records.characters - taken > CHUNK_CHARACTERS:
                yield chunk
                chunk = {name: [] for name in chunk}
                rows, taken = 0, records.characters
        if rows:
            yield chunk
        if records.count == 0:
            request.console.say(f"{records.path} has a header but no rows.")


class _Records:
    """The records of a file, some at a time.

    Attributes:
        path: The file.
        header: The names of the columns.
        count: How many records were taken.
        characters: How much of the file was taken.
    """

    def __init__(self, request: ReadRequest) -> None:
        """Reads the header."""
        self.path = Path(request.source)
        self.count = 0
        self.characters = 0
        text = text_blocks(self.path, request.encoding, request.console)
        blocks = whole_lines(text, carriage_returns=True)
        try:
            start = next(blocks, "")
            self._delimiter, length = _delimiter(start, request)
            lines = itertools.chain.from_iterable(self._open(itertools.chain([start[length:]], blocks)))
            self._reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            with _long_fields:
                header = next((record for record in self._reader if record), [])
        except (csv.Error, UnreadableError) as error:
            raise self._failure("header", 0, error) from None
        if not header:
            raise DataError(f"The file {self.path} is empty.")
        for name in header:
            if found := undecodable(name):
                raise DataError(
                    f"{self.path}, header: {name!r}: {found} is not valid {request.encoding}. {ENCODING_ADVICE}"
                )
        self.header = [name or f"unnamed_{place}" for place, name in enumerate(header, 1)]

    def _open(self, blocks: Iterator[str]) -> Iterator[io.StringIO]:
        """Opens each block for its lines; only newlines and carriage returns end them."""
        for block in blocks:
            self.characters += len(block)
            yield io.StringIO(block, newline="")

    def take(self) -> list[list[str]]:
        """Returns the next records; each has as many fields as the header."""
        rows: list[list[str]] = []
        failure: Exception | None = None
        reader, most, blank = self._reader, self.characters + CHUNK_CHARACTERS, len(self.header) == 1
        line = reader.line_num
        try:
            with _long_fields:
                for row in reader:
                    if row:
                        rows.append(row)
                    elif blank:  # else a blank line between records; with one column it is a record
                        rows.append([""])
                    line = reader.line_num
                    if len(rows) == _GROUP_ROWS or (self.characters > most and rows):
                        break
        except (csv.Error, UnreadableError) as error:
            failure = error
        self._check_widths(rows)
        self.count += len(rows)
        if failure is not None:
            raise self._failure(f"row {self.count + 1}", line, failure) from None
        return rows

    def _check_widths(self, rows: list[list[str]]) -> None:
        width = len(self.header)
        if set(map(len, rows)) <= {width}:
            return
        number, row = next((number, row) for number, row in enumerate(rows, self.count + 1) if len(row) != width)
        raise DataError(
            f"{self.path}, row {number}: {len(row)} fields, but the header has {width}, separated by "
            f"{_NAMES.get(self._delimiter, repr(self._delimiter))}. Put fields that hold the delimiter, a newline or a "
            "carriage return in double quotes."
        )

    def _failure(self, where: str, line: int, error: Exception) -> DataError:
        if isinstance(error, UnreadableError):
            return DataError(f"{self.path}, {where}: {error}")
        reason = f"not valid CSV: {error}."
        if "field limit" in str(error):
            reason = f"not valid CSV: a field is longer than {LONGEST_FIELD:,} characters."
        if "field limit" in str(error) or "end of data" in str(error):
            reason += " A double quote that opens a field is never closed; close it, or write it twice if it is text."
        return DataError(f"{self.path}, {where} (it begins on line {line + 1}): {reason}")


def _delimiter(start: str, request: ReadRequest) -> tuple[str, int]:
    """Returns the delimiter, and the length of the line that gives it if there is one."""
    path = Path(request.source)
    own = _DELIMITERS[file_ending(path)]
    line = next((line for line in io.StringIO(start, newline="") if line.strip("\r\n")), "")
    if told := _SEPARATOR_LINE.fullmatch(line):
        return told[1], start.index(line) + len(line)
    header = _fields(line, own)
    if len(header) > 1 or (request.columns is not None and set(request.columns) <= set(header)):
        return own, 0
    others = [delimiter for delimiter in _NAMES if delimiter != own and len(_fields(line, delimiter)) > 1]
    if len(others) != 1:
        return own, 0
    request.console.say(
        f"{path}: fields are separated by {_NAMES[others[0]]}, not by {_NAMES[own]}, judging by the header"
    )
    return others[0], 0


def _fields(line: str, delimiter: str) -> list[str]:
    """Returns the fields of a line, none if it is not valid."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


class _LongFields:
    """Lifts the reader's limit, which is one for the whole process, while a chunk is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = csv.field_size_limit(LONGEST_FIELD)
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                csv.field_size_limit(self._before)


_long_fields: Final = _LongFields()

sources.register("delimited")(DelimitedFile())
