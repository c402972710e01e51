"""The layering rule: imports go down, siblings are strangers, there are no cycles."""

from __future__ import annotations

import graphlib
import subprocess
import sys
from pathlib import Path

import grimp


def test_the_layer_contracts_hold(project: Path) -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_there_are_no_import_cycles() -> None:
    graph = grimp.build_graph("tfft", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 40
    tuple(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, with the cycle


def test_modules_of_an_extension_folder_share_only_their_base() -> None:
    graph = grimp.build_graph("tfft", exclude_type_checking_imports=True, cache_dir=None)
    for folder in (
        "tfft.tasks",
        "tfft.heads",
        "tfft.data.sources",
        "tfft.export",
        "tfft.augment",
        "tfft.quality.detectors",
        "tfft.training.loggers",
        "tfft.objectives",
    ):
        for module in graph.find_children(folder):
            siblings = {name for name in graph.find_modules_directly_imported_by(module) if name.startswith(folder)}
            allowed = {f"{folder}.base", *(name for name in siblings if name.rsplit(".", 1)[1].startswith("_"))}
            assert siblings <= allowed, f"{module} imports {siblings - allowed}"
