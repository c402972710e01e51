"""One entrance for all files: lists, patterns, compression and mixed formats, and names for every row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.read import Reader, Table, describe, expand, find_source, read_table, source_bytes

Rows = list[tuple[str, str]]

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ROWS = st.lists(st.tuples(CELLS, CELLS), max_size=4)


def as_csv(rows: Rows, delimiter: str = ",") -> bytes:
    """Returns rows as the standard library writes them."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    return stream.getvalue().encode()


def as_json_lines(rows: Rows) -> bytes:
    """Returns rows as JSON Lines."""
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows).encode() or b"\n"


def as_json(rows: Rows) -> bytes:
    """Returns rows as one JSON array."""
    return json.dumps([{"label": label, "text": text} for text, label in rows], ensure_ascii=False, indent=1).encode()


def as_parquet(rows: Rows) -> bytes:
    """Returns rows as Arrow writes them."""
    stream = io.BytesIO()
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    pq.write_table(pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()}), stream)
    return stream.getvalue()


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    ".csv": as_csv,
    ".csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    ".tsv": lambda rows: as_csv(rows, "\t"),
    ".jsonl": as_json_lines,
    ".ndjson.gz": lambda rows: gzip.compress(as_json_lines(rows)),
    ".json": as_json,
    ".parquet": as_parquet,
}


def table_of(source: Any, columns: list[str] | None = None) -> Table:
    """Reads a source without saying anything."""
    return read_table(source, columns, encoding="utf-8", console=Console(quiet=True))


def write(folder: Path, **contents: bytes) -> Path:
    """Writes files, named by their stem and an ending after two underscores; returns the folder."""
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


@given(files=st.lists(st.tuples(st.sampled_from(sorted(WRITERS)), ROWS), min_size=2, max_size=5))
@settings(max_examples=60, deadline=None)
def test_files_of_any_kinds_give_all_rows_in_order_with_their_names(
    folder: Path, files: list[tuple[str, Rows]]
) -> None:
    paths = [folder / f"part{place}{ending}" for place, (ending, _) in enumerate(files)]
    for path, (ending, rows) in zip(paths, files, strict=True):
        path.write_bytes(WRITERS[ending](rows))
    every = [row for _, rows in files for row in rows]
    if not every:
        with pytest.raises(DataError, match="has no rows"):
            table_of(paths, ["text", "label"])
        return
    table = table_of(paths, ["text", "label"])
    assert [tuple(row) for row in table.frame.to_numpy().tolist()] == every
    assert table.frame.index.tolist() == list(range(1, len(every) + 1))
    names = [f"{path} row {row + 1}" for path, (_, rows) in zip(paths, files, strict=True) for row in range(len(rows))]
    assert [table.origin.rows([number]) for number in table.frame.index] == names


def test_pattern_reads_its_files_sorted_by_name(tmp_path: Path) -> None:
    write(tmp_path, b__csv=as_csv([("b", "2")]), a__csv=as_csv([("a", "1")]), c__txt=b"no", d__tsv=b"text\tlabel\n")
    table = table_of(str(tmp_path / "*.csv"))
    assert table.frame.to_numpy().tolist() == [["a", "1"], ["b", "2"]]
    assert str(table.origin) == str(tmp_path / "*.csv")
    assert table.origin.rows([1, 2]) == f"{tmp_path}/a.csv row 1, {tmp_path}/b.csv row 1"
    assert table_of(tmp_path / "[ab].csv").frame.to_numpy().tolist() == [["a", "1"], ["b", "2"]]


def test_pattern_reaches_into_folders(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    write(tmp_path / "x" / "y", a__jsonl=as_json_lines([("a", "1")]))
    write(tmp_path / "x", b__jsonl=as_json_lines([("b", "2")]))
    assert table_of(str(tmp_path / "**" / "*.jsonl")).frame["text"].tolist() == ["b", "a"]


def test_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No file matches .*\*\.csv\. The pattern is relative to"):
        Reader(str(tmp_path / "*.csv"), None, encoding="utf-8", console=Console(quiet=True))


def test_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_bytes(as_csv([("a", "1")]))
    (tmp_path / "a1.csv").write_bytes(as_csv([("b", "2")]))
    assert table_of(tmp_path / "a[1].csv").frame["text"].tolist() == ["a"]
    assert table_of(tmp_path / "a[0-9].csv").frame["text"].tolist() == ["b"]


def test_lists_keep_their_order_and_may_hold_patterns(tmp_path: Path) -> None:
    write(tmp_path, a__csv=as_csv([("a", "1")]), b__csv=as_csv([("b", "2")]), c__jsonl=as_json_lines([("c", "3")]))
    source = [str(tmp_path / "c.jsonl"), tmp_path / "[ab].csv"]
    assert table_of(source).frame["text"].tolist() == ["c", "a", "b"]
    assert table_of(tuple(source)).origin.ranges() == [
        {"file": f"{tmp_path}/c.jsonl", "rows": [1, 1]},
        {"file": f"{tmp_path}/a.csv", "rows": [2, 2]},
        {"file": f"{tmp_path}/b.csv", "rows": [3, 3]},
    ]
    assert describe(source) == f"{tmp_path}/c.jsonl and 1 more"


def test_file_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a__csv=as_csv([("a", "1")]))
    with pytest.raises(DataError, match=r"a\.csv is given more than once"):
        table_of([tmp_path / "a.csv", str(tmp_path / "*.csv")])


def test_many_files_are_found_at_once(tmp_path: Path) -> None:
    names = [f"{number:05}.csv" for number in range(5_000)]
    start = time.process_time()
    assert expand(names) == [Path(name) for name in names]
    assert time.process_time() - start < 2


def test_error_in_one_of_many_files_names_the_file_and_its_own_row(tmp_path: Path) -> None:
    write(tmp_path, a__csv=as_csv([("a", "1")] * 10), b__csv=b"text,label\na,1\nb\n", c__jsonl=b'{"text": 1')
    with pytest.raises(DataError, match=r"b\.csv, row 2: 1 fields, but the header has 2"):
        table_of(str(tmp_path / "*.csv"))
    with pytest.raises(DataError, match=r"c\.jsonl, row 1: not valid JSON"):
        table_of([tmp_path / "a.csv", tmp_path / "c.jsonl"])


def test_every_file_needs_the_columns_asked_for(tmp_path: Path) -> None:
    write(tmp_path, a__csv=as_csv([("a", "1")]), b__csv=b"text,Label\nb,2\n")
    with pytest.raises(DataError, match=r"b\.csv has no column 'label'\. Did you mean 'Label'\?"):
        table_of(str(tmp_path / "*.csv"), ["text", "label"])


def test_columns_that_only_some_files_have_are_null_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, a__csv=b"text,id\na,1\n", b__jsonl=b'{"text": "b", "words": ["c"]}\n')
    frame = table_of([tmp_path / "a.csv", tmp_path / "b.jsonl"]).frame
    assert list(frame.columns) == ["text", "id", "words"]
    assert frame.to_numpy().tolist() == [["a", "1", None], ["b", None, ["c"]]]


def test_reading_again_gives_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path, a__csv=as_csv([("a", "1")] * 3), b__parquet=as_parquet([("b", "2")] * 2))
    reader = Reader(
        [tmp_path / "a.csv", tmp_path / "b.parquet"], ["text"], encoding="utf-8", console=Console(quiet=True)
    )
    first, second = list(reader), list(reader)
    assert first == second
    assert [chunk.first_row for chunk in first] == [1, 4]
    assert reader.origin.ranges()[1] == {"file": f"{tmp_path}/b.parquet", "rows": [4, 5]}


def test_reading_may_stop_early_and_closes_the_file(tmp_path: Path) -> None:
    write(tmp_path, a__csv=as_csv([("a", "1")] * 20_000))
    chunks = iter(Reader(tmp_path / "a.csv", None, encoding="utf-8", console=Console(quiet=True)))
    assert next(chunks).first_row == 1
    del chunks  # an open file would warn, and warnings are errors


def test_size_on_disk_is_that_of_all_files(tmp_path: Path) -> None:
    write(tmp_path, a__csv=b"text\na\n", b__csv=b"text\nbb\n")
    assert source_bytes(str(tmp_path / "*.csv")) == 7 + 8
    assert source_bytes(pd.DataFrame()) is None


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.parquet", "reviews.jsonl.gz", "reviews.conll"])
def test_missing_file_is_answered_with_the_nearest(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    wrong = tmp_path / name.replace("reviews", "review")
    with pytest.raises(DataError, match=rf"{wrong.name} does not exist\. Did you mean .*{name}\?"):
        table_of(wrong)


@pytest.mark.parametrize("source", [3, None, object(), b"a.csv", {1, 2}])
def test_source_of_no_known_kind_is_refused(source: Any) -> None:
    with pytest.raises(DataError, match="Cannot read data from a"):
        find_source(source)


def test_file_sources_say_the_endings_they_read() -> None:
    with pytest.raises(DataError) as caught:
        find_source(Path(__file__))
    for ending in (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".conllu", ".bio"):
        assert re.search(rf" \{ending}[,;]", str(caught.value))
