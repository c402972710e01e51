"""Every notebook runs top to bottom, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


#: How the notebooks ask for their rows.
ROWS = "tweets.sample(1_600,"


@pytest.mark.filterwarnings("ignore")  # those of the Jupyter client, not ours
@pytest.mark.parametrize("rows", ["tweets.sample(240,", pytest.param(ROWS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_top_to_bottom(path: Path, rows: str, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    asking = [cell for cell in notebook.cells if ROWS in cell.source]
    assert asking, "the notebook says how many rows it takes"
    for cell in asking:
        cell.source = cell.source.replace(ROWS, rows)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2, "the learning curve and the confusion matrix"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
