"""Registries: lazy folders, the user's own objects, and names that are wrong or taken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfft.core.errors import ConfigError
from tfft.core.registry import Registry

PACKAGE = "registered_shapes"
FILES = {
    "__init__.py": "",
    "base.py": "from tfft.core.registry import Registry\nshapes = Registry('shape', 'registered_shapes')\n",
    "circle.py": "from registered_shapes.base import shapes\nshapes.register('circle')('round')\n",
    "broken.py": "raise RuntimeError('imported')\n",
    "_private.py": "raise RuntimeError('imported')\n",
}


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[object]]:
    """A registry whose folder holds a module that registers and others that must not be imported."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_text(content, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    from registered_shapes.base import shapes  # type: ignore[import-not-found]

    yield shapes
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_lookup_imports_only_the_module_of_that_name(shapes: Registry[object]) -> None:
    assert shapes.get("circle") == "round"
    assert f"{PACKAGE}.circle" in sys.modules
    assert f"{PACKAGE}.broken" not in sys.modules


def test_listing_names_imports_nothing_and_leaves_out_base_and_private_modules(shapes: Registry[object]) -> None:
    assert shapes.names() == list(shapes) == ["broken", "circle"]
    assert "circle" in shapes
    assert "base" not in shapes
    assert {f"{PACKAGE}.circle", f"{PACKAGE}.broken"}.isdisjoint(sys.modules)


def test_objects_of_the_user_stand_beside_those_of_the_folder(shapes: Registry[object]) -> None:
    @shapes.register("square")
    def square() -> None: ...

    assert shapes.get("square") is square
    assert shapes.names() == ["broken", "circle", "square"]


def test_unknown_name_is_answered_with_the_nearest(shapes: Registry[object]) -> None:
    with pytest.raises(ConfigError, match=r"Unknown shape 'circel'. Did you mean 'circle'\? Known: 'broken', 'circle'"):
        shapes.get("circel")


def test_base_and_private_modules_cannot_be_looked_up(shapes: Registry[object]) -> None:
    for name in ("base", "_private", "os"):
        with pytest.raises(ConfigError, match=f"Unknown shape '{name}'"):
            shapes.get(name)


def test_a_name_is_given_only_once() -> None:
    registry: Registry[object] = Registry("head")
    first = object()
    assert registry.register("linear")(first) is first
    registry.register("linear")(first)
    with pytest.raises(ConfigError, match="The head 'linear' is registered already"):
        registry.register("linear")(object())
    assert registry.get("linear") is first
