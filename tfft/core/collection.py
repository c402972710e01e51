"""Garbage collection stays out of the way while TensorFlow is imported."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected_imports() -> Iterator[None]:
    """Imports TensorFlow inside without garbage collection; what was imported is never looked at again.

    Modules make half a million objects that last as long as the process. Collections during the import go through them
    seven times, a second of CPU time in which nothing is found, and each full collection afterwards goes through them
    again. Nothing is done where TensorFlow is imported already, or where collection is switched off.
    """
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.collect()  # so that nobody's garbage is kept
    gc.disable()
    try:
        yield
        if "tensorflow" in sys.modules:
            gc.freeze()
    finally:
        gc.enable()


@contextlib.contextmanager
def young_collections() -> Iterator[None]:
    """Makes collections inside look at new objects alone, for code that asks for a full one again and again.

    Keras collects whenever a variable of a layer is replaced: a third of a second for each layer that is quantized,
    nearly all of the time that takes. Afterwards all objects are looked at again, those of imports included.
    """
    gc.collect()  # so that nobody's garbage is kept
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
