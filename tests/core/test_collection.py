"""TensorFlow is imported without garbage collection, once; what is there already is left as it is."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfft.core.collection import uncollected_imports, young_collections

PROGRAM = """
import gc, sys
collections = []
gc.callbacks.append(lambda phase, info: collections.append("tensorflow" in sys.modules))
import tfft
from tfft.launching import prepare_tensorflow
assert "tensorflow" not in sys.modules
prepare_tensorflow()
print(any(collections), gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


@pytest.fixture
def _as_before() -> Iterator[None]:
    yield
    gc.enable()


def test_nothing_is_collected_while_tensorflow_is_imported_and_its_objects_are_put_aside() -> None:
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=paths)
    assert done.stdout.split() == ["False", "True", "True"]


def test_an_import_that_fails_leaves_collection_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    frozen = gc.get_freeze_count()
    with pytest.raises(ModuleNotFoundError), uncollected_imports():
        import no_such_module  # noqa: F401
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_nothing_is_put_aside_when_tensorflow_was_not_imported_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    frozen = gc.get_freeze_count()
    with uncollected_imports():
        assert not gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_models_made_before_are_still_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    frozen = gc.get_freeze_count()
    with uncollected_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


@pytest.mark.usefixtures("_as_before")
def test_collection_that_is_switched_off_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    gc.disable()
    with uncollected_imports():
        pass
    assert not gc.isenabled()


def test_collections_inside_look_at_new_objects_alone_and_garbage_is_still_found() -> None:
    class Node:
        """Refers to itself."""

    before = gc.get_freeze_count()
    with young_collections():
        assert gc.get_freeze_count() > before + 1_000
        node: Any = Node()
        node.itself, gone = node, weakref.ref(node)
        del node
        gc.collect()
        assert gone() is None
    assert gc.get_freeze_count() == 0
