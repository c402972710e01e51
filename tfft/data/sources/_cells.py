"""Whole columns as cells, fast for the usual types and faithful for the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tfft.data.sources.base import as_cell

#: Size of Python's own float. 0.1 in fewer bytes would come as 0.10000000149 if it were only widened.
_FLOAT_BYTES = 8


def as_cells(values: Any) -> list[Any]:
    """Returns values as cells.

    Args:
        values: A list, tuple, NumPy array (its first dimension counts the values), or pandas Series, Index or array.

    Returns:
        One cell for each; the list passed is not changed.
    """
    listed = _listed(values)
    kinds = set(map(type, listed))
    for allowed, convert in _QUICK:
        if kinds <= allowed:
            return list(listed) if convert is None else [None if value is None else convert(value) for value in listed]
    return [value if type(value) is str else _cell(value) for value in listed]


def as_text(value: bytes) -> str:
    """Decodes UTF-8; bytes that are not valid in it become lone surrogates."""
    return value.decode("utf-8", "surrogateescape")


def _number(value: float) -> str | None:
    """Writes a number as `as_cell` does."""
    return None if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)


_QUICK: tuple[tuple[set[type], Callable[[Any], Any] | None], ...] = (
    ({str, type(None)}, None),
    ({int, type(None)}, str),
    ({float, type(None)}, _number),
    ({bytes, type(None)}, as_text),
)


def _listed(values: Any) -> list[Any]:
    if isinstance(values, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        size = getattr(values.dtype, "itemsize", _FLOAT_BYTES)
        if getattr(values.dtype, "kind", "") == "f" and size < _FLOAT_BYTES:
            values = values.to_numpy(dtype=f"f{size}", na_value=np.nan)
        else:
            return list(values.tolist())
    if isinstance(values, np.ndarray):
        if values.ndim > 1:
            return list(values)
        if values.dtype.kind in "mM":  # its own tolist may give bare nanoseconds
            return list(pd.Series(values).tolist())
        if (values.dtype.kind == "f" and values.dtype.itemsize != _FLOAT_BYTES) or values.dtype.name == "bfloat16":
            return [float(str(value)) for value in values]
        return list(values.tolist())
    return values if isinstance(values, list) else list(values)


def _cell(value: Any) -> Any:
    """Returns one value as a cell: like `as_cell`, and pictures, tensors and arrays of strings too."""
    if isinstance(value, (list, tuple)):
        return as_cells(value)
    if callable(getattr(value, "numpy", None)):  # a tensor
        value = value.numpy()
    elif hasattr(value, "__array_interface__") and not isinstance(value, (np.ndarray, np.generic)):  # a picture
        value = np.asarray(value)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return as_cells(value[None])[0]
        if value.ndim == 1 or value.dtype.kind in "OSUT":
            return as_cells(value)
    return as_cell(value)
