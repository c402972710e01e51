"""Features of Hugging Face datasets, told by the names of their classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfft.core.errors import DataError

_NARROW = {"float16": np.float16, "float32": np.float32}


@dataclasses.dataclass(frozen=True)
class Part:
    """A column, which may be a field of a struct.

    Attributes:
        name: Its name: "outer.inner" for a field.
        path: Names that lead to it.
        feature: Its feature.
    """

    name: str
    path: tuple[str, ...]
    feature: Any

    def values(self, batch: Mapping[str, list[Any]]) -> list[Any]:
        """Returns its values in a batch, which holds a list for each outermost column."""
        values = batch[self.path[0]]
        for field in self.path[1:]:
            values = [None if value is None else value.get(field) for value in values]
        return values

    def convert(self, values: list[Any]) -> Any:
        """Returns values in the form that `as_cells` understands.

        Args:
            values: What the dataset holds, null as None.

        Returns:
            The values, with names for classes.

        Raises:
            DataError: When one is a picture, sound or video without a path.
        """
        return _convert(values, self.feature, self.name)

    @property
    def is_media(self) -> bool:
        """Whether it holds pictures, sound or the like, in files or in itself."""
        return hasattr(self.feature, "decode_example")


def parts_of(features: Mapping[str, Any]) -> dict[str, Part]:
    """Returns the columns by name.

    Args:
        features: The dataset's `features`.

    Returns:
        Name to column.
    """
    found: dict[str, Part] = {}
    _add(found, features, ())
    return found


def _add(found: dict[str, Part], features: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, feature in features.items():
        inner = _fields(feature)
        if inner is None:
            name = ".".join((*path, key))
            found[name] = Part(name, (*path, key), feature)
        else:
            _add(found, inner, (*path, key))


def _fields(feature: Any) -> Mapping[str, Any] | None:
    """Returns the fields of a struct, None for anything else."""
    kind = type(feature).__name__
    if isinstance(feature, Mapping):
        return feature
    if kind == "Translation":
        return dict.fromkeys(feature.languages)
    if kind == "Sequence" and isinstance(feature.feature, Mapping):  # up to version 3: a struct of lists
        return {key: [inner] for key, inner in feature.feature.items()}
    return None


def _convert(values: list[Any], feature: Any, name: str) -> Any:
    kind = type(feature).__name__
    if kind == "ClassLabel":
        return [_class_name(value, feature.names) for value in values]
    if kind == "Value" and feature.dtype in _NARROW:  # otherwise 0.1 would come as 0.10000000149
        return np.array(values, _NARROW[feature.dtype])
    if kind.startswith("Array") and kind.endswith("D"):
        return [None if value is None else np.asarray(value) for value in values]
    if hasattr(feature, "decode_example"):
        return [_path(value, name) for value in values]
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    if inner is None or isinstance(inner, Mapping):
        return values
    return [None if value is None else _convert(value, inner, name) for value in values]


def _class_name(value: Any, names: list[str]) -> Any:
    return names[value] if isinstance(value, int) and value >= 0 else None if value == -1 else value


def _path(value: Any, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping) and value.get("path") and value.get("bytes") is None:
        return str(value["path"])
    raise DataError(
        f"The Hugging Face dataset: the column {name!r} holds pictures, sound or video, which are not decoded "
        'here. Make arrays of them first: data.with_transform(lambda batch: {**batch, "image": '
        '[numpy.asarray(item) for item in batch["image"]]}), or save them as files.'
    )
