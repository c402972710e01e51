"""Every row is used, or is counted with the reason why not; in memory and on disk alike."""

from __future__ import annotations

import dataclasses
import gc
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.cell_faults import Policy
from tfft.data.origin import Origin
from tfft.data.read import Fingerprint, NumberedChunk, Reader, fingerprint, read_table
from tfft.data.row_store import CodedLabels, StoredTexts
from tfft.data.schema import HowToRead, TextExamples, label_numbers, label_vocabulary, text_examples

Cell = str | None
Row = tuple[Cell, Cell]

REPLACED = "\ufffd"


@dataclasses.dataclass
class Chunks:
    """A source in chunks of chosen sizes."""

    columns: Mapping[str, list[Any]]
    sizes: Sequence[int] = ()
    name: str = "reviews.csv"

    @property
    def total(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values())))

    @property
    def origin(self) -> Origin:
        """One file."""
        return Origin(self.name, ((self.name, self.total),))

    def __iter__(self) -> Iterator[NumberedChunk]:
        """Yields chunks; the last takes what is left."""
        start = 0
        for size in [*self.sizes, self.total]:
            chunk = {name: cells[start : start + size] for name, cells in self.columns.items()}
            if len(next(iter(chunk.values()))):
                yield NumberedChunk(chunk, start + 1)
            start += size


def take(
    rows: Sequence[Row],
    missing: Policy = "report",
    undecodable: Policy = "fail",
    stream: io.StringIO | None = None,
    sizes: Sequence[int] = (),
    keys: Sequence[Cell] | None = None,
    labelled: bool = True,
    **how: Any,
) -> TextExamples:
    """Takes examples from rows numbered from 1."""
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    if keys is not None:
        columns["author"] = list(keys)
        how["key_column"] = "author"
    reader: Any = Chunks(columns, sizes)
    return text_examples(
        reader,
        text_column="text",
        label_column="label" if labelled else None,
        how=HowToRead(policies={"missing": missing, "undecodable": undecodable}, **how),
        console=Console(stream=stream or io.StringIO()),
    )


def labelled(labels: Sequence[str], **how: Any) -> TextExamples:
    """Returns examples with the given labels."""
    return take([("text", label) for label in labels], **how)


MIXED: list[Row] = [
    ("first", " good "),
    (None, "good"),
    ("", "good"),
    (" \t\n\u3000", "bad"),
    ("fifth ", "bad\n"),
    ("sixth", None),
    ("seventh", "  "),
    (None, None),
    ("", ""),
]
COUNTS = (
    "2 with null text (rows 2, 8); 3 with blank text (rows 3, 4, 9); 1 with null label (row 6); "
    "1 with blank label (row 7)"
)

# Missing cells


def test_failing_names_each_reason_with_its_count_and_first_rows() -> None:
    with pytest.raises(DataError) as caught:
        take(MIXED, "fail")
    assert str(caught.value).startswith(f"reviews.csv: {COUNTS}. ")
    assert "quality={'missing': 'drop'}" in str(caught.value)


def test_failing_lists_only_the_first_of_many_rows() -> None:
    with pytest.raises(DataError, match=r"7 with null text \(rows 2, 3, 4, 5, 6 and 2 more\)\. "):
        take([("a", "x"), *[(None, "x")] * 7], "fail")


@pytest.mark.parametrize("policy", ["report", "drop"])
def test_rows_without_text_or_label_are_left_out_recorded_once_and_said(policy: Policy) -> None:
    stream = io.StringIO()
    examples = take(MIXED, policy, stream=stream)
    assert examples.texts == ["first", "fifth "]
    assert examples.labels == ["good", "bad"]
    assert examples.rows.tolist() == [1, 5]
    assert examples.dropped == {
        "null text": [2, 8],
        "blank text": [3, 4, 9],
        "null label": [6],
        "blank label": [7],
    }
    assert stream.getvalue() == f"reviews.csv: left out 7 of 9 rows: {COUNTS}\n"


def test_row_with_two_faults_is_counted_once_under_the_first() -> None:
    assert take([("a", "x"), (None, None), ("", None)]).dropped == {"null text": [2], "blank text": [3]}


@pytest.mark.parametrize("policy", ["fail", "drop", "report"])
def test_good_rows_are_taken_without_a_word(policy: Policy) -> None:
    stream = io.StringIO()
    examples = take([("NA", "null"), ("b", "0")], policy, policy, stream)
    assert (examples.texts, examples.labels, examples.dropped) == (["NA", "b"], ["null", "0"], {})
    assert stream.getvalue() == ""


def test_labels_do_not_matter_when_only_texts_are_wanted() -> None:
    examples = take([("a", None), ("b", "")], "fail", labelled=False)
    assert (examples.texts, list(examples.labels), examples.rows.tolist()) == (["a", "b"], [], [1, 2])


def test_row_without_a_key_is_left_out_too() -> None:
    examples = take([("a", "x"), ("b", "y"), ("c", "z")], keys=["ann", None, " bob "])
    assert (examples.texts, examples.keys, examples.dropped) == (["a", "c"], ["ann", "bob"], {"null author": [2]})


# Cells that are not Unicode


#: Half a surrogate pair, and the byte 0xFF, with how they are quoted.
BROKEN = [
    ("text", ("b\ud83d", "y"), r"'b\ud83d'"),
    ("label", ("b", "y\ud83d"), r"'y\ud83d'"),
    ("text", ("b\udcff", "y"), r"'b\xff'"),
]


@pytest.mark.parametrize(("column", "row", "quote"), BROKEN)
def test_undecodable_cell_fails_with_row_quote_and_advice(column: str, row: Row, quote: str) -> None:
    rows: list[Row] = [("a", "x"), row, ("c", "x")]
    with pytest.raises(DataError) as caught:
        take(rows)
    assert str(caught.value).startswith(f"reviews.csv: 1 with undecodable {column} (row 2), such as {quote}. ")
    assert "encoding='latin-1'" in str(caught.value)
    assert "quality={'undecodable': 'drop'}" in str(caught.value)


@pytest.mark.parametrize(("column", "row", "quote"), BROKEN)
def test_undecodable_cell_is_dropped_or_replaced_as_told(column: str, row: Row, quote: str) -> None:
    rows: list[Row] = [("a", "x"), row, ("c", "x")]
    stream = io.StringIO()
    dropped = take(rows, undecodable="drop", stream=stream)
    assert dropped.texts == ["a", "c"]
    assert dropped.dropped == {f"undecodable {column}": [2]}
    assert "left out 1 of 3 rows: 1 with undecodable" in stream.getvalue()

    stream = io.StringIO()
    kept = take(rows, undecodable="report", stream=stream)
    assert kept.dropped == {}
    assert kept.rows.tolist() == [1, 2, 3]
    shown = kept.texts[1] if column == "text" else kept.labels[1]
    assert shown == f"{'b' if column == 'text' else 'y'}{REPLACED}"
    assert f"1 with undecodable {column} (row 2), such as {quote}" in stream.getvalue()
    assert "U+FFFD" in stream.getvalue()


def test_only_the_first_undecodable_cells_are_quoted_and_only_what_stands_around_the_fault() -> None:
    rows: list[Row] = [(f"{'before ' * 100}here\udcff now {'after ' * 100}", "x") for _ in range(9)]
    with pytest.raises(DataError) as caught:
        take(rows)
    assert str(caught.value).count(r"here\xff now") == 3
    assert len(str(caught.value)) < 600


# Every row is accounted for


CELLS = st.one_of(
    st.none(), st.sampled_from(["", " ", "\u3000\n", "a", "b ", "c\udcff", "\ud800"]), st.text(max_size=4)
)


def expected(rows: list[Row], undecodable: Policy) -> tuple[dict[int, tuple[str, str]], dict[str, list[int]]]:
    """Returns the rows to keep, by number, and those to leave out, by reason; each cell looked at by itself."""
    kept: dict[int, tuple[str, str]] = {}
    dropped: dict[str, list[int]] = {}
    for number, row in enumerate(rows, 1):
        reasons = []
        for name, cell in zip(("text", "label"), row, strict=True):
            if cell is None or not cell.strip():
                reasons.append(f"{'null' if cell is None else 'blank'} {name}")
            elif undecodable == "drop" and any("\ud800" <= letter <= "\udfff" for letter in cell):
                reasons.append(f"undecodable {name}")
        if reasons:
            dropped.setdefault(reasons[0], []).append(number)
        else:
            text, label = (
                "".join(REPLACED if "\ud800" <= letter <= "\udfff" else letter for letter in str(cell)) for cell in row
            )
            kept[number] = (text, label.strip())
    return kept, dropped


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=20), undecodable=st.sampled_from(["drop", "report"]))
@settings(max_examples=80, deadline=None)
def test_every_row_is_kept_or_left_out_for_its_first_fault(rows: list[Row], undecodable: Policy) -> None:
    rows = [*rows, ("last", "label")]
    kept, dropped = expected(rows, undecodable)
    examples = take(rows, "drop", undecodable)
    assert examples.dropped == dropped
    assert examples.rows.tolist() == list(kept)
    assert list(zip(examples.texts, examples.labels, strict=True)) == list(kept.values())
    assert len(examples) == len(kept)


# On disk


def outcome(rows: list[Row], stream: io.StringIO, **options: Any) -> Any:
    """Returns everything that reading gives, as plain data."""
    try:
        examples = take(rows, stream=stream, **options)
    except DataError as error:
        return str(error)
    assert examples.streamed == (options.get("cache_dir") is not None)
    return (
        list(examples.texts),
        list(examples.labels),
        list(examples.keys),
        examples.rows.tolist(),
        examples.dropped,
        examples.where,
        len(examples),
    )


POLICIES = st.sampled_from(["report", "drop", "fail"])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where streamed rows are kept."""
    return tmp_path_factory.mktemp("rows")


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=20),
    missing=POLICIES,
    undecodable=POLICIES,
    sizes=st.lists(st.integers(0, 7), max_size=5),
    keyed=st.booleans(),
    labelled=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_rows_on_disk_are_the_rows_in_memory_down_to_every_word_said(
    directory: Path,
    rows: list[tuple[Cell, Cell, Cell]],
    missing: Policy,
    undecodable: Policy,
    sizes: list[int],
    keyed: bool,
    labelled: bool,
) -> None:
    pairs = [(text, label) for text, label, _ in [*rows, ("good", "good", "good")]]
    options: dict[str, Any] = {"missing": missing, "undecodable": undecodable, "labelled": labelled, "sizes": sizes}
    options["keys"] = [*[key for _, _, key in rows], "good"] if keyed else None
    memory, disk = io.StringIO(), io.StringIO()
    one = outcome(pairs, memory, **options)
    assert outcome(pairs, disk, cache_dir=directory, **options) == one
    assert disk.getvalue() == memory.getvalue()
    assert list(directory.iterdir()) == []


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=20), sizes=st.lists(st.integers(0, 7), max_size=5))
@settings(max_examples=80, deadline=None)
def test_chunks_of_any_size_give_the_same_examples(rows: list[Row], sizes: list[int]) -> None:
    rows = [*rows, ("good", "good")]
    found = [outcome(rows, io.StringIO(), undecodable="drop", sizes=chunks) for chunks in ([], sizes, [1] * 30)]
    assert found[0] == found[1] == found[2]


@given(
    labels=st.lists(st.sampled_from(["10", "9", " 9", "-1", "1e1", "b", "a"]), min_size=2, max_size=20), data=st.data()
)
@settings(max_examples=80, deadline=None)
def test_labels_of_any_part_get_the_same_numbers_on_disk(
    directory: Path, labels: list[str], data: st.DataObject
) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=1, max_size=20)))
    memory, disk = labelled(labels).take(positions), labelled(labels, cache_dir=directory).take(positions)
    assert isinstance(disk.labels, CodedLabels)
    if len(set(memory.labels)) == 1:
        with pytest.raises(DataError, match="every row has the label"):
            label_vocabulary(disk)
        return
    classes = label_vocabulary(memory)
    assert label_vocabulary(disk) == classes
    found = label_numbers(disk, classes)
    assert found.tolist() == [classes.index(labels[row].strip()) for row in positions]
    assert found.dtype == np.int64


@given(rows=st.lists(st.tuples(st.text("ab", min_size=1), st.sampled_from("xy")), min_size=1), data=st.data())
@settings(max_examples=60, deadline=None)
def test_taking_positions_keeps_what_belongs_to_the_row(directory: Path, rows: list[Row], data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    keys = [f"key {number}" for number in range(len(rows))]
    for cache_dir in (None, directory):
        whole = take(rows, keys=keys, cache_dir=cache_dir)
        part = whole.take(np.array(positions)).take(np.arange(len(positions))[::-1])
        wanted = positions[::-1]
        assert list(part.texts) == [rows[row][0] for row in wanted]
        assert list(part.labels) == [rows[row][1] for row in wanted]
        assert list(part.keys) == [keys[row] for row in wanted]
        assert part.rows.tolist() == [row + 1 for row in wanted]
        assert part.streamed == whole.streamed


def test_a_streamed_source_that_is_refused_is_left_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda problem: complaints.append(repr(problem.exc_value)))
    with pytest.raises(DataError):
        take([("a", "x"), (None, "x")], "fail", cache_dir=tmp_path)
    gc.collect()
    assert complaints == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_left_is_an_error(directory: Path, streamed: bool) -> None:
    with pytest.raises(DataError, match="no row is left"):
        take([(None, "x"), ("", "x")], cache_dir=directory if streamed else None)
    gc.collect()


# What else happens on the way


@pytest.mark.parametrize("streamed", [False, True])
def test_texts_alone_are_cleaned_after_bad_rows_are_left_out(directory: Path, streamed: bool) -> None:
    seen = []

    def clean(text: str) -> str:
        seen.append(text)
        return text.replace("ann", "<name>")

    rows: list[Row] = [("ann said", "ann"), ("", "x"), ("bob", "x"), ("ann\udcff", "x")]
    cache_dir = directory if streamed else None
    examples = take(rows, undecodable="report", keys=["ann"] * 4, clean=clean, cache_dir=cache_dir)
    assert list(examples.texts) == ["<name> said", "bob", f"<name>{REPLACED}"]
    assert list(examples.labels) == ["ann", "x", "x"]
    assert list(examples.keys) == ["ann"] * 3
    assert seen == ["ann said", "bob", f"ann{REPLACED}"]


def test_the_fingerprint_is_that_of_all_cells_as_they_were_read() -> None:
    source = {"text": ["a", None, " b ", "c\udcff"], "label": ["x", "y", "y", " x"]}
    console = Console(quiet=True)
    found = Fingerprint()
    how = HowToRead(policies={"missing": "drop", "undecodable": "drop"}, clean=str.upper, fingerprint=found)
    reader = Reader(source, ("text", "label"), encoding="utf-8", console=console)
    examples = text_examples(reader, text_column="text", label_column="label", how=how, console=console)
    whole = read_table(source, ("text", "label"), encoding="utf-8", console=console)
    assert found.to_dict(source, examples.where) == fingerprint(source, whole)
    assert found.to_dict(source, examples.where)["rows"] == 4


def test_faults_of_several_files_are_named_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,y\n", "utf-8")
    (tmp_path / "b.csv").write_text('label,text\nx,c\nx,""\ny,d\n', "utf-8")
    source = [tmp_path / "a.csv", tmp_path / "b.csv"]
    stream = io.StringIO()
    reader = Reader(source, ("text", "label"), encoding="utf-8", console=Console(quiet=True))
    examples = text_examples(
        reader, text_column="text", label_column="label", how=HowToRead(), console=Console(stream=stream)
    )
    assert examples.texts == ["a", "b", "c", "d"]
    assert examples.rows.tolist() == [1, 2, 3, 5]
    assert examples.dropped == {"blank text": [4]}
    assert f"1 with blank text ({tmp_path / 'b.csv'} row 2)" in stream.getvalue()
    assert examples.name_rows(np.array([3, 0])) == f"{tmp_path / 'b.csv'} row 3, {tmp_path / 'a.csv'} row 1"


@pytest.mark.parametrize(
    ("text", "label", "words"),
    [
        (["a", "tokens"], "x", "'text' holds a list, which cannot be a text"),
        (np.zeros((2, 3)), "x", r"'text' holds an array of shape \(2, 3\), which cannot be a text"),
        ("a", ["B", "I"], "'label' holds a list, which cannot be a label"),
    ],
)
def test_cells_of_another_kind_are_refused_with_their_row(text: Any, label: Any, words: str) -> None:
    with pytest.raises(DataError, match=rf"reviews\.csv, row 3: {words}"):
        take([("a", "x"), ("b", "y"), (text, label)], sizes=[2])


# Joined with another source


def test_joined_rows_follow_the_first_source_and_keep_their_names() -> None:
    first = take([("a", "x"), ("", "y"), ("b", "y"), ("c", "x")]).take(np.array([0, 2]))
    columns = {"text": ["d", "e"], "label": ["y", "x"]}
    made: Any = Chunks(columns, name="made.csv")
    second = text_examples(made, text_column="text", label_column="label", how=HowToRead(), console=Console(quiet=True))
    both = first.joined(second)
    assert list(both.texts) == ["a", "c", "d", "e"]
    assert list(both.labels) == ["x", "x", "y", "x"]
    assert both.rows.tolist() == [1, 4, 5, 6]
    assert both.name_rows(np.arange(4)) == "reviews.csv row 1, reviews.csv row 4, made.csv row 1, made.csv row 2"
    assert len(both) == 4


def test_a_part_of_joined_rows_can_be_taken_when_a_key_decided_the_split() -> None:
    first = take([("a", "x"), ("b", "y")], keys=["ann", "bob"])
    part = first.joined(take([("c", "x"), ("d", "y")])).take(np.array([0, 3]))
    assert list(part.texts) == ["a", "d"]
    assert list(part.labels) == ["x", "y"]
    assert part.rows.tolist() == [1, 4]


# Labels


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "10", "-1", "2.5"], ["-1", "2.5", "9", "10"]),
        (["b", "a", "c", "a"], ["a", "b", "c"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["1", "1.0", "0"], ["0", "1", "1.0"]),
        (["10", "nan", "9"], ["10", "9", "nan"]),
    ],
)
def test_vocabulary_is_in_numeric_or_else_alphabetical_order(
    directory: Path, labels: list[str], expected: list[str]
) -> None:
    assert label_vocabulary(labelled(labels)) == expected
    assert label_vocabulary(labelled(labels, cache_dir=directory)) == expected


def test_one_class_is_not_enough() -> None:
    with pytest.raises(DataError, match=r"reviews\.csv: every row has the label 'good'; .*label_column"):
        label_vocabulary(labelled(["good", " good"]))


def test_a_label_of_another_split_is_not_in_the_vocabulary_of_this_one(directory: Path) -> None:
    part = labelled(["a", "b", "c", "b"], cache_dir=directory).take(np.array([3, 2]))
    assert label_vocabulary(part) == ["b", "c"]


def test_labels_become_their_place_in_the_vocabulary() -> None:
    numbers = label_numbers(labelled(["b", "a", "c", "b"]), ["c", "b", "a"])
    assert numbers.tolist() == [1, 2, 0, 1]
    assert numbers.dtype == np.int64


@pytest.mark.parametrize("streamed", [False, True])
def test_unseen_label_is_named_with_its_row_and_the_nearest(directory: Path, streamed: bool) -> None:
    rows: list[Row] = [("", "x"), ("a", "good"), ("b", "goood"), ("c", "goood")]
    examples = take(rows, cache_dir=directory if streamed else None)
    with pytest.raises(DataError, match=r"reviews\.csv, row 3: Unknown label 'goood'\. Did you mean 'good'\?"):
        label_numbers(examples, ["bad", "good"])


def test_streamed_texts_are_on_disk_and_labels_are_numbers(directory: Path) -> None:
    examples = take([("a", "x"), ("b", "y")], keys=["k", "k"], cache_dir=directory)
    assert isinstance(examples.texts, StoredTexts)
    assert isinstance(examples.labels, CodedLabels)
    assert isinstance(examples.keys, CodedLabels)
    assert examples.labels.codes.dtype == np.int32
