"""Checkpoints: all state as arrays and JSON, written beside training, whole or not at all, read only when whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from tfft.console import Console
from tfft.core.errors import ArtifactError, ConfigError
from tfft.training.checkpoint_files import MOVED_AWAY, Checkpoint, Encoded, encode, read_checkpoint, write_checkpoint

LOCK = ".lock"
#: Waiting longer than this (seconds) for the checkpoint before is said.
LONGEST_QUIET_WAIT = 1.0
#: What file systems without locks answer.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_FOLDER = re.compile(r"step-(\d{8,})")


class CheckpointTimer:
    """Tells when a checkpoint is due: after so many steps, after so many minutes, whichever comes first.

    Steps are counted from the start of the run, so that a resumed run saves at the same steps as one that was never
    interrupted. A step that passes a multiple without asking is due when it next asks.
    """

    def __init__(
        self,
        every_steps: int | None,
        every_minutes: float | None,
        *,
        step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the clock.

        Args:
            every_steps: Steps between checkpoints; None to go by the clock alone.
            every_minutes: Minutes between checkpoints; None to go by steps alone.
            step: The step at which the run starts.
            clock: Gives the time in seconds.
        """
        self._every_steps = every_steps
        self._seconds = None if every_minutes is None else 60.0 * every_minutes
        self._clock = clock
        self._step = step
        self._since = clock()

    def due(self, step: int) -> bool:
        """Tells whether a checkpoint is due after `step`; counts anew from there when it is."""
        by_steps = self._every_steps is not None and step // self._every_steps > self._step // self._every_steps
        by_time = self._seconds is not None and self._clock() - self._since >= self._seconds
        if by_steps or by_time:
            self._step, self._since = step, self._clock()
        return by_steps or by_time


class CheckpointStore:
    """Checkpoints of one run in one folder, which no other run can write at the same time.

    One thread writes. A save that comes while the one before is still being written waits for it, so that at most two
    copies of the state are in memory; `busy` tells beforehand, for a caller who would rather save a step later. A
    failure of the thread is raised by the next `save`, `wait` or `close`; earlier checkpoints are untouched by it.

    A checkpoint is a folder `step-00000123` with arrays, state, and a manifest of checksums. It appears by one rename,
    after files and folder have reached the disk. Saving step 123 makes checkpoints of later steps obsolete: they belong
    to a continuation that was given up.
    """

    def __init__(self, directory: Path, keep: int, console: Console) -> None:
        """Opens the folder, making it when there is none, and removes what interrupted saves left.

        Args:
            directory: The folder.
            keep: How many checkpoints stay.
            console: Where damaged checkpoints and long waits are said.

        Raises:
            ArtifactError: When another run writes there, or the folder cannot be made.
            ConfigError: When no checkpoint is to stay.
        """
        if keep < 1:
            raise ConfigError(f"keep_checkpoints is {keep}; it must be 1 or more.")
        self.directory = directory.absolute()
        self._keep = keep
        self._console = console
        self._lock: IO[str] | None = _locked(self.directory, console)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="tfft-checkpoint")
        self._pending: tuple[int, Future[None]] | None = None
        self._damaged: list[Path] = []
        for name in _tidy(self.directory):
            console.say(f"{self.directory.name}: removed {name}, which an interrupted save left")

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written, so that `save` would wait."""
        return self._pending is not None and not self._pending[1].done()

    def save(self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Begins to write a checkpoint, after the one before is written.

        Args:
            step: Optimizer steps taken.
            arrays: Name to array; nobody may change them later.
            state: Plain data; turned into JSON at once, so it may change later.

        Raises:
            ArtifactError: When the checkpoint before could not be written, or this one cannot be put in files.
        """
        if self._lock is None:
            raise ArtifactError(f"{self.directory} was closed; open it anew to save step {step}.")
        encoded = encode(step, arrays, state)
        since = time.monotonic()
        self.wait()
        if (waited := time.monotonic() - since) > LONGEST_QUIET_WAIT:
            self._console.say(f"step {step}: training waited {waited:.0f} s for the checkpoint before; save less often")
        self._pending = (step, self._writer.submit(self._write, encoded))

    def wait(self) -> None:
        """Waits until nothing is being written.

        Raises:
            ArtifactError: When the checkpoint could not be written.
        """
        if self._pending is None:
            return
        (step, future), self._pending = self._pending, None
        try:
            future.result()
        except ArtifactError:
            raise
        except Exception as error:
            raise ArtifactError(
                f"The checkpoint of step {step} could not be written to {self.directory}: {error}. Earlier ones are "
                "whole; make room or mend the disk, then go on with resume=True."
            ) from error

    def latest(self) -> Checkpoint | None:
        """Returns the newest whole checkpoint; a damaged one is said and passed over.

        Returns:
            The checkpoint, or None when there is none.

        Raises:
            ArtifactError: When the checkpoint being written could not be.
        """
        self.wait()
        newest, self._damaged = _newest(self.directory, self._console)
        return newest

    def close(self) -> None:
        """Waits for the last checkpoint and lets others write in the folder.

        Raises:
            ArtifactError: When the last checkpoint could not be written.
        """
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def clear(self) -> None:
        """Deletes all checkpoints, for a run that begins anew; the store stays open."""
        self.wait()
        _delete(_folders(self.directory))

    def remove(self) -> None:
        """Deletes the folder with all checkpoints, and closes the store."""
        with contextlib.suppress(ArtifactError):  # what could not be written need not be
            self.wait()
        if self.directory.is_dir():
            # Renamed first: a removal that is interrupted must leave nothing that looks like checkpoints.
            doomed = self.directory.with_name(f".{self.directory.name}-removed-{os.getpid()}")
            self.directory.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        self.close()

    def __enter__(self) -> CheckpointStore:
        """Returns the store."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Closes the store; while another error is on its way, a failed save is only said."""
        if error is None:
            self.close()
            return
        try:
            self.close()
        except ArtifactError as failed:
            self._console.say(str(failed))

    def _write(self, encoded: Encoded) -> None:
        write_checkpoint(self.directory, encoded)
        self._prune(encoded.step)

    def _prune(self, step: int) -> None:
        present = _folders(self.directory)
        whole = [path for path in present if _step(path) <= step and (path not in self._damaged or _step(path) == step)]
        _delete(set(present) - set(whole[-self._keep :]))


def latest_checkpoint(directory: Path, console: Console) -> Checkpoint | None:
    """Returns the newest whole checkpoint of a folder, without locking the folder.

    Args:
        directory: Folder of a `CheckpointStore`.
        console: Where damaged checkpoints are said.

    Returns:
        The checkpoint, or None when there is none.
    """
    return _newest(directory, console)[0]


def _newest(directory: Path, console: Console) -> tuple[Checkpoint | None, list[Path]]:
    damaged: list[Path] = []
    for folder in reversed(_folders(directory)):
        try:
            return read_checkpoint(folder), damaged
        except ArtifactError as error:
            console.say(f"warning: the checkpoint {folder.name} is not used: {error}")
            damaged.append(folder)
    return None, damaged


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _folders(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if _FOLDER.fullmatch(path.name)), key=_step)


def _delete(folders: Iterable[Path]) -> None:
    for path in folders:
        # Renamed first: half of a checkpoint must not look like a damaged one.
        doomed = path.with_name(f".{path.name}-deleted")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _tidy(directory: Path) -> list[str]:
    """Removes what interrupted saves left, puts back what they had moved away, and returns the names removed."""
    removed = []
    for path in sorted(directory.glob(".step-*")):
        target = directory / path.name.removeprefix(".").removesuffix(MOVED_AWAY)
        if path.name.endswith(MOVED_AWAY) and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.name)
    return removed


def _locked(directory: Path, console: Console) -> IO[str]:
    """Returns an open file that keeps others from writing in `directory`; the system frees it when the process ends."""
    path = directory / LOCK
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise ArtifactError(
                f"{directory} cannot be written: {error.strerror}. Choose another output_dir."
            ) from error
        try:
            _lock(stream, directory, console)
            if path.exists() and path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                break
        except BaseException:
            stream.close()
            raise
        stream.close()  # the holder before removed the folder in between
    stream.truncate(0)
    stream.write(f"process {os.getpid()} on {socket.gethostname()}")
    stream.flush()
    return stream


def _lock(stream: IO[str], directory: Path, console: Console) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        holder = stream.read().strip() or "another process"
        raise ArtifactError(
            f"{directory} is in use by {holder}: two runs cannot write the same checkpoints. Wait for it to end, or "
            "choose another output_dir."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise ArtifactError(
                f"{directory} cannot be locked: {error.strerror}. Choose another output_dir."
            ) from error
        console.say(f"{directory}: this file system has no locks; see to it that no other run writes there")
