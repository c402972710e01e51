"""`tfft.inspect`: what is there, in figures that brute force gives too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfft
from tfft.inspection import MOST_DISTINCT, ColumnSummary

CELLS = st.lists(st.one_of(st.none(), st.text(max_size=30), st.integers().map(str), st.lists(st.text(), max_size=3)))


@given(cells=CELLS, cut=st.integers(0, 20))
@settings(max_examples=150, deadline=None)
def test_a_column_is_summarised_as_brute_force_does(cells: list[Any], cut: int) -> None:
    summary = ColumnSummary("x")
    summary.add(cells[:cut])
    summary.add(cells[cut:])
    used = [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]
    assert (summary.rows, summary.null) == (len(cells), cells.count(None))
    assert summary.blank == len(cells) - summary.null - len(used)
    lengths = summary.lengths()
    if not used:
        assert lengths is None
        return
    own = [len(cell) for cell in used]
    assert lengths is not None
    assert (lengths["min"], lengths["max"]) == (min(own), max(own))
    exact = np.quantile(own, 0.5, method="inverted_cdf")
    assert exact <= lengths["median"] <= exact * 1.01 + 1
    if all(isinstance(cell, str) for cell in used):
        assert summary.distinct == str(len({cell.strip() for cell in used}))


def test_too_many_values_are_no_categories() -> None:
    summary = ColumnSummary("x")
    summary.add([f"value {number}" for number in range(MOST_DISTINCT + 1)])
    assert summary.counts is None
    assert summary.distinct == "> 1,000"


def test_files_rows_labels_and_first_rows_are_shown(tmp_path: Path) -> None:
    for name, rows in (("a", 3), ("b", 2)):
        lines = "".join(f"{name}{row},{'xy'[row % 2]}\n" for row in range(rows))
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{lines}")
    found = tfft.inspect(str(tmp_path / "*.csv"), rows=4, quiet=True)
    assert found.rows == 5
    assert [(Path(part["file"]).name, part["rows"]) for part in found.files] == [("a.csv", [1, 3]), ("b.csv", [4, 5])]
    assert found.labels == {"x": 3, "y": 2}
    assert [row["text"] for row in found.first_rows] == ["a0", "a1", "a2", "b0"]
    assert json.loads(json.dumps(found.to_dict()))["labels"] == {"x": 3, "y": 2}


def test_a_column_that_is_not_there_is_said_with_the_nearest(tmp_path: Path) -> None:
    found = tfft.inspect({"txt": ["a"], "label": ["b"]}, quiet=True)
    assert found.text_column is None
    assert "text_column='txt'" in str(found)


def test_cells_cannot_break_the_table() -> None:
    shown = str(
        tfft.inspect({"text": ["[bold]x[/bold]\n\x1b[31m" + "y" * 200, "\udce9"], "label": ["[a]", "b"]}, quiet=True)
    )
    assert "[bold]x[/bold]\\n\\x1b[31m" in shown
    assert "\x1b" not in shown
    assert "[a]" in shown


def test_quality_reports_whatever_the_policies(opinions: pd.DataFrame) -> None:
    twice = pd.concat([opinions, opinions.head(3).assign(label="bad")])
    twice.iloc[5, 0] = None
    found = tfft.inspect(twice, quality=True, quiet=True)
    assert found.quality is not None
    conflicts = found.quality["conflicting_labels"]
    assert conflicts is not None
    assert len(conflicts.positions) == 6
    assert "conflicting_labels" in str(found)


def test_lengths_are_in_tokens_with_a_preset(opinions: pd.DataFrame, tiny_preset: str) -> None:
    long = opinions.assign(text=[text + " film" * 30 * (row == 4) for row, text in enumerate(opinions["text"])])
    found = tfft.inspect(long, quality=True, preset=tiny_preset, quiet=True)
    assert found.quality is not None
    lengths = found.quality["lengths"]
    assert lengths is not None
    assert lengths.details["max"] == 36  # [CLS], 4 + 30 words, [SEP]
    assert len(lengths.positions) == 1


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_folders_of_media_can_be_inspected(kind: str, tmp_path: Path) -> None:
    import io
    import wave

    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        if kind == "image":
            import tensorflow as tf

            (tmp_path / label / "1.png").write_bytes(tf.io.encode_png(np.zeros((2, 2, 3), np.uint8)).numpy())
        else:
            stream = io.BytesIO()
            with wave.open(stream, "wb") as sound:
                sound.setparams((1, 2, 8000, 4, "NONE", ""))
                sound.writeframes(b"\0" * 8)
            (tmp_path / label / "1.wav").write_bytes(stream.getvalue())
    found = tfft.inspect(str(tmp_path), quiet=True)
    assert found.labels == {"cat": 1, "dog": 1}
    assert list(found.columns) == [kind, "label"]
