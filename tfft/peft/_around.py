"""Acting around a layer's `call`: on all its arguments, and on what it computes with while it runs."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tfft.core.errors import ConfigError

#: From the computation so far, and the arguments of a call, to its outputs.
Around = Callable[..., Any]
#: An object, the name of one of its methods, and what makes another method of that one.
Replacement = tuple[Any, str, Callable[[Callable[..., Any]], Callable[..., Any]]]

#: Where a layer keeps it: something else may stand for its `call` since, and hide it.
_PLACE = "_tfft_around"


class _Surrounded:
    """Stands for a layer's `call`; with nothing around it, it is that `call`."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._before = vars(layer).get("call")
        self._call = layer.call
        self.around: list[Around] = []
        self.__wrapped__ = self._call  # its signature is the layer's
        layer.call = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        compute = self._call
        for around in self.around:
            compute = functools.partial(around, compute)
        return compute(*args, **kwargs)

    def restore(self) -> bool:
        """Gives the layer its own `call` back, unless something else stands for it since, which may call this one."""
        if vars(self._layer).get("call") is not self:
            return False
        if self._before is None:
            del self._layer.call
        else:
            self._layer.call = self._before
        return True


def surround(layer: Any, around: Around) -> None:
    """Lets a function stand between a layer and its arguments.

    Args:
        layer: A built layer.
        around: Called with what computes the outputs and the layer's arguments; returns the outputs. The last one that
            was added is called first.

    Raises:
        ConfigError: When the layer is not built.
    """
    if not layer.built:
        raise ConfigError(f"The layer {layer.name!r} is not built, so it cannot be adapted; call the model first.")
    if _PLACE not in vars(layer):
        vars(layer)[_PLACE] = _Surrounded(layer)
    vars(layer)[_PLACE].around.append(around)


def release(layer: Any, around: Around) -> None:
    """Undoes `surround`; does nothing the second time.

    Args:
        layer: The layer.
        around: The function.
    """
    own = vars(layer).get(_PLACE)
    if own is None:
        return
    own.around[:] = [other for other in own.around if other is not around]
    if not own.around and own.restore():
        del vars(layer)[_PLACE]


class Replacements:
    """Methods of objects that are others while a block of code runs, and only then.

    So others may replace the same methods for good, before or after (`tfft.layers.fast_layers` does), and are not in
    the way. Several threads may be inside; the first one in replaces, the last one out restores.
    """

    def __init__(self, replacements: Sequence[Replacement]) -> None:
        """Keeps what to replace."""
        self._replacements = list(replacements)
        self._lock = threading.Lock()
        self._inside = 0
        self._undo = contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Replaces the methods for the duration of a `with` statement."""
        with self._lock:
            if not self._inside:
                for replacement in self._replacements:
                    self._undo.callback(_replace(*replacement))
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._undo.close()


def _replace(of: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Replaces a method by an attribute of the object, past Keras' own bookkeeping; returns what undoes it."""
    own = vars(of)
    made = make(getattr(of, name))
    if name not in own:
        own[name] = made
        return lambda: own.pop(name, None)
    before, own[name] = own[name], made
    return functools.partial(own.__setitem__, name, before)
