"""JSON Lines files: one object a line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from tfft.core.errors import DataError
from tfft.data.sources.base import ReadRequest, as_strings, existing_file, numbered, select_columns, sources
from tfft.data.text_file import decode_error, open_text


class JsonLinesFile:
    """Reads a file in which each line is a JSON object."""

    def accepts(self, source: Any) -> bool:
        """Accepts paths that end in .jsonl or .ndjson."""
        return isinstance(source, (str, Path)) and Path(source).suffix.lower() in {".jsonl", ".ndjson"}

    def read(self, request: ReadRequest) -> pd.DataFrame:
        """Reads the requested keys; a key that a row lacks is null there.

        Args:
            request: What to read.

        Returns:
            A table of strings with row numbers as index.

        Raises:
            DataError: When the file is missing, empty, not decodable, or a line is not a JSON object.
        """
        path = existing_file(Path(request.source))
        wanted: dict[str, list[Any]] = {name: [] for name in request.columns}
        keys: dict[str, None] = {}
        number = 0
        try:
            with open_text(path, request.encoding, request.console) as stream:
                for line in stream:
                    if not line.strip():
                        continue
                    number += 1
                    record = _record(line, path, number)
                    keys.update(dict.fromkeys(record))
                    for name in request.columns:
                        wanted[name].append(_cell(record.get(name), name, path, number))
        except UnicodeError:
            raise decode_error(path, request.encoding, _count_lines) from None
        if number == 0:
            raise DataError(f"{path} has no rows.")
        select_columns(list(keys), request.columns, str(path))
        return numbered({name: as_strings(values) for name, values in wanted.items()})


def _record(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, row {number}: not valid JSON: {error}.") from None
    if not isinstance(record, dict):
        raise DataError(f'{path}, row {number}: expected an object like {{"text": ...}}, got {type(record).__name__}.')
    return record


def _cell(value: Any, name: str, path: Path, number: int) -> Any:
    if isinstance(value, (dict, list)):
        kind = "an object" if isinstance(value, dict) else "a list"
        raise DataError(f"{path}, row {number}: {name!r} is {kind}; it should be a string, a number or null.")
    return json.dumps(value) if isinstance(value, bool) else value  # true stays true, as in other formats


def _count_lines(text: str, path: Path) -> int:
    del path
    return sum(1 for line in io.StringIO(text, newline="") if line.strip())


sources.register("json_lines")(JsonLinesFile())
