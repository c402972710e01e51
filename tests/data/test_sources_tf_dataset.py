"""`tf.data.Dataset`: what was put in comes out, batched or not; what is no end or no data is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources._weight import CHUNK_BYTES
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest
from tfft.data.sources.tf_dataset import TfDataset

Read = Callable[..., pd.DataFrame]
Dataset = tf.data.Dataset

AWKWARD = [b"", b"NA", b"a\x00b", b"\x00", b"\xff", b"a\xffb", b"\xed\xa0\x80", "\ufeff é 中".encode()]
BYTES = st.one_of(st.binary(), st.text().map(str.encode), st.sampled_from(AWKWARD), st.builds(lambda: b"x" * 100_000))
ROWS = st.lists(st.tuples(BYTES, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=9)
SENTENCES = st.lists(st.lists(BYTES, max_size=4), min_size=1, max_size=7)


def chunks(source: Any, columns: list[str] | None = None, console: Console | None = None) -> Iterator[Columns]:
    return TfDataset().chunks(ReadRequest(source, columns, "utf-8", console or Console(quiet=True)))


def text(value: bytes) -> str:
    return str(value, "utf-8", "surrogateescape")


def from_rows(rows: list[Any], signature: Any) -> Any:
    return Dataset.from_generator(lambda: iter(rows), output_signature=signature)


def spec(*shape: int | None, dtype: Any = tf.string) -> Any:
    return tf.TensorSpec(shape, dtype)


WAYS = {
    "rows": lambda dataset: dataset,
    "batch": lambda dataset: dataset.batch(2),
    "drop_remainder": lambda dataset: dataset.batch(1, drop_remainder=True),
    "parallel": lambda dataset: dataset.batch(2, num_parallel_calls=2, deterministic=True).prefetch(1),
    "padded": lambda dataset: dataset.padded_batch(3),
    "ragged": lambda dataset: dataset.ragged_batch(2),
    "rebatch": lambda dataset: dataset.batch(5).rebatch(2),
    "unbatch": lambda dataset: dataset.batch(2).unbatch(),
    "mapped": lambda dataset: dataset.batch(2).map(lambda item: item).cache(),
    "window": lambda dataset: dataset.group_by_window(
        lambda _: tf.constant(0, tf.int64), lambda _, part: part.batch(2), 4
    ),
}


@pytest.mark.parametrize("way", WAYS)
@given(rows=ROWS)
@settings(max_examples=8, deadline=None)
def test_any_rows_come_back_however_they_were_batched(read: Read, way: str, rows: list[tuple[bytes, int]]) -> None:
    texts, labels = zip(*rows, strict=True)
    dataset = Dataset.from_tensor_slices({"label": list(labels), "text": list(texts)})
    assert read(WAYS[way](dataset)).to_numpy().tolist() == [[text(item), str(label)] for item, label in rows]


@pytest.mark.parametrize("way", ["rows", "ragged", "unbatch", "generator", "sparse", "sparse_batch"])
@given(sentences=SENTENCES)
@settings(max_examples=8, deadline=None)
def test_sequences_become_lists(way: str, sentences: list[list[bytes]]) -> None:
    ragged = tf.RaggedTensor.from_row_lengths(
        tf.constant([word for sentence in sentences for word in sentence], tf.string), [len(item) for item in sentences]
    )
    lengths = [len(sentence) for sentence in sentences]
    dataset = {
        "rows": lambda: Dataset.from_tensor_slices({"tokens": ragged, "n": lengths}),
        "ragged": lambda: Dataset.from_tensor_slices({"tokens": ragged, "n": lengths}).batch(2),
        "unbatch": lambda: Dataset.from_tensor_slices({"tokens": ragged, "n": lengths}).batch(2).unbatch(),
        "generator": lambda: from_rows(
            [{"tokens": np.array(words, object), "n": n} for words, n in zip(sentences, lengths, strict=True)],
            {"tokens": spec(None), "n": spec(dtype=tf.int64)},
        ),
        "sparse": lambda: Dataset.from_tensor_slices({"tokens": ragged.to_sparse(), "n": lengths}),
        "sparse_batch": lambda: Dataset.from_tensor_slices({"tokens": ragged.to_sparse(), "n": lengths}).batch(3),
    }[way]()
    found = [cell for chunk in chunks(dataset, ["tokens"]) for cell in chunk["tokens"]]
    assert found == [[text(word) for word in sentence] for sentence in sentences]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (tf.constant([0.1, 3.0, float("nan"), float("inf")]), ["0.1", "3", None, "inf"]),
        (tf.constant([0.1, 1 / 3], tf.float64), ["0.1", "0.3333333333333333"]),
        (tf.constant([0.5, 2.0], tf.bfloat16), ["0.5", "2"]),
        (tf.constant([True, False]), ["true", "false"]),
        (tf.constant([2**63 + 1], tf.uint64), [str(2**63 + 1)]),
        (tf.constant([[1, 2], [3, 4]], tf.int8), [["1", "2"], ["3", "4"]]),
        (tf.constant([[["a"], ["b"]]]), [[["a"], ["b"]]]),
        (tf.sparse.from_dense([[0, 5], [0, 0]]), [["0", "5"], ["0", "0"]]),
        (tf.ragged.constant([[[1], [2, 3]], []]), [[["1"], ["2", "3"]], []]),
    ],
    ids=str,
)
def test_numbers_become_text(values: Any, expected: list[Any]) -> None:
    dataset = Dataset.from_tensor_slices({"value": values, "n": tf.range(len(expected))})
    for variant in (dataset, dataset.batch(1), dataset.batch(len(expected))):
        assert [cell for chunk in chunks(variant) for cell in chunk["value"]] == expected


def test_pictures_stay_arrays_of_their_own_size() -> None:
    pictures = [np.full((2 + n, 3, 3), n, np.uint8) for n in range(4)]
    labels = [n % 2 for n in range(4)]
    rows = list(zip(pictures, labels, strict=True))
    dataset = from_rows(rows, (spec(None, None, 3, dtype=tf.uint8), spec(dtype=tf.int32)))
    for variant in (dataset, dataset.ragged_batch(2), dataset.map(lambda picture, label: (picture, label))):
        (chunk,) = chunks(variant, ["image", "label"])
        assert chunk["label"] == ["0", "1", "0", "1"]
        for cell, picture in zip(chunk["image"], pictures, strict=True):
            assert cell.dtype == np.uint8
            np.testing.assert_array_equal(cell, picture)


class Opinion(NamedTuple):
    label: Any
    text: Any


@pytest.mark.parametrize(
    ("element", "columns"),
    [
        (("a", 1), {"text": ["a"], "label": ["1"]}),
        (("a", 1, 2.5), {"column_1": ["a"], "column_2": ["1"], "column_3": ["2.5"]}),
        ("a", {"column_1": ["a"]}),
        (("a",), {"column_1": ["a"]}),
        ({"b": "x", "a": {"c": 1, "d": ("y", 2)}}, {"b": ["x"], "a.c": ["1"], "a.d.0": ["y"], "a.d.1": ["2"]}),
        (Opinion("x", "a"), {"label": ["x"], "text": ["a"]}),
    ],
)
def test_without_names_all_parts_are_read(element: Any, columns: Columns) -> None:
    for dataset in (Dataset.from_tensors(element), Dataset.from_tensors(element).batch(1)):
        (chunk,) = chunks(dataset)
        assert chunk == columns


def test_parts_of_a_tuple_are_taken_in_the_order_of_the_columns(read: Read) -> None:
    dataset = Dataset.from_tensor_slices((["x", "y"], ["a", "b"]))
    assert read(dataset, columns=["label", "text"]).to_dict("list") == {"label": ["x", "y"], "text": ["a", "b"]}
    assert read(dataset.map(Opinion), columns=["text"]).to_dict("list") == {"text": ["a", "b"]}


def test_only_the_columns_wanted_are_handed_over() -> None:
    dataset = Dataset.from_tensors({"text": "a", "nested": Dataset.range(3)})
    assert list(chunks(dataset, ["text"])) == [{"text": ["a"]}]
    with pytest.raises(DataError, match="column 'nested' is a Dataset"):
        list(chunks(dataset))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: from_rows([(["a", "b"], [1, 2])], (spec(None), spec(None, dtype=tf.int32))), True),
        (lambda: Dataset.from_tensor_slices((tf.ragged.constant([["a"]]), tf.ragged.constant([[1]]))), False),
        (lambda: Dataset.from_tensor_slices((["a"], [1])).batch(1), False),
        (lambda: Dataset.from_tensor_slices((["a"], [1])), False),
        (lambda: from_rows([(["a", "b"], 1)], (spec(None), spec(dtype=tf.int32))), False),
    ],
)
def test_sequences_that_could_be_batches_are_said_once(make: Callable[[], Any], said: bool, capsys: Any) -> None:
    list(chunks(make(), ["text", "label"], Console(stream=sys.stdout)))
    assert capsys.readouterr().out.count("If its elements are batches, pass dataset.unbatch()") == said


def test_one_sequence_of_words_is_no_batch_of_texts(read: Read) -> None:
    rows = [(["a", "b"], [1, 2]), (["c"], [3])]
    sequences = from_rows(rows, (spec(None), spec(None, dtype=tf.int32)))
    assert read(sequences).to_numpy().tolist() == [[["a", "b"], ["1", "2"]], [["c"], ["3"]]]
    assert read(sequences.unbatch()).to_numpy().tolist() == [["a", "1"], ["b", "2"], ["c", "3"]]
    assert read(sequences.ragged_batch(2)).to_numpy().tolist() == read(sequences).to_numpy().tolist()


def test_a_dataset_of_keras_is_read(tmp_path: Any, read: Read) -> None:
    import keras

    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.txt").write_text(f"{label} {number}", encoding="utf-8")
    dataset = keras.utils.text_dataset_from_directory(tmp_path, batch_size=2, shuffle=False, verbose=False)
    expected = [[f"{label} {number}", str(code)] for code, label in enumerate(("neg", "pos")) for number in range(3)]
    assert read(dataset).to_numpy().tolist() == expected


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dataset.range(3).repeat(), "has no end .*Leave repeat out"),
        (lambda: Dataset.range(0), "has no rows"),
        (lambda: from_rows([], spec()), "has no rows"),
        (lambda: Dataset.range(3).window(2), r"column 'text' is a Dataset, which holds no data"),
        (lambda: Dataset.range(3).map(lambda n: {"text": n, "label": None}), "column 'label' is a NoneTensor"),
        (lambda: Dataset.from_tensors({"texts": "a", "label": 1}), r"no column 'text'\. Did you mean 'texts'\?"),
        (lambda: Dataset.from_tensors(("a", 1, 2)), "elements of 3 parts, but these columns were named: text, label"),
        (lambda: Dataset.from_tensors(({"text": "a"}, 1)), r"some parts have no name\. Make one dict"),
        (lambda: from_rows([("a", 1), ("b",)], (spec(), spec(dtype=tf.int32))), "failed after row 0"),
    ],
)
def test_what_cannot_be_read_is_refused(make: Callable[[], Any], words: str) -> None:
    dataset = make()
    columns = ["text"] if not isinstance(dataset.element_spec, (dict, tuple)) else ["text", "label"]
    with pytest.raises(DataError, match=words):
        list(chunks(dataset, columns))


def test_an_endless_dataset_is_refused_before_anything_is_read() -> None:
    touched = []
    endless = Dataset.from_generator(
        lambda: touched.append(1) or iter([1]), output_signature=spec(dtype=tf.int32)
    ).repeat()
    with pytest.raises(DataError, match="has no end"):
        next(chunks(endless))
    assert touched == []


def test_an_error_inside_the_dataset_names_a_row_before_it() -> None:
    dataset = Dataset.range(1000).map(lambda n: tf.debugging.check_numerics(1 / tf.cast(700 - n, tf.float32), "bad"))
    with pytest.raises(DataError, match=r"failed after row 512: InvalidArgumentError: bad : Tensor had Inf") as caught:
        list(chunks(dataset))
    assert isinstance(caught.value.__cause__, tf.errors.InvalidArgumentError)
    assert "{{" not in str(caught.value)


def test_parts_of_a_batch_of_different_length_are_refused() -> None:
    batches = Dataset.from_tensor_slices((["a", ""], [1, 2])).batch(2)
    dropped = batches.map(lambda texts, labels: (tf.boolean_mask(texts, tf.strings.length(texts) > 0), labels))
    with pytest.raises(DataError, match=r"differ in length: \{'text': 1, 'label': 2\}"):
        list(chunks(dropped, ["text", "label"]))


def test_chunks_are_bounded_in_rows_and_bytes() -> None:
    sizes = [len(chunk["column_1"]) for chunk in chunks(Dataset.range(3 * CHUNK_ROWS + 1))]
    assert sum(sizes) == 3 * CHUNK_ROWS + 1
    assert max(sizes) < CHUNK_ROWS + 300
    side = 1024
    pictures = Dataset.range(3 * CHUNK_BYTES // side**2).map(lambda n: tf.zeros((side, side), tf.uint8))
    assert max(len(chunk["column_1"]) for chunk in chunks(pictures)) <= CHUNK_BYTES // side**2 + 17


def test_rows_come_in_order_even_from_a_dataset_that_may_hand_over_the_fastest_first(read: Read) -> None:
    def slow_at_first(number: Any) -> Any:
        time.sleep(0.2 if number == 0 else 0)
        return number

    options = tf.data.Options()
    options.deterministic = False
    options.threading.private_threadpool_size = 4  # a machine of one core has one thread
    dataset = Dataset.range(40).map(
        lambda number: tf.ensure_shape(tf.py_function(slow_at_first, [number], tf.int64), []), num_parallel_calls=4
    )
    in_order = [str(number) for number in range(40)]
    assert [str(int(number)) for number in dataset.with_options(options)] != in_order
    assert read(dataset.with_options(options), columns=["n"])["n"].tolist() == in_order


def test_parts_of_different_fixed_length_are_no_batch(read: Read) -> None:
    dataset = Dataset.range(4).batch(2).map(lambda numbers: (tf.zeros(2, tf.int32), tf.ones(3, tf.int32)))
    assert read(dataset).to_numpy().tolist() == [[["0"] * 2, ["1"] * 3]] * 2


def test_tensors_in_dicts_and_lists_are_read(read: Read) -> None:
    expected = [["a", "1"], ["b", "2"]]
    assert read({"text": tf.constant(["a", "b"]), "label": tf.constant([1, 2])}).to_numpy().tolist() == expected
    assert read([(tf.constant("a"), tf.constant(1)), ("b", tf.constant(2.0))]).to_numpy().tolist() == expected
    assert read(lambda: Dataset.from_tensor_slices((["a", "b"], [1, 2]))).to_numpy().tolist() == expected


def test_tensorflow_is_not_imported_to_tell_what_a_source_is() -> None:
    code = (
        "import sys; import pandas\n"
        "from tfft.data.read import find_source\n"
        "find_source(pandas.DataFrame({'a': [1]})); find_source('tfds:mnist'); find_source(print)\n"
        "print('tensorflow' in sys.modules, 'datasets' in sys.modules, 'tensorflow_datasets' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False"] * 3
