"""Adapter files: a small safetensors file with the weights, and JSON that says what they are and where they belong."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from tfft.core.errors import ArtifactError, ConfigError, unknown_name
from tfft.core.files import atomic_directory, sha256
from tfft.peft._fingerprint import Fingerprint, fingerprint
from tfft.peft._unmerged import unmerged
from tfft.peft.base import Adapter, Base, PeftConfig, methods
from tfft.peft.options import parse_peft

#: Raised when the layout changes so that older versions cannot read it.
FORMAT = 1
DESCRIPTION = "adapter.json"
WEIGHTS = "adapter.safetensors"
_ADAPTER, _HEAD = "adapter", "head"
_VERSIONED = ("tfft", "keras", "keras-hub", "tensorflow")
#: Types of weights and their names in files, in the order of the safetensors library, which writes the last first.
_TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16",
    "int32": "I32", "uint32": "U32", "float32": "F32", "float64": "F64", "int64": "I64", "uint64": "U64",
}  # fmt: skip
#: Bytes before the header of a safetensors file, and what its length is a multiple of.
_HEADER_START = 8


@dataclasses.dataclass(frozen=True)
class SavedHead:
    """The head that was trained with an adapter.

    Attributes:
        options: What the head is made with again, as plain data.
        weights: Its weights by name.
    """

    options: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SavedAdapter:
    """What an adapter's files hold.

    Attributes:
        config: The method's options.
        targets: Paths of the base's layers that it acts on.
        base: The base that it was trained on.
        base_name: What that base is called by people, for instance its preset; may be empty.
        weights: Values of the adapter's variables by name.
        head: The head trained with it, if that was saved.
        labels: What the head's outputs mean, if that was saved.
        versions: Versions of the packages that wrote it.
        source: Where it was read.
    """

    config: PeftConfig
    targets: tuple[str, ...]
    base: Fingerprint
    base_name: str
    weights: Mapping[str, np.ndarray]
    head: SavedHead | None
    labels: tuple[str, ...] | None
    versions: Mapping[str, str]
    source: Path


def save_adapter(
    directory: str | Path,
    adapter: Adapter,
    *,
    base_name: str = "",
    head: SavedHead | None = None,
    labels: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes an adapter, without its base.

    Args:
        directory: A directory that does not exist yet, or is empty; it appears whole or not at all.
        adapter: The adapter. A merged one is unmerged while its base is looked at; no other is merged into the base.
        base_name: What the base is called, for instance its preset; for people.
        head: The head trained with it.
        labels: What the head's outputs mean.
        overwrite: Whether an earlier directory there may be replaced.

    Returns:
        The directory.

    Raises:
        ArtifactError: When it cannot be written; what was there before is left as it was.
    """
    directory = Path(directory)
    arrays = _named(_ADAPTER, adapter.state()) | _named(_HEAD, {} if head is None else head.weights)
    with atomic_directory(directory, overwrite=overwrite) as folder:
        path = folder / WEIGHTS
        path.write_bytes(_serialized(arrays))
        described = {
            "format": FORMAT,
            **_plain(adapter.config),
            "targets": list(adapter.targets),
            "base": dataclasses.asdict(_fingerprint_of(adapter)),
            "base_name": base_name,
            "head": None if head is None else dict(head.options),
            "labels": None if labels is None else [str(label) for label in labels],
            "versions": {name: _version(name) for name in _VERSIONED},
            "weights": {"file": WEIGHTS, "bytes": path.stat().st_size, "sha256": sha256(path)},
        }
        document = {**described, "sha256": _digest(described)}
        (folder / DESCRIPTION).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return directory


def read_adapter(directory: str | Path) -> SavedAdapter:
    """Reads what `save_adapter` wrote; no code in the files is run, since there is none.

    Args:
        directory: The directory.

    Returns:
        What it holds.

    Raises:
        ArtifactError: When it is no such directory, was truncated or altered, or comes from a later version of tfft.
    """
    directory = Path(directory)
    described = _description(directory)
    try:
        expected, method = described["weights"], str(described["method"])
        arrays = _arrays(directory, int(expected["bytes"]), str(expected["sha256"]))
        labels, options = described["labels"], described["head"]
        head = None if options is None else SavedHead(options, _without(_HEAD, arrays))
        return SavedAdapter(
            config=_config(directory, method, described["options"]),
            targets=tuple(described["targets"]),
            base=Fingerprint(**described["base"]),
            base_name=described["base_name"],
            weights=_without(_ADAPTER, arrays),
            head=head,
            labels=None if labels is None else tuple(labels),
            versions=described["versions"],
            source=directory,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtifactError(f"{directory / DESCRIPTION} is damaged; it is not what tfft wrote.") from None


def add_saved(base: Base, saved: SavedAdapter | str | Path, *, name: str = "default", seed: int = 0) -> Adapter:
    """Adds a saved adapter to the base it was trained on; it computes the same to the bit.

    Args:
        base: The base, whose weights are not trained (`tfft.peft.base.freeze_base` sees to that).
        saved: What `read_adapter` returned, or its directory.
        name: Name of the adapter among others on the same base.
        seed: Decides dropout, when it is trained further.

    Returns:
        The adapter.

    Raises:
        ArtifactError: When the base is another than the adapter's; it is left as it was.
        ConfigError: When the method refuses the base.
    """
    if not isinstance(saved, SavedAdapter):
        saved = read_adapter(saved)
    found = fingerprint(base.model)
    if found.architecture != saved.base.architecture:
        raise _other_base(saved, found)
    adapter = methods.get(saved.config.method).add(base, saved.config, name=name, seed=seed)
    try:
        load_saved(adapter, saved)
    except BaseException:
        adapter.remove()
        raise
    return adapter


def load_saved(adapter: Adapter, saved: SavedAdapter) -> None:
    """Gives an adapter that was made with the same options the weights that were saved.

    Args:
        adapter: The adapter, on its base.
        saved: What `read_adapter` returned.

    Raises:
        ArtifactError: When the base or the adapter is another one; nothing was changed then.
    """
    # Only the adapter knows which weights of the base it replaces, if any.
    found = _fingerprint_of(adapter)
    if (found.architecture, found.weights) != (saved.base.architecture, saved.base.weights):  # names count up
        raise _other_base(saved, found)
    try:
        adapter.load_state(saved.weights)
    except ConfigError as error:
        raise ArtifactError(f"{saved.source} does not hold the adapter that it describes. {error}") from error


def weights_size(adapter: Adapter) -> int:
    """Returns the size in bytes of the weights file that `save_adapter` writes for an adapter without a head."""
    # As the library lays files out: by type, then by name.
    order = list(_TYPES)
    items = [(name, variable, _type_in_file(str(variable.dtype))) for name, variable in adapter.variables.items()]
    header, end = {}, 0
    for name, variable, dtype in sorted(items, key=lambda item: (-order.index(item[2]), item[0])):
        start, end = end, end + int(np.prod(variable.shape)) * np.dtype(dtype).itemsize
        described = {"dtype": _TYPES[dtype], "shape": list(variable.shape), "data_offsets": [start, end]}
        header[f"{_ADAPTER}/{name}"] = described
    size = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return _HEADER_START + -(-size // _HEADER_START) * _HEADER_START + end


def _fingerprint_of(adapter: Adapter) -> Fingerprint:
    with unmerged(adapter):
        return fingerprint(adapter.base.model, apart_from=adapter.variables.values())


def _other_base(saved: SavedAdapter, found: Fingerprint) -> ArtifactError:
    called = f" ({saved.base_name})" if saved.base_name else ""
    return ArtifactError(
        f"{saved.source} belongs to another base: it was trained on {saved.base}{called}, and this is {found}. "
        "Load the base it was trained on, with the same quantization if it had one."
    )


def _plain(config: PeftConfig) -> dict[str, Any]:
    options = config.to_dict()
    return {"method": options.pop("method"), "options": options}


def _config(directory: Path, method: str, options: Mapping[str, Any]) -> PeftConfig:
    advice = "It may come from a later version of tfft; upgrade."
    if method not in methods:
        raise ArtifactError(f"{directory}: {unknown_name('PEFT method', method, methods.names())} {advice}")
    try:
        return parse_peft({**options, "method": method})
    except ConfigError as error:
        raise ArtifactError(f"{directory} has options that {method} does not take. {error} {advice}") from error


def _description(directory: Path) -> dict[str, Any]:
    path = directory / DESCRIPTION
    if not path.is_file():
        raise ArtifactError(f"{directory} does not hold an adapter of tfft: it has no {DESCRIPTION}.")
    try:
        described: dict[str, Any] = json.loads(path.read_text("utf-8"))
        digest = described.pop("sha256")
        later = described["format"] > FORMAT
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtifactError(f"{path} is damaged; it is not what tfft wrote.") from None
    if later:
        raise ArtifactError(
            f"{directory} was written by a later version of tfft (format {described['format']}, and this one reads up "
            f"to {FORMAT}); upgrade."
        )
    if digest != _digest(described):
        raise ArtifactError(f"{path} was altered after it was written.")
    return described


def _arrays(directory: Path, size: int, digest: str) -> dict[str, np.ndarray]:
    path = directory / WEIGHTS
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; the adapter is not whole. Copy it again.")
    if path.stat().st_size != size:
        raise ArtifactError(
            f"{path} has {path.stat().st_size:,} bytes instead of {size:,}: it was truncated or altered."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtifactError(f"{path} was altered after it was written: its SHA-256 is not that of {DESCRIPTION}.")
    try:
        return safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError) as error:
        raise ArtifactError(f"{path} is not a safetensors file: {error}.") from error


def _serialized(arrays: Mapping[str, np.ndarray]) -> bytes:
    # Copies in C order: the library writes the memory of an array as it lies.
    content: bytes = safetensors.numpy.save(
        {name: np.array(value, _type_in_file(str(value.dtype)), order="C") for name, value in arrays.items()}
    )
    return content


def _type_in_file(dtype: str) -> str:
    # NumPy has no bfloat16; float32 holds its numbers exactly, and a variable takes them back as they were.
    return "float32" if dtype == "bfloat16" else dtype


def _named(part: str, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{part}/{name}": value for name, value in weights.items()}


def _without(part: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    start = f"{part}/"
    return {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _digest(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
