"""What every data source promises: run over the registry, so that a new source is tested by being there.

A new source needs a sample below: a function that makes a source of that kind with some rows.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_sources_hf_datasets as hugging_face

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.read import Reader, find_source, read_table
from tfft.data.sources.base import CHUNK_ROWS, Columns, ReadRequest, sources

NAMES = sources.names()
#: Rows of a small sample, and of one that takes more than a chunk.
FEW, MANY = 5, CHUNK_ROWS + 100
#: Rows that a chunk may have more, where a source gets its rows in batches.
SLACK = 1024


def texts(rows: int) -> list[str]:
    return [f'row {number}, é 中 "quoted"' for number in range(rows)]


def labels(rows: int) -> list[str]:
    return ["ab"[number % 2] for number in range(rows)]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A source, two of its columns, and the cells they must give."""

    source: Any
    cells: Columns

    @property
    def columns(self) -> list[str]:
        return list(self.cells)


def table(rows: int) -> Columns:
    return {"text": texts(rows), "label": labels(rows)}


def in_memory(folder: Path, rows: int) -> Sample:
    return Sample({**table(rows), "id": list(range(rows))}, table(rows))


def function(folder: Path, rows: int) -> Sample:
    cells = table(rows)
    return Sample(lambda: (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)), cells)


def delimited(folder: Path, rows: int) -> Sample:
    pd.DataFrame({**table(rows), "id": 1}, index=range(rows)).to_csv(folder / "a.csv", index=False)
    return Sample(folder / "a.csv", table(rows))


def json_lines(folder: Path, rows: int) -> Sample:
    lines = [
        json.dumps(dict(zip(("text", "label"), row, strict=True))) for row in zip(*table(rows).values(), strict=True)
    ]
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Sample(folder / "a.jsonl", table(rows))


def parquet(folder: Path, rows: int) -> Sample:
    pd.DataFrame(table(rows), dtype=object).astype("str").to_parquet(folder / "a.parquet")
    return Sample(folder / "a.parquet", table(rows))


def conll(folder: Path, rows: int) -> Sample:
    sentences = [[f"w{number}", "中"] for number in range(rows)]
    tags = [["B-X", "O"]] * rows
    (folder / "a.conll").write_text("\n".join(f"w{number} B-X\n中 O\n" for number in range(rows)), encoding="utf-8")
    return Sample(folder / "a.conll", {"tokens": sentences, "tags": tags})


def text_lines(folder: Path, rows: int) -> Sample:
    (folder / "a.txt").write_text("".join(f"{text}\n" for text in texts(rows)), encoding="utf-8")
    return Sample(folder / "a.txt", {"text": texts(rows)})


def _links(folder: Path, first: Path, rows: int) -> Columns:
    """Fills two class folders with names for one file."""
    found: Columns = {"label": [], "path": []}
    for number in range(rows):
        target = folder / "root" / "ab"[number % 2] / f"{number:06d}{first.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(first, target)
    for path in sorted((folder / "root").glob("*/*")):
        found["label"].append(path.parent.name)
        found["path"].append(str(path))
    (folder / "root").mkdir(exist_ok=True)
    return found


def image_folder(folder: Path, rows: int) -> Sample:
    import PIL.Image

    PIL.Image.new("RGB", (2, 2)).save(folder / "first.png")
    cells = _links(folder, folder / "first.png", rows)
    return Sample(folder / "root", {"image": cells["path"], "label": cells["label"]})


def audio_folder(folder: Path, rows: int) -> Sample:
    with wave.open(str(folder / "first.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8, "NONE", ""))
        sound.writeframes(bytes(16))
    cells = _links(folder, folder / "first.wav", rows)
    if not rows:  # an empty folder could be either
        os.link(folder / "first.wav", folder / "root" / "loose.wav")
    return Sample(folder / "root", {"audio": cells["path"], "label": cells["label"]})


def hf_datasets(folder: Path, rows: int) -> Sample:
    cells = table(rows)
    dataset = hugging_face.two_columns(hugging_face, cells["text"], [ord(label) - ord("a") for label in cells["label"]])
    return Sample(dataset, {"text": cells["text"], "label": ["xy"["ab".index(label)] for label in cells["label"]]})


def tf_dataset(folder: Path, rows: int) -> Sample:
    import tensorflow as tf

    cells = table(rows)
    return Sample(
        tf.data.Dataset.from_tensor_slices({name: tf.constant(values, tf.string) for name, values in cells.items()}),
        cells,
    )


def tfds(folder: Path, rows: int) -> Sample:
    import tensorflow_datasets

    if "tfft_contract" not in tensorflow_datasets.list_builders():
        _define_tfds()
    name = {FEW: "few:train", MANY: "many:train", 0: "few:train[:0]"}[rows]
    return Sample(f"tfds:tfft_contract/{name}", table(rows))


def _define_tfds() -> None:
    import tensorflow_datasets

    class TfftContract(tensorflow_datasets.core.GeneratorBasedBuilder):
        VERSION = tensorflow_datasets.core.Version("1.0.0")
        BUILDER_CONFIGS = tuple(tensorflow_datasets.core.BuilderConfig(name=name) for name in ("few", "many"))

        def _info(self) -> Any:
            features = tensorflow_datasets.features
            known = {"text": features.Text(), "label": features.ClassLabel(names=["a", "b"])}
            return tensorflow_datasets.core.DatasetInfo(
                builder=self, features=features.FeaturesDict(known), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, str]]]:
            cells = table({"few": FEW, "many": MANY}[self.builder_config.name])
            rows = zip(*cells.values(), strict=True)
            yield from ((number, {"text": text, "label": label}) for number, (text, label) in enumerate(rows))


def tfrecord(folder: Path, rows: int) -> Sample:
    import tensorflow as tf

    def feature(value: str) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    cells = table(rows)
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for row in zip(*cells.values(), strict=True):
            features = {name: feature(value) for name, value in zip(cells, row, strict=True)}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return Sample(folder / "a.tfrecord", cells)


SAMPLES: dict[str, Callable[[Path, int], Sample]] = {
    maker.__name__: maker
    for maker in (
        audio_folder, conll, delimited, function, hf_datasets, image_folder,
        in_memory, json_lines, parquet, text_lines, tf_dataset, tfds, tfrecord,
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, int], Sample]]:
    """Makes a sample of a source, each only once."""
    made: dict[tuple[str, int], Sample] = {}
    root = tmp_path_factory.mktemp("contract")

    def make(name: str, rows: int) -> Sample:
        if name not in SAMPLES:
            pytest.fail(
                f"The data source {name!r} has no sample: write a function {name}(folder, rows) -> Sample in "
                "tests/data/test_source_contract.py and add it to SAMPLES."
            )
        if (name, rows) not in made:
            folder = root / f"{name}-{rows}"
            folder.mkdir()
            made[name, rows] = SAMPLES[name](folder, rows)
        return made[name, rows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(root / "tfds"))
        yield make


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Name of a registered source."""
    return str(request.param)


def chunks(name: str, source: Any, columns: list[str] | None) -> list[Columns]:
    return list(sources.get(name).chunks(ReadRequest(source, columns, "utf-8", Console(quiet=True))))


def joined(found: list[Columns]) -> Columns:
    return {column: [cell for chunk in found for cell in chunk[column]] for column in found[0]}


def is_cell(value: Any) -> bool:
    """Tells whether a value is what `data/sources/base.py` calls a cell."""
    if type(value) is list:
        return all(map(is_cell, value))
    return value is None or type(value) is str or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")


def test_a_source_is_registered_under_the_name_of_its_module(name: str) -> None:
    assert type(sources.get(name)).__module__ == f"tfft.data.sources.{name}"


def test_a_source_without_a_sample_is_told_what_it_needs(make: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"'new' has no sample: write a function new\(folder, rows\)"):
        make("new", FEW)
    assert set(SAMPLES) <= set(NAMES)


def test_only_the_source_itself_accepts_its_kind(make: Any, name: str) -> None:
    sample = make(name, FEW)
    assert [other for other in NAMES if sources.get(other).accepts(sample.source)] == [name]
    assert find_source(sample.source) is sources.get(name)
    for foreign in (None, 42, 1.5, b"text,label", object(), ("a", "b"), {"a"}, "", "nothing", Path("a.unknown")):
        assert not sources.get(name).accepts(foreign)


def test_the_cells_are_those_that_were_put_in(make: Any, name: str) -> None:
    sample = make(name, FEW)
    assert joined(chunks(name, sample.source, sample.columns)) == sample.cells
    assert len(sample.cells[sample.columns[0]]) == FEW


def test_columns_come_in_the_order_asked_for_and_no_others(make: Any, name: str) -> None:
    sample = make(name, FEW)
    for wanted in (sample.columns[:1], sample.columns[1:]):
        (chunk,) = chunks(name, sample.source, wanted)
        assert chunk == {column: sample.cells[column] for column in wanted}
    assert list(chunks(name, sample.source, sample.columns)[0]) == sample.columns


def test_without_names_all_columns_are_read(make: Any, name: str) -> None:
    sample = make(name, FEW)
    found = joined(chunks(name, sample.source, None))
    assert {column: found[column] for column in sample.columns} == sample.cells


def test_chunks_are_bounded_and_their_columns_equally_long(make: Any, name: str) -> None:
    sample = make(name, MANY)
    found = chunks(name, sample.source, sample.columns)
    assert len(found) > 1
    for chunk in found:
        (length,) = {len(cells) for cells in chunk.values()}
        assert 0 < length <= CHUNK_ROWS + SLACK
    assert joined(found) == sample.cells


def test_a_source_gives_the_same_rows_again(make: Any, name: str) -> None:
    sample = make(name, FEW)
    first = chunks(name, sample.source, sample.columns)
    for chunk in first:
        for cells in chunk.values():
            cells.clear()  # what was handed out is the reader's own
    assert joined(chunks(name, sample.source, sample.columns)) == sample.cells


def test_reading_may_stop_early(make: Any, name: str) -> None:
    sample = make(name, MANY)
    for _ in range(2):
        reading = sources.get(name).chunks(ReadRequest(sample.source, sample.columns, "utf-8", Console(quiet=True)))
        first = next(iter(reading))
        assert first[sample.columns[0]] == sample.cells[sample.columns[0]][: len(first[sample.columns[0]])]
        reading.close()  # type: ignore[attr-defined]


def test_a_missing_column_is_answered_with_the_nearest(make: Any, name: str) -> None:
    sample = make(name, FEW)
    near = sample.columns[0]
    with pytest.raises(DataError) as caught:
        chunks(name, sample.source, [f"{near}x", *sample.columns[1:]])
    assert f"Did you mean {near!r}?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_source_without_rows_is_refused(make: Any, name: str) -> None:
    sample = make(name, 0)
    for columns in (sample.columns, None):
        with pytest.raises(DataError):
            list(Reader(sample.source, columns, encoding="utf-8", console=Console(quiet=True)))


def test_cells_are_of_the_agreed_types(make: Any, name: str) -> None:
    for columns in (make(name, FEW).columns, None):
        for chunk in chunks(name, make(name, FEW).source, columns):
            assert all(type(column) is str and type(cells) is list for column, cells in chunk.items())
            assert all(is_cell(cell) for cells in chunk.values() for cell in cells)


def test_a_table_holds_all_rows_numbered_from_one(make: Any, name: str) -> None:
    sample = make(name, MANY)
    frame = read_table(sample.source, sample.columns, encoding="utf-8", console=Console(quiet=True)).frame
    assert frame.index.tolist() == list(range(1, MANY + 1))
    assert frame.to_dict("list") == sample.cells


def test_endings_are_accepted_as_text_and_as_path(name: str) -> None:
    for ending in sources.get(name).endings:
        assert ending == ending.lower()
        assert ending.startswith(".")
        for source in (f"data/a{ending}", Path(f"data/a{ending}"), f"data/A{ending.upper()}"):
            assert sources.get(name).accepts(source)


def test_a_missing_file_is_answered_with_the_nearest(make: Any, name: str) -> None:
    sample = make(name, FEW)
    if sources.get(name).endings:
        path = Path(sample.source)
        with pytest.raises(DataError, match=rf"does not exist\. Did you mean .*{path.name}"):
            chunks(name, path.with_name(f"x{path.name}"), sample.columns)


def test_no_source_imports_a_heavy_library_before_it_reads() -> None:
    code = (
        "import sys; from tfft.data.sources.base import sources\n"
        "for name in sources:\n"
        "    for source in (None, 'a', 'a.tfrecord', 'tfds:a', {}, print):\n"
        "        sources.get(name).accepts(source)\n"
        "print([name for name in ('tensorflow', 'tensorflow_datasets', 'datasets', 'keras') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
