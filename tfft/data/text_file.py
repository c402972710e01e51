"""Opening text files with a progress bar over their bytes, and saying where a byte cannot be decoded."""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfft.console import Console
from tfft.core.errors import ConfigError, DataError


class _Counted(io.RawIOBase):
    """A raw stream that reports how many bytes were read."""

    def __init__(self, raw: io.FileIO, advance: Callable[..., None]) -> None:
        self._raw = raw
        self._advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer)
        self._advance(count)
        return count


@contextlib.contextmanager
def open_text(path: Path, encoding: str, console: Console) -> Iterator[io.TextIOBase]:
    """Opens a text file; a byte order mark is skipped, line ends are kept as they are.

    Args:
        path: The file.
        encoding: Its character encoding.
        console: Where progress is shown.

    Yields:
        The text stream.

    Raises:
        ConfigError: When there is no such encoding.
    """
    try:
        found = codecs.lookup(encoding)
        if not found._is_text_encoding:  # such as hex or rot13
            raise LookupError
        name = found.name
    except LookupError:
        raise ConfigError(
            f"Unknown encoding {encoding!r}. Use a name that Python knows, for instance 'utf-8', 'latin-1' or 'cp1252'."
        ) from None
    with (
        path.open("rb", buffering=0) as raw,
        console.progress(f"reading {path.name}", path.stat().st_size, "bytes") as advance,
    ):
        binary = io.BufferedReader(_Counted(raw, advance), buffer_size=1 << 20)
        yield io.TextIOWrapper(binary, encoding="utf-8-sig" if name == "utf-8" else name, newline="")


def decode_error(path: Path, encoding: str, count_rows: Callable[[str, Path], int]) -> DataError:
    """Returns the error for a file with a byte that cannot be decoded.

    Args:
        path: The file.
        encoding: The encoding that failed.
        count_rows: Counts the rows that the text before the byte begins.

    Returns:
        The error, with byte offset and row number.
    """
    content = path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        # A letter stands for the byte, so that the row it begins counts too.
        row = count_rows(content[: error.start].decode(encoding) + "x", path)
        where = f"row {row}" if row else "header"
        return DataError(
            f"{path}, {where}: byte 0x{content[error.start]:02x} at offset {error.start} is not valid {encoding}. "
            "Pass the file's real encoding (encoding='latin-1', encoding='cp1252'), or convert the file to UTF-8."
        )
    except UnicodeError as error:
        return DataError(f"{path} is not {encoding}: {error}. Pass the file's real encoding.")
    return DataError(f"{path} is not {encoding}, or changed while it was read. Pass the file's real encoding.")
