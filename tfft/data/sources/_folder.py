"""Folders of files in which the name of a folder is the label."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tfft.core.errors import DataError, name_list
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, select_columns

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")

#: Names that folders of splits have, and the split that each means.
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
#: Folders inside each other that are followed.
_DEEPEST = 32
#: Folder names from the root down to the file's own name.
_Parts = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FileKind:
    """What a folder holds.

    Attributes:
        column: Name of the column of paths.
        plural: What the files are called.
        endings: How their names end.
        problem: Takes an open file and its size; returns why it cannot be one of these, "" if it may.
    """

    column: str
    plural: str
    endings: Sequence[str]
    problem: Callable[[BinaryIO, int], str]


def first_ending(source: Any) -> str | None:
    """Returns the ending of a folder's first image or recording; "" when it has none, None when it is no folder."""
    if not isinstance(source, (str, Path)) or not os.path.isdir(source):
        return None
    try:
        names = (parts[-1] for parts in _walk(Path(source)))
        endings = map(_ending, names)
        return next((ending for ending in endings if ending in IMAGE_ENDINGS + AUDIO_ENDINGS), "")
    except DataError:
        return ""


def folder_chunks(request: ReadRequest, kind: FileKind) -> Iterator[Columns]:
    """Reads a folder: root/label/file, or root/split/label/file.

    All files are looked at before the first chunk, so that broken ones are counted before anything is done.

    Args:
        request: What to read.
        kind: What the folder holds.

    Yields:
        Chunks with the path of each file, its label, and its split if there are folders for splits.

    Raises:
        DataError: When there are no such files, no labels, or files that are broken.
    """
    root = Path(request.source)
    files = _files(root, kind, request)
    columns = {kind.column: [str(root.joinpath(*parts)) for parts in files]}
    if request.columns is None or set(request.columns) != {kind.column}:
        columns |= _labels(root, files, kind)
    select_columns(list(columns), request.columns, str(root))
    _check_files(columns[kind.column], kind, request)
    names = list(columns) if request.columns is None else request.columns
    for start in range(0, len(files), CHUNK_ROWS):
        yield {name: columns[name][start : start + CHUNK_ROWS] for name in names}


def _files(root: Path, kind: FileKind, request: ReadRequest) -> list[_Parts]:
    """Returns the files of a kind in order of their names, and says which others there are."""
    every = list(_walk(root))
    files = [parts for parts in every if _ending(parts[-1]) in kind.endings]
    others = Counter(_ending(parts[-1]) for parts in every if _ending(parts[-1]) not in kind.endings)
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    found = name_list([f"{count:,} {ending or 'without an ending'}" for ending, count in ranked], most=8)
    if not files:
        contents = f"It holds files that end in: {found}" if others else "It holds no files"
        raise DataError(
            f"The folder {_shown(root)} holds neither images ({', '.join(IMAGE_ENDINGS)}) nor recordings "
            f"({', '.join(AUDIO_ENDINGS)}). {contents}. To read tables, pass a pattern such as "
            f"{_shown(root / '*.csv')!r}."
        )
    if foreign := sorted(set(others) & {*IMAGE_ENDINGS, *AUDIO_ENDINGS}):
        raise DataError(
            f"The folder {_shown(root)} holds {len(files):,} {kind.plural}, but also files that end in "
            f"{', '.join(foreign)}. Keep images and recordings in folders of their own."
        )
    if others:
        request.console.say(
            f"{_shown(root)}: files that are no {kind.plural} ({', '.join(kind.endings)}) are left out: {found}"
        )
    return files


def _labels(root: Path, files: Sequence[_Parts], kind: FileKind) -> dict[str, list[str]]:
    """Returns the columns that come from the names of folders."""
    loose = [parts for parts in files if len(parts) == 1]
    if loose:
        raise DataError(
            f"{len(loose):,} of the {len(files):,} {kind.plural} of {_shown(root)} are in no class folder, so they "
            f"have no label; the first: {_shown(root.joinpath(*loose[0]))}. Put them in one folder for each class."
        )
    tops = sorted({parts[0] for parts in files})
    splits = [top for top in tops if top.casefold() in _SPLITS]
    shallow = {top: path for top, *inner, path in files if not inner}
    if splits and splits == tops:
        return _split_labels(root, files, shallow)
    deep = [top for top in splits if top not in shallow]
    if deep:
        other = next(top for top in tops if top not in splits)
        raise DataError(
            f"The folder {_shown(root)} has {deep[0]}, the folder of a split, beside {_shown(other)}, which is none. "
            f"Pass a folder that holds only splits ({', '.join(_SPLITS)}) or only classes."
        )
    if len(tops) == 1 and not shallow and len({parts[1] for parts in files}) > 1:
        raise DataError(
            f"All {kind.plural} of {_shown(root)} are in folders inside {_shown(tops[0])}, which would be their only "
            f"label. Pass {_shown(root / tops[0])} if those are the classes."
        )
    return {"label": [parts[0] for parts in files]}


def _split_labels(root: Path, files: Sequence[_Parts], shallow: dict[str, str]) -> dict[str, list[str]]:
    for top, name in shallow.items():
        raise DataError(
            f"{_shown(root / top)} is the folder of a split, but {_shown(root / top / name)} is in no folder of a "
            "class. Put the files of a split in one folder for each class."
        )
    names = sorted({parts[0] for parts in files})
    if len({_SPLITS[name.casefold()] for name in names}) < len(names):
        raise DataError(f"The folder {_shown(root)} has several folders for one split: {', '.join(names)}. Keep one.")
    return {
        "label": [parts[1] for parts in files],
        "split": [_SPLITS[parts[0].casefold()] for parts in files],
    }


def _check_files(paths: Sequence[str], kind: FileKind, request: ReadRequest) -> None:
    """Refuses files that are empty, cut off, or something else than their name says."""
    bad = []
    with request.console.progress(f"checking {kind.plural}", len(paths), "files") as advance:
        for path in paths:
            if problem := _problem(path, kind):
                bad.append(f"{_shown(path)} ({problem})")
            advance(1)
    if bad:
        raise DataError(
            f"{len(bad):,} of {len(paths):,} {kind.plural} cannot be used: {name_list(bad)}. Copy them again, or "
            "delete them."
        )


def _problem(path: str, kind: FileKind) -> str:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would never end
            return "no file"
        if not status.st_size:
            return "empty"
        with open(path, "rb", buffering=0) as stream:
            return kind.problem(stream, status.st_size)
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def _walk(folder: Path, above: tuple[tuple[int, int], ...] = (), parts: _Parts = ()) -> Iterator[_Parts]:
    """Yields all files below a folder, sorted; hidden ones are left out, links are followed."""
    try:
        status = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"The folder {_shown(folder)} cannot be read: {error.strerror}.") from None
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise DataError(f"The folder {_shown(folder)} is a link to a folder that holds it. Remove the link.")
    if len(parts) > _DEEPEST:
        raise DataError(
            f"The folder {_shown(folder)} lies more than {_DEEPEST} folders deep. Pass the folder of the classes."
        )
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, (*above, here), (*parts, entry.name))
        else:
            yield (*parts, entry.name)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _shown(path: str | Path) -> str:
    """Returns a name that can be printed, even where its bytes are no text."""
    return str(path).encode("utf-8", "backslashreplace").decode()
