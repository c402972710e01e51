"""Open registries: one decorator adds a task, a head, a source or an exporter."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

from tfft.core.errors import ConfigError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Named objects of one kind.

    A registry may have a folder in which each module registers one object under the module's own name: a new file is
    all it takes. The module is imported when its name is first looked up, so listing names imports nothing.

    Example:
        >>> heads = Registry("head")
        >>> @heads.register("linear")
        ... def build(features): ...
        >>> heads.get("linear") is build
        True
    """

    def __init__(self, kind: str, package: str | None = None, *, apart_from: Collection[str] = ()) -> None:
        """Creates an empty registry.

        Args:
            kind: What is registered; used in messages.
            package: Dotted name of the folder; its base.py and modules that begin with an underscore do not register.
            apart_from: More modules of the folder that do not register.
        """
        self.kind = kind
        self._package = package
        self._apart_from = {"base", *apart_from}
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that stores its argument under `name`.

        Args:
            name: The name to register under.

        Returns:
            The decorator; it returns its argument.

        Raises:
            ConfigError: When the name is taken by another object.
        """

        def add(item: T) -> T:
            if self._items.get(name, item) is not item:
                raise ConfigError(f"The {self.kind} {name!r} is registered already; choose another name.")
            self._items[name] = item
            return item

        return add

    def get(self, name: str) -> T:
        """Returns the object registered under `name`.

        Args:
            name: A registered name.

        Returns:
            The object.

        Raises:
            ConfigError: When there is none; names the nearest.
        """
        if name not in self._items and name in self._modules():
            importlib.import_module(f"{self._package}.{name}")
            if name not in self._items:
                raise ConfigError(f"The module {self._package}.{name} registers no {self.kind} {name!r}.")
        if name not in self._items:
            raise ConfigError(unknown_name(self.kind, name, self.names()))
        return self._items[name]

    def names(self) -> list[str]:
        """Returns the registered names, sorted."""
        return sorted({*self._items, *self._modules()})

    def __contains__(self, name: str) -> bool:
        """Tells whether `name` is registered."""
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        """Iterates over the registered names, sorted."""
        return iter(self.names())

    def _modules(self) -> list[str]:
        if self._package is None:
            return []
        found = (module.name for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__))
        return [name for name in found if name not in self._apart_from and not name.startswith("_")]
