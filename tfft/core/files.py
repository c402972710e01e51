"""Directories that appear whole or not at all, and checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfft.core.errors import ArtifactError


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_target(target: Path, *, overwrite: bool = False) -> None:
    """Checks that a new directory can be written at `target`.

    Args:
        target: The directory to be.
        overwrite: Whether a directory that is there may be replaced.

    Raises:
        ArtifactError: When something is in the way, or the parent is not writable.
    """
    if target.exists() and not target.is_dir():
        raise ArtifactError(f"{target} is a file; choose a directory that does not exist yet.")
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise ArtifactError(f"{target} is not empty; choose another directory, empty it, or pass overwrite=True.")
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    try:
        # Asking for permission is not enough: file systems can be read-only, or virtual.
        tempfile.TemporaryDirectory(dir=parent).cleanup()
    except OSError as error:
        raise ArtifactError(f"{target} cannot be written: {error.strerror} in {parent}.") from error


@contextlib.contextmanager
def temporary_sibling(target: Path) -> Iterator[Path]:
    """Yields an empty directory beside `target`; removes it when it is still there at the end.

    A sibling is on the same file system, so that renaming it is atomic.

    Args:
        target: The path beside which it is made.

    Yields:
        The directory.

    Raises:
        ArtifactError: When writing fails, for instance because the disk is full.
    """
    folder: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        folder.chmod(0o755)  # mkdtemp gives 0700, which a server under another user could not read
        yield folder
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise ArtifactError(
            f"{target} could not be written: {reason}. Nothing that was there before has been changed."
        ) from error
    finally:
        if folder is not None and folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def atomic_directory(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary directory that becomes `target` only when the block succeeds.

    With `overwrite` an existing directory is replaced at the end; when anything fails before, it is left as it was.

    Args:
        target: The directory to create.
        overwrite: Whether a directory that is there may be replaced.

    Yields:
        The temporary directory to write into.

    Raises:
        ArtifactError: When `target` is in the way or writing fails.
    """
    target = target.resolve()  # through a symbolic link, the directory behind it is replaced
    check_target(target, overwrite=overwrite)
    with temporary_sibling(target) as folder:
        yield folder
        if not target.exists():
            folder.rename(target)
            return
        earlier = folder.with_name(folder.name + "-earlier")
        target.rename(earlier)
        try:
            folder.rename(target)
        except OSError:
            earlier.rename(target)
            raise
        shutil.rmtree(earlier, ignore_errors=True)
