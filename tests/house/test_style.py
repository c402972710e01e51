"""House rules that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[2] / "tfft").rglob("*.py"))
MOST_LINES = 400


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(path.parents[2])))
def test_module_is_short_and_well_named(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES
    assert not re.fullmatch(r"(utils?|helpers?|misc|common|manager)", path.stem)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(path.parents[2])))
def test_module_neither_pickles_nor_asserts_nor_executes(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise a typed error instead"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "dill", "cloudpickle", "joblib"}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "keras.layers.Lambda", "layers.Lambda"}


def test_the_architecture_page_names_every_folder(project: Path) -> None:
    page = (project / "ARCHITECTURE.md").read_text("utf-8")
    folders = {path.name for path in (project / "tfft").iterdir() if path.is_dir() and not path.name.startswith("_")}
    missing = sorted(name for name in folders if f"{name}/" not in page)
    assert not missing, f"ARCHITECTURE.md says nothing of {missing}"
