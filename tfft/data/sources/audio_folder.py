"""Folders of recordings, one folder for each class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

from tfft.data.sources._folder import AUDIO_ENDINGS, FileKind, first_ending, folder_chunks
from tfft.data.sources.base import Columns, ReadRequest, sources

#: Bytes in which an MP3 file without tags has its first frame, and how a frame begins.
_HEAD = 4096
_MP3_FRAME = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x00-\xef]")
#: The smallest headers of WAV files, and of FLAC and Ogg files.
_WAV_HEADER, _STREAM_HEADER = 44, 42
#: Sizes from here on mean that the writer did not know the size.
_UNKNOWN_SIZE = 0x7FFFF000


class AudioFolder:
    """Reads a folder with one folder of recordings for each class; columns "audio" (the path) and "label".

    Folders train, validation (val, valid) and test at the top become a column "split". Recordings are not decoded here,
    but empty, cut off and mislabelled files are refused.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def accepts(self, source: Any) -> bool:
        """Accepts folders in which the first file that is an image or a recording is a recording."""
        return first_ending(source) in AUDIO_ENDINGS

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Lists the recordings, sorted by path.

        Args:
            request: What to read.

        Yields:
            Chunks of paths and labels.

        Raises:
            DataError: When there are no recordings, no folders for classes, or recordings that are broken.
        """
        yield from folder_chunks(request, FileKind("audio", "recordings", AUDIO_ENDINGS, audio_problem))


def audio_problem(stream: BinaryIO, size: int) -> str:
    """Returns why a file cannot be a recording, "" if it may be one.

    Args:
        stream: The file, open at its start.
        size: Its size in bytes.

    Returns:
        The reason in a few words.
    """
    start = stream.read(_HEAD)
    if start.startswith((b"RIFF", b"RF64", b"RIFX")):
        if start[8:12] not in {b"WAVE", b""}:
            return "no recording"
        told = int.from_bytes(start[4:8], "little") + 8
        # The byte that pads an odd size is often left out.
        return (
            "cut off" if len(start) < _WAV_HEADER or (start[:4] == b"RIFF" and size + 1 < told < _UNKNOWN_SIZE) else ""
        )
    if start.startswith((b"fLaC", b"OggS", b"ID3")):
        return "" if len(start) >= _STREAM_HEADER else "cut off"
    return "" if _MP3_FRAME.search(start) else "no recording"


sources.register("audio_folder")(AudioFolder())
