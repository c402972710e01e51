"""The run directory: written whole or not at all, read only when nothing in it was altered."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfft.core.errors import ArtifactError
from tfft.core.files import atomic_directory, sha256

#: Raised when the layout changes so that older versions cannot read it.
FORMAT = 1
MANIFEST = "run.json"
_VERSIONED = ("tfft", "tensorflow", "keras", "keras-hub", "tensorflow-text", "numpy", "pandas", "scikit-learn")


def write_run(
    directory: Path,
    documents: Mapping[str, Any],
    write_weights: Callable[[Path], None],
    *,
    overwrite: bool,
) -> None:
    """Writes a run directory with a manifest of checksums.

    Args:
        directory: Where to write.
        documents: File stem to plain data, written as JSON.
        write_weights: Writes weights and assets below the directory it is given.
        overwrite: Whether an earlier run there may be replaced.

    Raises:
        ArtifactError: When writing fails; an earlier run is left as it was.
    """
    with atomic_directory(directory, overwrite=overwrite) as folder:
        write_weights(folder)
        for stem, document in documents.items():
            _write_json(folder / f"{stem}.json", document)
        manifest = {
            "format": FORMAT,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "versions": versions(),
            "files": {
                path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
        _write_json(folder / MANIFEST, {**manifest, "sha256": _digest(manifest)})


def read_run(directory: Path) -> dict[str, Any]:
    """Checks a run directory and returns its documents.

    Args:
        directory: What `write_run` wrote.

    Returns:
        File stem to plain data.

    Raises:
        ArtifactError: When it is no run directory, or a file is missing, truncated or altered.
    """
    manifest = read_manifest(directory)
    documents = {}
    for name, expected in manifest["files"].items():
        path = directory / name
        if not path.resolve().is_relative_to(directory.resolve()):
            raise ArtifactError(f"{directory / MANIFEST} names a file outside the run directory: {name}.")
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; the run directory is not whole. Copy it again, or train again.")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise ArtifactError(
                f"{path} has {size:,} bytes instead of {expected['bytes']:,}: it was truncated or altered."
            )
        if sha256(path) != expected["sha256"]:
            raise ArtifactError(f"{path} was altered after it was written: its SHA-256 is not that of {MANIFEST}.")
        if path.suffix == ".json" and path.parent == directory:
            documents[path.stem] = json.loads(path.read_text("utf-8"))
    return documents


def read_manifest(directory: Path) -> dict[str, Any]:
    """Returns the manifest of a run directory.

    Args:
        directory: The run directory.

    Returns:
        The manifest, without its own checksum.

    Raises:
        ArtifactError: When there is none, it was altered, or it is of a later format.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{directory} is not a run directory of tfft: it has no {MANIFEST}.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        digest = manifest.pop("sha256")
        later = manifest["format"] > FORMAT
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtifactError(f"{path} is damaged; it is not what tfft wrote.") from None
    if later:
        raise ArtifactError(
            f"{directory} was written by a later version of tfft (format {manifest['format']}); upgrade."
        )
    if digest != _digest(manifest):
        raise ArtifactError(f"{path} was altered after it was written.")
    return manifest


def versions() -> dict[str, str]:
    """Returns the installed version of every package that has a say in the result."""
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _write_json(path: Path, document: Any) -> None:
    try:
        content = json.dumps(document, indent=1, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, from a JSON escape in the data
        content = json.dumps(document, indent=1).encode()
    path.write_bytes(content + b"\n")


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
