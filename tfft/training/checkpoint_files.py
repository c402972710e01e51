"""One checkpoint on disk: a folder with arrays, plain data, and a manifest of checksums."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  makes names such as "bfloat16" known to NumPy
import numpy as np
from safetensors.numpy import load_file, save_file

from tfft.core.errors import ArtifactError
from tfft.core.files import sha256, temporary_sibling

#: Raised when the layout changes so that older versions cannot read it.
FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"
STATE = "state.json"
#: A checkpoint of the same step is called so while its successor takes its place.
MOVED_AWAY = "-earlier"
#: What every version of safetensors reads back as it was; other types are stored as unsigned integers of their size.
_NATIVE = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
}
#: Hexadecimal digits of a fingerprint, which fits into an int64.
_FINGERPRINT_DIGITS = 15
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step.

    Attributes:
        step: Optimizer steps taken.
        arrays: Name to array.
        state: Plain data.
    """

    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A checkpoint as its files hold it.

    Attributes:
        step: Optimizer steps taken.
        arrays: Name to array, each of a type that safetensors knows.
        state: JSON.
    """

    step: int
    arrays: dict[str, np.ndarray]
    state: str


def encode(step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> Encoded:
    """Turns state into what can be written; arrays are copied only when their memory is not in order.

    Args:
        step: Optimizer steps taken.
        arrays: Name to array.
        state: Plain data.

    Returns:
        What `write_checkpoint` writes.

    Raises:
        ArtifactError: When an array or the state cannot be put in a file.
    """
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    dtypes = {
        name: array.dtype.newbyteorder("=").name for name, array in arrays.items() if array.dtype.name not in _NATIVE
    }
    try:
        return Encoded(step, stored, json.dumps({"dtypes": dtypes, "state": state}, indent=1))
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"The state of step {step} is not plain data: {error}.") from error


def write_checkpoint(directory: Path, encoded: Encoded) -> Path:
    """Writes a checkpoint, which appears by one rename after its files have reached the disk.

    Args:
        directory: Folder of checkpoints.
        encoded: The checkpoint.

    Returns:
        Folder of the checkpoint.

    Raises:
        ArtifactError: When writing fails, for instance because the disk is full.
    """
    target = directory / folder_name(encoded.step)
    earlier = directory / f".{target.name}{MOVED_AWAY}"
    with temporary_sibling(target) as folder:
        save_file(encoded.arrays, folder / ARRAYS)
        (folder / ARRAYS).chmod(0o644)  # safetensors gives 0600, which another user could not read
        (folder / STATE).write_text(encoded.state, "utf-8")
        files = {
            name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in (ARRAYS, STATE)
        }
        (folder / MANIFEST).write_bytes(_manifest({"format": FORMAT, "step": encoded.step, "files": files}))
        for path in (*folder.iterdir(), folder):
            _to_disk(path)
        if target.exists():  # the same step again, after a resume
            target.rename(earlier)
        folder.rename(target)
        _to_disk(directory)
    shutil.rmtree(earlier, ignore_errors=True)
    return target


def read_checkpoint(folder: Path) -> Checkpoint:
    """Checks one checkpoint and returns it.

    Args:
        folder: Folder of the checkpoint.

    Returns:
        The checkpoint; its arrays are writable.

    Raises:
        ArtifactError: When it is truncated, altered, incomplete, or of a later format.
    """
    try:
        step = _checked_step(folder)
        document = json.loads((folder / STATE).read_bytes())
        arrays = load_file(folder / ARRAYS)
    except OSError as error:
        raise ArtifactError(f"{Path(error.filename or folder).name} cannot be read: {error.strerror}.") from error
    for name, dtype in document["dtypes"].items():
        arrays[name] = arrays[name].view(np.dtype(dtype))
    return Checkpoint(step, arrays, document["state"])


def fingerprint(folder: Path) -> int:
    """Returns a number of 60 bits that tells a checkpoint from any other, also of the same step.

    Args:
        folder: Folder of the checkpoint.

    Returns:
        From the SHA-256 of its manifest, which has those of all files.

    Raises:
        ArtifactError: When there is no such checkpoint.
    """
    try:
        return int(hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:_FINGERPRINT_DIGITS], 16)
    except OSError as error:
        raise ArtifactError(f"{MANIFEST} cannot be read: {error.strerror}.") from error


def _checked_step(folder: Path) -> int:
    content = (folder / MANIFEST).read_bytes()
    try:
        manifest = json.loads(content)
        del manifest["sha256"]
        # Byte for byte: whatever was altered, even a space, shows.
        whole = content == _manifest(manifest)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ArtifactError(f"{MANIFEST} was truncated or altered.")
    if manifest["format"] > FORMAT:
        raise ArtifactError(f"it was written by a later version of tfft (format {manifest['format']}); upgrade.")
    step: int = manifest["step"]
    if folder.name != folder_name(step):
        raise ArtifactError(f"it holds step {step}; its folder was renamed.")
    for name, expected in manifest["files"].items():
        size = (folder / name).stat().st_size
        if size != expected["bytes"]:
            raise ArtifactError(f"{name} has {size:,} bytes instead of {expected['bytes']:,}.")
        if sha256(folder / name) != expected["sha256"]:
            raise ArtifactError(f"{name} was altered: its SHA-256 is not that of {MANIFEST}.")
    return step


def _manifest(document: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return json.dumps({**document, "sha256": digest}, indent=1).encode() + b"\n"


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    if not can_be_stored(array.dtype):
        raise ArtifactError(
            f"The array {name!r} of type {array.dtype} cannot be put in a checkpoint; "
            "numbers of 1, 2, 4 or 8 bytes can."
        )
    # safetensors takes the memory as it lies: a transposed or big-endian array would come back as another, silently.
    array = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    return array if array.dtype.name in _NATIVE else array.view(_UNSIGNED[array.dtype.itemsize])


def can_be_stored(dtype: np.dtype) -> bool:
    """Tells whether an array of this type comes back as it was."""
    if dtype.name in _NATIVE:
        return True
    try:
        known = np.dtype(dtype.name) == dtype.newbyteorder("=")
    except TypeError:
        return False
    return known and dtype.kind not in "OSU" and dtype.itemsize in _UNSIGNED


def folder_name(step: int) -> str:
    """Returns the name of the folder of a step."""
    return f"step-{step:08d}"


def _to_disk(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that does not know this for folders
            raise
    finally:
        os.close(descriptor)
