"""Datasets of Hugging Face's library.

Each test runs twice: with the library itself where it is installed, and always with the stand-in below, which keeps its
rows as the library does (Arrow, classes as numbers, pictures as a struct of bytes and path) and has the part of its
interface that is read.
"""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest
from tfft.data.sources.hf_datasets import HfDataset
from tfft.data.sources.in_memory import InMemory

Read = Callable[..., pd.DataFrame]


class ClassLabel:
    """A number with a name."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    """A string or number."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class List:
    """A list of another feature."""

    def __init__(self, feature: Any) -> None:
        self.feature = feature


class Array2D:
    """A matrix."""

    def __init__(self, shape: tuple[int, int], dtype: str) -> None:
        self.shape, self.dtype = shape, dtype


class Image:
    """A picture: bytes or a path."""

    def decode_example(self, value: Any) -> Any:
        """Decoding is what must not happen."""
        raise AssertionError(value)


class Translation:
    """A struct of languages."""

    def __init__(self, languages: list[str]) -> None:
        self.languages = languages


def _arrow(feature: Any) -> pa.DataType:
    if isinstance(feature, Mapping):
        return pa.struct([(name, _arrow(inner)) for name, inner in feature.items()])
    return {
        ClassLabel: pa.int64,
        Value: lambda: {"float32": pa.float32(), "timestamp[s]": pa.timestamp("s")}.get(
            feature.dtype, getattr(pa, feature.dtype, pa.string)()
        ),
        List: lambda: pa.list_(_arrow(feature.feature)),
        Array2D: lambda: pa.list_(pa.list_(pa.int32())),
        Image: lambda: pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        Translation: lambda: pa.struct([(language, pa.string()) for language in feature.languages]),
    }[type(feature)]()


def _stored(feature: Any, value: Any) -> Any:
    if isinstance(feature, Image) and value is not None:
        return {"bytes": None, "path": value} if isinstance(value, str) else {"bytes": value.tobytes(), "path": None}
    return value


class Dataset:
    """The stand-in for a dataset in an Arrow table."""

    __module__ = "datasets.arrow_dataset"

    def __init__(self, table: pa.Table, features: Any, kind: str | None = None, transform: Any = None) -> None:
        self._table, self.features, self._kind, self._transform = table, features, kind, transform

    @classmethod
    def from_dict(cls, columns: dict[str, list[Any]], features: dict[str, Any]) -> Dataset:
        arrays = {
            name: pa.array([_stored(features[name], value) for value in values], _arrow(features[name]))
            for name, values in columns.items()
        }
        return cls(pa.table(arrays), features)

    @property
    def format(self) -> dict[str, Any]:
        return {"type": self._kind, "format_kwargs": {}, "columns": self._table.column_names}

    @property
    def column_names(self) -> list[str]:
        return list(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._table.to_pylist())

    def __getitem__(self, item: slice) -> Any:
        start, stop, _ = item.indices(len(self))
        part = self._table.slice(start, stop - start)
        if self._kind == "custom":
            return self._transform(part.to_pydict())
        return part if self._kind == "arrow" else part.to_pydict()

    def select(self, positions: list[int]) -> Dataset:
        return Dataset(self._table.take(pa.array(positions, pa.int64())), self.features)

    def select_columns(self, names: list[str]) -> Dataset:
        return Dataset(self._table.select(names), {name: self.features[name] for name in names})

    def with_format(self, kind: str) -> Dataset:
        return Dataset(self._table, self.features, kind)

    def with_transform(self, transform: Any) -> Dataset:
        return Dataset(self._table, self.features, "custom", transform)

    def to_iterable_dataset(self) -> IterableDataset:
        return IterableDataset(lambda: iter(self._table.to_pylist()), self.features)


class IterableDataset:
    """The stand-in for a dataset that is streamed."""

    __module__ = "datasets.iterable_dataset"

    def __init__(self, rows: Callable[[], Iterator[dict[str, Any]]], features: Any, *, decodes: bool = True) -> None:
        self._rows, self.features, self._decodes = rows, features, decodes

    @classmethod
    def from_generator(cls, rows: Callable[[], Iterator[dict[str, Any]]]) -> IterableDataset:
        return cls(rows, None)

    def decode(self, enable: bool) -> IterableDataset:
        if self.features is None:
            raise ValueError("Features decoding is only available for datasets with known features.")
        return IterableDataset(self._rows, self.features, decodes=enable)

    def map(self, function: Callable[[dict[str, Any]], dict[str, Any]]) -> IterableDataset:
        return IterableDataset(lambda: ({**row, **function(row)} for row in self._rows()), None)

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        if self._decodes and any(isinstance(feature, Image) for feature in (self.features or {}).values()):
            raise AssertionError("decoded")
        rows = self._rows()
        while batch := list(itertools.islice(rows, batch_size)):
            names = dict.fromkeys(name for row in batch for name in row)
            yield {name: [row.get(name) for row in batch] for name in names}


class DatasetDict(dict[str, Any]):
    """The stand-in for splits."""

    __module__ = "datasets.dataset_dict"


class IterableDatasetDict(DatasetDict):
    """The stand-in for streamed splits."""

    __module__ = "datasets.dataset_dict"


@pytest.fixture(scope="module", params=["stand-in", "installed"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Hugging Face's library, or the stand-in for it."""
    if request.param == "stand-in":
        return sys.modules[__name__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hugging_face")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        return pytest.importorskip("datasets")


def chunks(source: Any, columns: list[str] | None = None, console: Console | None = None) -> Iterator[Columns]:
    return HfDataset().chunks(ReadRequest(source, columns, "utf-8", console or Console(quiet=True)))


def sample(library: Any) -> Any:
    """Three rows of every kind of feature that is read."""
    text = library.Value("string")
    features = {
        "text": text,
        "label": library.ClassLabel(names=["negative", "positive"]),
        "tags": library.List(library.ClassLabel(names=["O", "B"])),
        "both": {"en": text, "de": text},
        "words": library.Translation(["en", "fr"]),
        "answers": {"text": library.List(text), "start": library.List(library.Value("int32"))},
        "mean": library.Value("float32"),
        "vector": library.List(library.Value("float32")),
        "matrix": library.Array2D(shape=(2, 2), dtype="int32"),
        "raw": library.Value("binary"),
        "big": library.Value("int64"),
    }
    columns = {
        "text": ["a", None, "é\x00"],
        "label": [0, 1, -1],
        "tags": [[0, 1], [], None],
        "both": [{"en": "x", "de": "y"}] * 3,
        "words": [{"en": "x", "fr": "z"}] * 3,
        "answers": [{"text": ["a", "b"], "start": [1, 2]}] * 3,
        "mean": [0.1, None, 3.0],
        "vector": [[0.1, 2.0], [], None],
        "matrix": [[[1, 2], [3, 4]]] * 3,
        "raw": [b"a", None, b"\xff"],
        "big": [2**62 + 1, None, 3],
    }
    return library.Dataset.from_dict(columns, library.Features(features) if hasattr(library, "Features") else features)


EXPECTED = {
    "text": ["a", None, "é\x00"],
    "label": ["negative", "positive", None],
    "tags": [["O", "B"], [], None],
    "both.en": ["x"] * 3,
    "both.de": ["y"] * 3,
    "words.en": ["x"] * 3,
    "words.fr": ["z"] * 3,
    "answers.text": [["a", "b"]] * 3,
    "answers.start": [["1", "2"]] * 3,
    "mean": ["0.1", None, "3"],
    "vector": [["0.1", "2"], [], None],
    "raw": ["a", None, "\udcff"],
    "big": [str(2**62 + 1), None, "3"],
}


def two_columns(library: Any, texts: list[Any], labels: list[Any]) -> Any:
    features = {"text": library.Value("string"), "label": library.ClassLabel(names=["x", "y"])}
    return library.Dataset.from_dict(
        {"text": texts, "label": labels}, library.Features(features) if hasattr(library, "Features") else features
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_every_feature_is_read(library: Any, streamed: bool) -> None:
    dataset = sample(library)
    (chunk,) = chunks(dataset.to_iterable_dataset() if streamed else dataset)
    matrices = chunk.pop("matrix")
    assert chunk == EXPECTED
    for matrix in matrices:
        np.testing.assert_array_equal(matrix, [[1, 2], [3, 4]])
    for name, cells in EXPECTED.items():
        (chunk,) = chunks(dataset.to_iterable_dataset() if streamed else dataset, [name])
        assert chunk == {name: cells}


@given(
    rows=st.lists(st.tuples(st.none() | st.text() | st.just("x" * 50_000), st.integers(-1, 1)), min_size=1, max_size=8)
)
@settings(max_examples=15, deadline=None)
def test_any_rows_come_back(library: Any, read: Read, rows: list[tuple[str | None, int]]) -> None:
    dataset = two_columns(library, [text for text, _ in rows], [label for _, label in rows])
    expected = [[text, ("x", "y", None)[label]] for text, label in rows]
    assert read(dataset).to_numpy().tolist() == expected
    assert read(dataset.to_iterable_dataset()).to_numpy().tolist() == expected
    assert read(dataset.select(list(range(len(rows)))[::-1])).to_numpy().tolist() == expected[::-1]


def test_formats_do_not_change_what_is_read(library: Any, read: Read) -> None:
    dataset = two_columns(library, ["a", "b"], [0, 1])
    for kind in ("numpy", "pandas", "arrow"):
        assert read(dataset.with_format(kind)).to_numpy().tolist() == [["a", "x"], ["b", "y"]]


def test_what_a_transform_makes_is_read(library: Any, read: Read) -> None:
    dataset = two_columns(library, ["a", "b"], [0, 1])
    louder = dataset.with_transform(lambda batch: {"loud": [text.upper() for text in batch["text"]], "n": [1.5, None]})
    assert read(louder, columns=None).to_dict("list") == {"loud": ["A", "B"], "n": ["1.5", None]}
    assert read(louder, columns=["loud"])["loud"].tolist() == ["A", "B"]
    with pytest.raises(DataError, match=r"no column 'load'\. Did you mean 'loud'\?"):
        read(louder, columns=["load"])


def test_where_features_are_not_known_class_numbers_stay_and_this_is_said(library: Any, capsys: Any) -> None:
    dataset = (
        two_columns(library, ["a", "b"], [0, 1]).to_iterable_dataset().map(lambda row: {"loud": row["text"].upper()})
    )
    (chunk,) = chunks(dataset, ["loud", "label"], Console())
    assert chunk == {"loud": ["A", "B"], "label": ["0", "1"]}
    assert (
        capsys.readouterr().err.count("does not know its features (as after map), so class numbers stay numbers") == 1
    )
    list(chunks(two_columns(library, ["a"], [0]).to_iterable_dataset(), None, Console()))
    assert capsys.readouterr().err == ""


def test_a_generator_of_dicts_is_read(library: Any, read: Read) -> None:
    rows = [{"text": "a", "n": 1}, {"text": None, "n": 2.5}, {"text": "c", "extra": "z"}]
    dataset = library.IterableDataset.from_generator(lambda: iter(rows))
    for _ in range(2):
        assert read(dataset, columns=["text", "n"]).to_numpy().tolist() == [["a", "1"], [None, "2.5"], ["c", None]]
    assert read(dataset, columns=None)["extra"].tolist() == [None, None, "z"]
    with pytest.raises(DataError, match=r"no column 'texts'\. Did you mean 'text'\?"):
        read(dataset, columns=["texts"])


def pictures(library: Any, values: list[Any]) -> Any:
    features = {"picture": library.Image(), "text": library.Value("string")}
    return library.Dataset.from_dict(
        {"picture": values, "text": ["a"] * len(values)},
        library.Features(features) if hasattr(library, "Features") else features,
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_pictures_in_files_come_as_paths(library: Any, read: Read, tmp_path: Path, streamed: bool) -> None:
    path = str(tmp_path / "a.png")
    PIL.Image.new("RGB", (2, 2)).save(path)
    dataset = pictures(library, [path, None])
    table = read(dataset.to_iterable_dataset() if streamed else dataset, columns=["picture", "text"])
    assert table["picture"].tolist() == [path, None]


@pytest.mark.parametrize("streamed", [False, True])
def test_pictures_in_the_dataset_are_not_decoded_but_what_to_do_is_said(
    library: Any, read: Read, capsys: Any, streamed: bool
) -> None:
    dataset = pictures(library, [PIL.Image.new("RGB", (2, 2))])
    source = dataset.to_iterable_dataset() if streamed else dataset
    with pytest.raises(DataError, match=r"column 'picture' holds pictures, sound or video.*with_transform"):
        read(source, columns=["picture"])
    assert read(source, columns=["text"])["text"].tolist() == ["a"]
    (chunk,) = chunks(source, None, Console())
    assert chunk == {"text": ["a"]}
    assert capsys.readouterr().err.count("left out, because they would have to be decoded: picture.") == 1


def test_the_advice_for_pictures_works(library: Any, read: Read) -> None:
    def arrays(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = [
            np.zeros((2, 2, 3), np.uint8) if isinstance(item, dict) else np.asarray(item) for item in batch["picture"]
        ]
        return {**batch, "picture": found}

    dataset = pictures(library, [PIL.Image.new("RGB", (2, 2))] * 2).with_transform(arrays)
    assert [cell.shape for cell in read(dataset, columns=["picture"])["picture"]] == [(2, 2, 3)] * 2


def test_a_dict_of_splits_is_refused_with_what_to_pass(library: Any, read: Read) -> None:
    dataset = two_columns(library, ["a"], [0])
    for splits in (library.DatasetDict(test=dataset), library.IterableDatasetDict(test=dataset.to_iterable_dataset())):
        assert not InMemory().accepts(splits)
        with pytest.raises(DataError, match=r"DatasetDict with the splits 'test'; pass one of them: data\['test'\]"):
            read(splits)


def test_what_cannot_be_read_is_refused(library: Any, read: Read) -> None:
    dataset = two_columns(library, ["a", "b"], [0, 1])
    for source in (dataset, dataset.to_iterable_dataset()):
        with pytest.raises(
            DataError, match=r"no column 'labels'\. Did you mean 'label'\? Its columns: 'text', 'label'"
        ):
            read(source, columns=["labels"])
    for empty in (dataset.select([]), library.IterableDataset.from_generator(lambda: iter(()))):
        with pytest.raises(DataError, match="The Hugging Face dataset has no rows"):
            read(empty)


def test_an_error_in_the_users_code_is_wrapped(library: Any, read: Read) -> None:
    dataset = two_columns(library, ["a", None], [0, 1])
    for source in (
        dataset.to_iterable_dataset().map(lambda row: {"loud": row["text"].upper()}),
        dataset.with_transform(lambda batch: {"loud": [text.upper() for text in batch["text"]]}),
    ):
        with pytest.raises(DataError, match="failed after row 0: AttributeError: 'NoneType' object") as caught:
            read(source)
        assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize("streamed", [False, True])
def test_chunks_are_bounded(library: Any, streamed: bool) -> None:
    count = 2 * CHUNK_ROWS + 5
    dataset = two_columns(library, [str(n) for n in range(count)], [0] * count)
    found = list(chunks(dataset.to_iterable_dataset() if streamed else dataset, ["text"]))
    assert max(len(chunk["text"]) for chunk in found) <= CHUNK_ROWS
    assert [cell for chunk in found for cell in chunk["text"]] == [str(n) for n in range(count)]


@pytest.mark.parametrize(
    "source", [{"text": ["a"]}, types.SimpleNamespace(features={}), "datasets", type("Dataset", (), {})(), [1]]
)
def test_other_sources_are_not_accepted(source: Any) -> None:
    assert not HfDataset().accepts(source)
