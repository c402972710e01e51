"""JSON Lines files, one object a line, and JSON files that hold an array of objects or a SQuAD document."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources._cells import as_cells
from tfft.data.sources._json_values import (
    array_objects,
    is_inexact,
    parse,
    parse_exactly,
    parse_lines,
    why_not_json,
)
from tfft.data.sources._squad_file import squad_chunks, squad_document
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, file_ending, is_file_like, select_columns, sources
from tfft.data.text_file import (
    CHUNK_CHARACTERS,
    ENCODING_ADVICE,
    UnreadableError,
    text_blocks,
    undecodable,
    utf8_blocks,
    whole_lines,
)

#: Types of values that are cells as they are.
_CELL_TYPES = {str, type(None)}
#: Types of values that are exact however they were parsed.
_EXACT_TYPES = {str, int, bool, type(None)}
#: Lines parsed at once: so few that the garbage collector sees no pile of objects to go through.
_GROUP_ROWS = 256


class _Group(NamedTuple):
    """Some rows.

    Attributes:
        objects: The objects.
        lines: The line of each where an object may be inexact; else empty.
        characters: How long they are in the file.
    """

    objects: list[dict[str, Any]]
    lines: Sequence[bytes]
    characters: int


class JsonLinesFile:
    """Reads a file in which each line is a JSON object.

    A .json file may hold an array of objects instead, or one SQuAD document, whose questions are the rows. Of a key
    that stands twice in an object the last one counts, as usual in JSON.
    """

    endings: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .jsonl, .ndjson or .json, compressed or not."""
        return is_file_like(source, self.endings)

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Reads the requested keys; a key that a row lacks is null there.

        Lists are cells, objects inside a row become their JSON text, whole numbers keep all their digits.

        Args:
            request: What to read.

        Yields:
            Chunks of cells.

        Raises:
            DataError: When the file is missing, empty, a row is not a JSON object, or no row has a requested key.
        """
        path = Path(request.source)
        if (document := squad_document(path, request)) is not None:
            yield from squad_chunks(document, path, request)
            return
        keys = _Keys(request, path)
        count = 0
        chunk: Columns = {}
        rows = characters = 0
        for group in _array(path, request) if _is_array(path, request) else _lines(path, request):
            names = keys.note(group.objects, count + 1)
            if rows >= CHUNK_ROWS or characters > CHUNK_CHARACTERS or (rows and list(names) != list(chunk)):
                yield chunk
                chunk, rows, characters = {}, 0, 0
            for name in names:
                chunk.setdefault(name, []).extend(_cells(group, name, path, count + 1))
            rows += len(group.objects)
            count += len(group.objects)
            characters += group.characters
        if rows:
            yield chunk
        if count:
            keys.check()
        else:
            request.console.say(f"{path} has no rows.")


class _Keys:
    """The keys of a file's objects, as far as they matter."""

    def __init__(self, request: ReadRequest, path: Path) -> None:
        """Starts with no keys seen."""
        self._request = request
        self._path = path
        self._seen: dict[str, None] = {}
        self._missing = set(request.columns or ())

    def note(self, records: list[dict[str, Any]], first_row: int) -> Sequence[str]:
        """Takes note of the keys of some objects; returns the columns to take from them."""
        columns = self._request.columns
        self._missing -= {name for name in self._missing if any(name in record for record in records)}
        if columns is not None and not self._missing:
            return columns
        for record in records:
            if not record.keys() <= self._seen.keys():
                self._seen.update(dict.fromkeys(record))
        if columns is not None:
            return columns
        for name in self._seen:
            if found := undecodable(name):
                encoding = self._request.encoding
                raise DataError(f"{self._path}, key {name!r}: {found} is not valid {encoding}. {ENCODING_ADVICE}")
        if not self._seen:
            raise DataError(f"{self._path}, row {first_row}: the object has no keys.")
        return list(self._seen)

    def check(self) -> None:
        """Checks that each requested key was in at least one row."""
        if self._missing:
            select_columns(list(self._seen), self._request.columns, str(self._path))


def _is_array(path: Path, request: ReadRequest) -> bool:
    """Tells whether a file holds an array of objects; refuses one whose name promises an object a line."""
    try:
        start = next(utf8_blocks(path, request.encoding, Console(quiet=True)), b"").lstrip()
    except UnreadableError:
        return False  # said with its row when the file is read
    if not start.startswith(b"["):
        return False
    if file_ending(path) == ".json":
        return True
    try:
        first = parse_exactly(start.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        first = []
    if all(isinstance(item, dict) for item in first):
        raise DataError(
            f"{path} is one JSON array, not JSON Lines. Name it .json, or write one object a line without the brackets."
        )
    return False


def _array(path: Path, request: ReadRequest) -> Iterator[_Group]:
    count = 0
    try:
        for objects, characters in array_objects(text_blocks(path, request.encoding, request.console), _GROUP_ROWS):
            yield _Group(objects, (), characters)
            count += len(objects)
    except UnreadableError as error:
        raise DataError(f"{path}, row {count + 1}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise _invalid(path, count + 1, error) from None


def _lines(path: Path, request: ReadRequest) -> Iterator[_Group]:
    count = 0
    blocks = whole_lines(utf8_blocks(path, request.encoding, request.console))
    try:
        for block in blocks if file_ending(path) != ".json" else _several(blocks, path):
            lines = list(filter(bytes.strip, block.split(b"\n")))
            for start in range(0, len(lines), _GROUP_ROWS):
                group = lines[start : start + _GROUP_ROWS]
                yield _Group(_objects(group, path, count + 1), group, sum(map(len, group)))
                count += len(group)
    except UnreadableError as error:
        raise DataError(f"{path}, row {count + 1}: {error}") from None


def _several(blocks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Yields the blocks of a .json file; refuses one that is a single object, which is not meant as a row."""
    first = next(blocks, b"")
    begun = [first]
    if b"\n" not in first.strip():
        second = next(blocks, b"")
        if first.strip() and not second.strip():
            raise DataError(
                f"{path} holds a single JSON value, not rows. It should hold an array of objects, or one object a "
                "line; name it .jsonl if the one object is a row."
            )
        begun.append(second)
    yield from itertools.chain(begun, blocks)


def _objects(lines: list[bytes], path: Path, first_row: int) -> list[dict[str, Any]]:
    with contextlib.suppress(ValueError, RecursionError):
        records = parse_lines(lines)
        if set(map(type, records)) <= {dict}:
            return records
    return [_object(line, path, row) for row, line in enumerate(lines, first_row)]


def _object(line: bytes, path: Path, row: int) -> dict[str, Any]:
    try:
        found = parse(line)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, row, error) from None
    if not isinstance(found, dict):
        raise DataError(f'{path}, row {row}: expected an object like {{"text": ...}}, got {type(found).__name__}.')
    return found


def _invalid(path: Path, row: int, error: Exception) -> DataError:
    advice = " It should hold an array of objects, or one object a line." if file_ending(path) == ".json" else ""
    return DataError(f"{path}, row {row}: not valid JSON: {why_not_json(error)}.{advice}")


def _cells(group: _Group, name: str, path: Path, first_row: int) -> list[Any]:
    """Returns one column of some rows."""
    values = [found.get(name) for found in group.objects]
    types = set(map(type, values))
    if types <= _CELL_TYPES:
        return values
    try:
        if group.lines and not types <= _EXACT_TYPES:
            pairs = zip(values, group.lines, strict=True)
            values = [parse_exactly(line)[name] if is_inexact(value) else value for value, line in pairs]
        return as_cells(values)
    except RecursionError:
        raise DataError(f"{path}, row {first_row} or soon after: {name!r} is nested too deeply.") from None


sources.register("json_lines")(JsonLinesFile())
