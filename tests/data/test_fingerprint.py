"""The fingerprint of a run's data: other cells, other fingerprint; the same cells, the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tfft.data.read import describe, fingerprint

Read = Callable[..., pd.DataFrame]


def cells(read: Read, text: list[Any], label: list[Any]) -> str:
    """Returns the fingerprint of the cells of a table."""
    frame = pd.DataFrame({"text": text, "label": label})
    return str(fingerprint(frame, read(frame))["cells_sha256"])


def test_file_is_identified_by_name_size_columns_and_bytes(read: Read, tmp_path: Path) -> None:
    content = b"id,text,label\n1,a,x\n2,b,y\n"
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    found = fingerprint(path, read(path))
    assert found.pop("cells_sha256")
    assert found == {
        "source": str(path),
        "rows": 2,
        "columns": ["text", "label"],
        "file_sha256": hashlib.sha256(content).hexdigest(),
    }


def test_reading_again_gives_the_same_fingerprint(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\na,x\nb,y\n")
    assert fingerprint(path, read(path)) == fingerprint(path, read(path))


def test_cells_count_and_not_how_they_are_stored(read: Read, tmp_path: Path) -> None:
    unix, windows = tmp_path / "unix.csv", tmp_path / "windows.csv"
    unix.write_bytes(b"text,label\na,1\n")
    windows.write_bytes(b'label,text\r\n"1",a\r\n')
    first, second = fingerprint(unix, read(unix)), fingerprint(windows, read(windows))
    assert first["cells_sha256"] == second["cells_sha256"] == cells(read, ["a"], [1])
    assert first["file_sha256"] != second["file_sha256"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (["a", "c"], ["x", "y"]),
        (["a", "b "], ["x", "y"]),
        (["b", "a"], ["x", "y"]),
        (["ab", ""], ["x", "y"]),
        (["a", None], ["x", "y"]),
        (["a", "null"], ["x", "y"]),
        (["a", ""], ["x", "y"]),
        (["a", "b", "x"], ["x", "y", "z"]),
        (["x", "y"], ["a", "b"]),
    ],
)
def test_any_other_cell_changes_the_fingerprint(read: Read, text: list[Any], label: list[Any]) -> None:
    assert cells(read, text, label) != cells(read, ["a", "b"], ["x", "y"])


def test_null_blank_and_the_word_null_differ(read: Read) -> None:
    assert len({cells(read, ["a", value], ["x", "y"]) for value in (None, "", "null", "null:")}) == 4


def test_data_in_memory_is_named_by_its_kind() -> None:
    assert describe(pd.DataFrame()) == "<DataFrame>"
    assert describe([]) == "<list>"
    assert describe(Path("a.csv")) == describe("a.csv") == "a.csv"
