"""Telling objects of other libraries by the names of their classes, so that those libraries need not be imported."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def is_a(value: Any, library: str, names: Collection[str]) -> bool:
    """Tells whether an object is of a class of a library, or of one derived from it.

    Args:
        value: Any object.
        library: Top-level package of the class.
        names: Names of classes.

    Returns:
        Whether one of the object's classes has such a name and is defined in that library.
    """
    return any(kind.__name__ in names and kind.__module__.partition(".")[0] == library for kind in type(value).__mro__)
