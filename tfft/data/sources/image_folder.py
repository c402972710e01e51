"""Folders of images, one folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

from tfft.data.sources._folder import AUDIO_ENDINGS, IMAGE_ENDINGS, FileKind, first_ending, folder_chunks
from tfft.data.sources.base import Columns, ReadRequest, sources

#: How images begin, whatever they are called.
_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a", b"RIFF")
#: What images end with; behind it, some programs write more.
_ENDS = {b"\x89PNG\r\n\x1a\n": b"IEND\xaeB`\x82", b"\xff\xd8\xff": b"\xff\xd9"}
#: No image is smaller.
_SMALLEST = 26
#: Bytes in which the end of most images is found.
_TAIL = 4096


class ImageFolder:
    """Reads a folder with one folder of images for each class; columns "image" (the path) and "label".

    Folders train, validation (val, valid) and test at the top become a column "split". Images are not decoded here, but
    empty, cut off and mislabelled files are refused.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def accepts(self, source: Any) -> bool:
        """Accepts folders, unless the first file that is an image or a recording is a recording."""
        ending = first_ending(source)
        return ending is not None and ending not in AUDIO_ENDINGS

    def chunks(self, request: ReadRequest) -> Iterator[Columns]:
        """Lists the images, sorted by path.

        Args:
            request: What to read.

        Yields:
            Chunks of paths and labels.

        Raises:
            DataError: When there are no images, no folders for classes, or images that are broken.
        """
        yield from folder_chunks(request, FileKind("image", "images", IMAGE_ENDINGS, image_problem))


def image_problem(stream: BinaryIO, size: int) -> str:
    """Returns why a file cannot be an image, "" if it may be one.

    Args:
        stream: The file, open at its start.
        size: Its size in bytes.

    Returns:
        The reason in a few words.
    """
    start = stream.read(_SMALLEST)
    magic = next((magic for magic in _MAGICS if start.startswith(magic)), None)
    if magic is None or (magic == b"RIFF" and start[8:12] != b"WEBP"):
        return "no image"
    if len(start) < _SMALLEST:
        return "cut off"
    if magic == b"RIFF":
        return "cut off" if int.from_bytes(start[4:8], "little") + 8 > size else ""
    if magic == b"BM":
        return "cut off" if int.from_bytes(start[2:6], "little") > size else ""
    return "" if _has_end(stream, _ENDS.get(magic, b"")) else "cut off"


def _has_end(stream: BinaryIO, end: bytes) -> bool:
    stream.seek(0, os.SEEK_END)
    stream.seek(-min(stream.tell(), _TAIL), os.SEEK_END)
    if end in stream.read(_TAIL):
        return True
    stream.seek(0)
    return end in stream.read()


sources.register("image_folder")(ImageFolder())
