"""Python values as arrays and JSON, and back; exact for numbers, strings, arrays and containers of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfft.training.checkpoint_files import can_be_stored


class NotPlainError(TypeError):
    """A value is neither a number, a string, an array nor a container of these."""


def to_plain(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Turns a value into JSON; its arrays are copied, as their owner may change them.

    Lists stay lists and anything else that JSON lacks becomes an object with a `type`, so that tuples, sets, and
    mappings with other keys than strings come back as what they were. Subclasses are not plain: a `defaultdict` would
    come back as a `dict`. Functions of `keras.ops`, which Keras' own callbacks compare figures with, go by their name.

    Args:
        value: The value.
        name: Name of its arrays in `arrays`, followed by a slash and a number.
        arrays: Takes the arrays.

    Returns:
        What `json.dumps` takes.

    Raises:
        NotPlainError: When the value is something else, such as a file or a model.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [to_plain(item, name, arrays) for item in value]
    if kind in (tuple, set, frozenset):
        return {"type": kind.__name__, "items": [to_plain(item, name, arrays) for item in value]}
    if kind is dict:
        items = [[to_plain(key, name, arrays), to_plain(item, name, arrays)] for key, item in value.items()]
        return {"type": "dict", "items": items}
    if (kind is np.ndarray or isinstance(value, np.generic)) and can_be_stored(value.dtype):
        key = f"{name}/{len(arrays)}"
        arrays[key] = np.array(value)
        return {"type": "array" if kind is np.ndarray else "number", "key": key}
    function = getattr(value, "__name__", "")
    if callable(value) and getattr(keras.ops, function, None) is value:
        return {"type": "keras_op", "name": function}
    raise NotPlainError(f"{name} holds a {kind.__name__}, which is no plain data")


def from_plain(document: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Returns the value that `to_plain` was given.

    Args:
        document: What `to_plain` returned.
        arrays: The arrays it took.

    Returns:
        A value of its own: arrays are copied.
    """
    if isinstance(document, list):
        return [from_plain(item, arrays) for item in document]
    if not isinstance(document, dict):
        return document
    kind = document["type"]
    if kind == "keras_op":
        return getattr(keras.ops, document["name"])
    if kind in ("array", "number"):
        array = arrays[document["key"]]
        return array.copy() if kind == "array" else array[()]
    items = [from_plain(item, arrays) for item in document["items"]]
    return {"dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](items)
