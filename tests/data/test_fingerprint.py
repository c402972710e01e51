"""The fingerprint of a run's data: other cells, other fingerprint; the same cells, the same one, however they come."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.data.origin import Origin
from tfft.data.read import Fingerprint, Table, describe, fingerprint, read_table

CELLS = st.one_of(st.none(), st.text(max_size=3), st.sampled_from(["null", "null:", "1:a", "\udcff"]))


def table_of(source: Any) -> Table:
    """Reads text and label."""
    return read_table(source, ("text", "label"), encoding="utf-8", console=Console(quiet=True))


def found_in(source: Any) -> dict[str, Any]:
    """Returns the fingerprint of a source."""
    return fingerprint(source, table_of(source))


def cells(text: list[Any], label: list[Any]) -> str:
    """Returns the fingerprint of cells alone."""
    found = Fingerprint()
    found.update({"text": text, "label": label})
    return str(found.to_dict({}, Origin("<dict>"))["cells_sha256"])


def test_file_is_identified_by_name_size_columns_and_bytes(tmp_path: Path) -> None:
    content = b"id,text,label\n1,a,x\n2,b,y\n"
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    found = found_in(path)
    assert found.pop("cells_sha256")
    assert found == {
        "source": str(path),
        "rows": 2,
        "columns": ["text", "label"],
        "file_sha256": hashlib.sha256(content).hexdigest(),
    }


def test_files_are_identified_each_with_its_rows(tmp_path: Path) -> None:
    contents = {"a.csv": b"text,label\na,x\nb,y\n", "b.csv": b"text,label\nc,z\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    source = str(tmp_path / "*.csv")
    found = found_in(source)
    assert found.pop("cells_sha256") == cells(["a", "b", "c"], ["x", "y", "z"])
    assert found == {
        "source": source,
        "rows": 3,
        "columns": ["text", "label"],
        "files_sha256": {
            str(tmp_path / name): hashlib.sha256(content).hexdigest() for name, content in contents.items()
        },
        "files": [
            {"file": str(tmp_path / "a.csv"), "rows": [1, 2]},
            {"file": str(tmp_path / "b.csv"), "rows": [3, 3]},
        ],
    }


def test_reading_again_gives_the_same_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\na,x\nb,y\n")
    assert found_in(path) == found_in(path)


def test_cells_count_and_not_how_they_are_stored(tmp_path: Path) -> None:
    unix, windows, lines = tmp_path / "unix.csv", tmp_path / "windows.csv", tmp_path / "a.jsonl"
    unix.write_bytes(b"text,label\na,1\n")
    windows.write_bytes(b'label,text\r\n"1",a\r\n')
    lines.write_bytes(b'{"label": 1, "text": "a"}\n')
    first, second = found_in(unix), found_in(windows)
    assert first["cells_sha256"] == second["cells_sha256"] == cells(["a"], ["1"])
    assert first["file_sha256"] != second["file_sha256"]
    for source in (lines, pd.DataFrame({"text": ["a"], "label": [1]}), [("a", 1)], {"label": ["1"], "text": ["a"]}):
        assert found_in(source)["cells_sha256"] == first["cells_sha256"]


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20), sizes=st.lists(st.integers(0, 7), max_size=5))
@settings(max_examples=80, deadline=None)
def test_chunks_of_any_size_give_the_fingerprint_of_the_whole(rows: list[tuple[Any, Any]], sizes: list[int]) -> None:
    text, label = (list(column) for column in zip(*rows, strict=True))
    found, start = Fingerprint(), 0
    for size in [*sizes, len(rows)]:
        found.update({"text": text[start : start + size], "label": label[start : start + size]})
        start += size
    plain = found.to_dict({}, Origin("<dict>"))
    assert plain["cells_sha256"] == cells(text, label)
    assert plain["rows"] == len(rows)


@given(
    one=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4),
    other=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_two_tables_have_one_fingerprint_only_if_they_are_equal(
    one: list[tuple[Any, Any]], other: list[tuple[Any, Any]]
) -> None:
    first, second = (cells(*(list(column) for column in zip(*rows, strict=True))) for rows in (one, other))
    assert (first == second) == (one == other)


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
def test_any_other_cell_changes_the_fingerprint(text: list[Any], label: list[Any]) -> None:
    assert cells(text, label) != cells(["a", "b"], ["x", "y"])


@pytest.mark.parametrize(
    "values",
    [
        (None, "", "null", "null:"),
        (["a", "b"], ["ab"], ["a", ["b"]], [["a"], "b"], [], [None], ["null:"]),
        (["a"], "a", "1:a", ["1:a"], "3:1:a"),
        (
            np.zeros((2, 3), np.uint8),
            np.zeros((3, 2), np.uint8),
            np.zeros((2, 3), np.int8),
            np.ones((2, 3), np.uint8),
            "uint8(2, 3)" + "\0" * 6,
        ),
    ],
    ids=["null", "lists", "lists and text", "arrays"],
)
def test_cells_of_different_kinds_differ_even_when_spelled_alike(values: tuple[Any, ...]) -> None:
    assert len({cells(["a", value], ["x", "y"]) for value in values}) == len(values)


def test_names_of_columns_count() -> None:
    found = []
    for name in ("text", "review"):
        one = Fingerprint()
        one.update({name: ["a"]})
        found.append(one.to_dict({}, Origin("<dict>"))["cells_sha256"])
    assert found[0] != found[1]


def test_data_in_memory_is_named_by_its_kind() -> None:
    assert describe(pd.DataFrame()) == "<DataFrame>"
    assert describe([]) == "<list>"
    assert describe(Path("a.csv")) == describe("a.csv") == "a.csv"
    assert describe(["a.csv"]) == "a.csv"
    assert describe(["a.csv", Path("b.csv"), "c.csv"]) == "a.csv and 2 more"
