"""Reading text files in blocks: plain or gzip, any encoding, never more than a block at a time in memory."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, AnyStr

from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.data.sources.base import existing_file

#: Bytes read at once.
BLOCK_BYTES = 1 << 20
#: A line may be this long (characters, or bytes): several books. A longer one means that the file is something else.
LONGEST_LINE = 1 << 26
#: Characters after which a chunk ends, however few its rows are.
CHUNK_CHARACTERS = 1 << 24

#: What to do about bytes that are not valid in the encoding.
ENCODING_ADVICE = "Pass the file's real encoding (encoding='latin-1', encoding='cp1252'), or convert the file to UTF-8."

#: How files begin that are not text, and what to do about them.
_BINARY = (
    (b"\x1f\x8b", "compressed by gzip more than once", "decompress it"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook", "save the sheet as CSV"),
    (b"BZh91AY&SY", "compressed by bzip2", "decompress it, or compress it by gzip"),
    (b"\xfd7zXZ\x00", "compressed by xz", "decompress it, or compress it by gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "decompress it, or compress it by gzip"),
    (b"PAR1\x15", "a Parquet file", "name it .parquet"),
    (b"ARROW1\x00", "an Arrow file", "save it as Parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save the table as CSV or Parquet"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "pass a folder with one folder of images for each class"),
    (b"\xff\xd8\xff", "a JPEG image", "pass a folder with one folder of images for each class"),
    (b"%PDF-", "a PDF document", "extract its text"),
)
#: Byte order marks; UTF-32 first, because its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class UnreadableError(Exception):
    """The rest of a file cannot be read; whoever counts rows adds which row that is."""


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


def codec_name(encoding: str) -> str:
    """Returns Python's own name of a character encoding.

    Args:
        encoding: Any of its names.

    Returns:
        The name, for instance "utf-8" for "U8".

    Raises:
        ConfigError: When there is no such encoding.
    """
    try:
        found = codecs.lookup(encoding)
        if not found._is_text_encoding or found.incrementaldecoder is None:  # such as hex, or idna
            raise LookupError
    except (LookupError, ValueError):
        raise ConfigError(
            f"Unknown encoding {encoding!r}. Use a name that Python knows, for instance 'utf-8', 'latin-1' or 'cp1252'."
        ) from None
    return found.name


def undecodable(text: str) -> str | None:
    """Returns the first byte of a text that could not be decoded, as "byte 0xff", or None when there is none."""
    found = next((letter for letter in text if "\udc80" <= letter <= "\udcff"), None)
    return None if found is None else f"byte 0x{ord(found) - 0xDC00:02x}"


def binary_kind(start: bytes) -> tuple[str, str] | None:
    """Returns what a file is by its first bytes and what to do about it, or None when it may be text."""
    return next(((kind, advice) for magic, kind, advice in _BINARY if start.startswith(magic)), None)


def byte_blocks(path: Path, encoding: str, console: Console) -> Iterator[bytes]:
    """Yields the bytes of a text file in blocks, decompressed when it is gzip, whatever its name.

    Args:
        path: The file.
        encoding: Its character encoding, with which its first bytes must agree.
        console: Where progress is shown, in bytes on disk.

    Yields:
        Blocks of up to `BLOCK_BYTES` bytes; a byte order mark of UTF-8 is left out.

    Raises:
        DataError: When the file is missing, empty, or not a text file at all.
        UnreadableError: When the disk or the compression fails half way.
    """
    codec = codec_name(encoding)
    existing_file(path)
    with (
        path.open("rb", buffering=0) as raw,
        console.progress(f"reading {path.name}", path.stat().st_size, "bytes") as advance,
    ):
        stream = io.BufferedReader(_Counted(raw, advance), buffer_size=BLOCK_BYTES)
        compressed = stream.peek(2)[:2] == b"\x1f\x8b"
        blocks = _blocks(gzip.GzipFile(fileobj=stream) if compressed else stream)
        start = next(blocks, b"")
        if not start:
            raise DataError(f"The file {path} is empty.")
        _check_start(start, path, codec)
        yield start.removeprefix(codecs.BOM_UTF8)
        yield from blocks


def text_blocks(path: Path, encoding: str, console: Console) -> Iterator[str]:
    """Yields the text of a file in blocks; line ends are kept as they are.

    Bytes that are not valid become lone surrogates ("surrogateescape"), except in encodings of more than one byte a
    unit, where nobody could tell what follows.

    Args:
        path: The file.
        encoding: Its character encoding.
        console: Where progress is shown.

    Yields:
        Blocks of text, none of them empty.

    Raises:
        ConfigError: When there is no such encoding.
        DataError: When the file is missing, empty, or not a text file at all.
        UnreadableError: When the rest cannot be decoded or read; all text before was yielded.
    """
    codec = codec_name(encoding)
    errors = "strict" if codec.startswith(("utf-16", "utf-32")) else "surrogateescape"
    decoder = codecs.getincrementaldecoder(codec)(errors)
    offset, start = 0, True
    for block in _and_end(byte_blocks(path, encoding, console)):
        state = decoder.getstate()
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            good = error.start - len(state[0])
            decoder.setstate(state)
            yield from filter(None, [decoder.decode(block[: max(good, 0)])])
            byte = error.object[error.start]
            raise UnreadableError(
                f"byte 0x{byte:02x} at offset {offset + good} is not valid {encoding}. {ENCODING_ADVICE}"
            ) from None
        except UnicodeError as error:
            raise UnreadableError(f"not valid {encoding}: {error}. Pass the file's real encoding.") from None
        offset += len(block)
        if start and text:  # where the order is given by name, the decoder leaves the mark in
            text, start = text.removeprefix("\ufeff") if codec.endswith(("-le", "-be")) else text, False
        if text:
            yield text


def utf8_blocks(path: Path, encoding: str, console: Console) -> Iterator[bytes]:
    """Yields the text of a file in blocks of UTF-8; bytes that are not valid stay as they are.

    Args:
        path: The file.
        encoding: Its character encoding.
        console: Where progress is shown.

    Yields:
        Blocks of bytes.

    Raises:
        ConfigError: When there is no such encoding.
        DataError: When the file is missing, empty, or not a text file at all.
        UnreadableError: When the rest cannot be decoded or read; all text before was yielded.
    """
    if codec_name(encoding) in {"utf-8", "utf-8-sig"}:
        yield from byte_blocks(path, encoding, console)
    else:
        for text in text_blocks(path, encoding, console):
            yield text.encode("utf-8", "surrogateescape")


def whole_lines(blocks: Iterator[AnyStr], *, carriage_returns: bool = False) -> Iterator[AnyStr]:
    """Regroups blocks so that each ends where a line ends, except the last.

    Args:
        blocks: Text or bytes.
        carriage_returns: Whether a carriage return alone ends a line too.

    Yields:
        Blocks of whole lines.

    Raises:
        UnreadableError: When a line is longer than `LONGEST_LINE`.
    """
    begun: list[AnyStr] = []
    length = 0
    for block in blocks:
        end = _last_line_end(block, carriage_returns)
        if end == 0:
            begun.append(block)
            length += len(block)
            if length > LONGEST_LINE:
                raise UnreadableError(
                    f"a line is longer than {LONGEST_LINE:,} characters. Check that the file is what its name says."
                )
            continue
        begun.append(block[:end])
        yield block[:0].join(begun)
        begun = [block[end:]] if end < len(block) else []
        length = len(block) - end
    if length:
        yield begun[0][:0].join(begun)


def _last_line_end(block: AnyStr, carriage_returns: bool) -> int:
    """Returns the position after the last line end, 0 when there is none."""
    newline, carriage_return = ("\n", "\r") if isinstance(block, str) else (b"\n", b"\r")
    end = block.rfind(newline) + 1
    if carriage_returns:
        # The last character may be the first half of a Windows line end.
        end = max(end, block.rfind(carriage_return, 0, len(block) - 1) + 1)
    return end


def _and_end(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the blocks and then b"", for which a decoder gives what it held back."""
    yield from blocks
    yield b""


def _blocks(stream: io.BufferedReader[_Counted] | gzip.GzipFile) -> Iterator[bytes]:
    """Yields all that can be read, in blocks, before it raises that the rest cannot."""
    parts: list[bytes] = []
    length = 0
    problem = ""
    try:
        while part := stream.read1(BLOCK_BYTES):
            parts.append(part)
            length += len(part)
            if length >= BLOCK_BYTES:
                yield b"".join(parts)
                parts, length = [], 0
    except EOFError:
        problem = "the gzip file ends too early, it is cut off. Copy or download it again."
    except (gzip.BadGzipFile, zlib.error) as error:
        problem = f"the gzip file is damaged ({error}). Copy or download it again."
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror or error}."
    if parts:
        yield b"".join(parts)
    if problem:
        raise UnreadableError(problem)


def _check_start(block: bytes, path: Path, codec: str) -> None:
    """Refuses files that are no text, or text in another encoding than asked for."""
    for mark, name in _MARKS:
        if block.startswith(mark):
            other_order = "-be" if mark in {codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE} else "-le"
            if not codec.startswith(name) or codec.endswith(other_order):
                raise DataError(f"{path} begins with the byte order mark of {name.upper()}; pass encoding={name!r}.")
            return
    if found := binary_kind(block):
        kind, advice = found
        raise DataError(f"{path} is {kind}, whatever its name says; {advice}.")
    if not codec.startswith(("utf-16", "utf-32")) and block[1:8:2] == b"\0\0\0\0" and 0 not in block[:8:2]:
        raise DataError(f"{path} looks like UTF-16 without a byte order mark; pass encoding='utf-16-le'.")
