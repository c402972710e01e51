"""TensorFlow Datasets by name: a dataset written here comes back as it was, and wrong names are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.sources.base import Columns, ReadRequest
from tfft.data.sources.tfds import TfdsDataset

Read = Callable[..., pd.DataFrame]

TEXTS = ["", "NA", "é 中 😀", "a\x00b", "\x00", "a\r\nb", "x" * 50_000, b"\xff", b"a\xffb", "e\u0301", "{}", "1.0"]
LABELS = ["negative", "neutral / none", "positive"]


def rows(count: int) -> list[dict[str, Any]]:
    """Rows as the builder below gets them; "place" tells them apart, since the library writes them in its own order."""
    return [
        {
            "place": place,
            "big": 2**63 + place,
            "text": TEXTS[place % len(TEXTS)],
            "label": place % 4 - 1,
            "tags": [0, 1, 0][: place % 4],
            "picture": np.full((1 + place % 3, 2, 3), place, np.uint8),
            "sound": np.arange(place % 5 + 1),
            "answers": [{"text": f"answer {place}", "start": place}] * (place % 3),
            "score": {"mean": np.float32(0.1 * place), "sure": place % 2 == 0},
            "vector": np.array([0.1, place], np.float32),
            "both": {"de": f"Haus {place}", "en": f"house {place}"},
            "steps": [{"x": 1}],
        }
        for place in range(count)
    ]


EXPECTED = [
    {
        "place": str(row["place"]),
        "big": str(row["big"]),
        "text": row["text"].decode("utf-8", "surrogateescape") if isinstance(row["text"], bytes) else row["text"],
        "label": None if row["label"] < 0 else LABELS[row["label"]],
        "tags": ["OB"[tag] for tag in row["tags"]],
        "answers.text": [answer["text"] for answer in row["answers"]],
        "answers.start": [str(answer["start"]) for answer in row["answers"]],
        "score.sure": "true" if row["score"]["sure"] else "false",
        "vector": ["0.1", str(row["place"])],
        "both.de": row["both"]["de"],
        "both.en": row["both"]["en"],
    }
    for row in rows(40)
]


class TfftOpinions(tfds.core.GeneratorBasedBuilder):
    """Rows of every kind of feature, in two splits."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="tweets"), tfds.core.BuilderConfig(name="reviews"))

    def _info(self) -> Any:
        features = tfds.features
        return tfds.core.DatasetInfo(
            builder=self,
            features=features.FeaturesDict(
                {
                    "place": np.int32,
                    "big": np.uint64,
                    "text": features.Text(),
                    "label": features.ClassLabel(names=LABELS),
                    "tags": features.Sequence(features.ClassLabel(names=["O", "B"])),
                    "picture": features.Image(shape=(None, None, 3)),
                    "sound": features.Audio(),
                    "answers": features.Sequence({"text": features.Text(), "start": np.int32}),
                    "score": {"mean": np.float32, "sure": np.bool_},
                    "vector": features.Tensor(shape=(2,), dtype=np.float32),
                    "both": features.Translation(["de", "en"]),
                    "steps": features.Dataset({"x": np.int32}),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples(0, 30), "test": self._generate_examples(30, 40)}

    def _generate_examples(self, start: int, end: int) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from ((row["place"], row) for row in rows(end)[start:])


class TfftDamaged(tfds.core.GeneratorBasedBuilder):
    """Three rows."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[Any]:
        yield from enumerate({"text": word} for word in ("one", "two", "three"))


class TfftOffline(tfds.core.GeneratorBasedBuilder):
    """Needs a network that is not there."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise ConnectionError("Failed to resolve\n'example.org'")

    def _generate_examples(self) -> Iterator[Any]:
        yield from ()


@pytest.fixture(autouse=True, scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own for what gets prepared."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(folder))
        yield folder


def chunks(source: str, columns: list[str] | None = None, console: Console | None = None) -> Iterator[Columns]:
    return TfdsDataset().chunks(ReadRequest(source, columns, "utf-8", console or Console(quiet=True)))


def test_what_was_written_is_read_by_name(read: Read) -> None:
    table = read("tfds:tfft_opinions/tweets", columns=list(EXPECTED[0]))
    found = sorted(table.to_dict("records"), key=lambda row: int(row["place"]))
    assert found == EXPECTED[:30]


def test_pictures_and_sound_stay_arrays(read: Read) -> None:
    for row in read("tfds:tfft_opinions/tweets:test", columns=["place", "picture", "sound"]).itertuples():
        written = rows(40)[int(row.place)]
        assert (row.picture.dtype, row.sound.dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(row.picture, written["picture"])
        np.testing.assert_array_equal(row.sound, written["sound"])


def test_numbers_of_32_bits_are_written_short(read: Read) -> None:
    for place, mean in read("tfds:tfft_opinions/tweets", columns=["place", "score.mean"]).to_numpy():
        assert np.float32(mean) == np.float32(0.1 * int(place))
        assert len(mean) <= 10


def test_all_columns_are_read_but_those_that_hold_datasets(read: Read, capsys: Any) -> None:
    assert set(read("tfds:tfft_opinions/tweets", columns=None)) == {*EXPECTED[0], "picture", "sound", "score.mean"}
    list(chunks("tfds:tfft_opinions/tweets", None, Console()))
    assert capsys.readouterr().err.count("left out, because they hold datasets: steps.") == 1


def test_numbers_above_the_signed_range_are_read_as_they_are(read: Read) -> None:
    for place, big in read("tfds:tfft_opinions/tweets", columns=["place", "big"]).to_numpy():
        assert int(big) == 2**63 + int(place)


@given(
    columns=st.lists(
        st.sampled_from(sorted({*EXPECTED[0], "score.mean"} - {"vector", "big"})), min_size=1, unique=True
    ),
    split=st.sampled_from(["train", "test", "train[7:20]", "train[25:]+test[:3]", "all", "train[:50%]"]),
)
@settings(max_examples=10, deadline=None)
def test_the_fast_way_gives_what_the_library_gives(read: Read, columns: list[str], split: str) -> None:
    handle = f"tfds:tfft_opinions/tweets:{split}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfft.data.sources.tfds.file_parts", lambda builder, split: None)
        through_the_library = read(handle, columns=columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TfftOpinions, "as_dataset", None)
        pd.testing.assert_frame_equal(read(handle, columns=columns), through_the_library)


def test_a_damaged_file_is_named_with_its_record(read: Read, data_dir: Path) -> None:
    assert len(read("tfds:tfft_damaged", columns=["text"])) == 3
    (file,) = (data_dir / "tfft_damaged").glob("*/*.tfrecord*")
    content = bytearray(file.read_bytes())
    content[-6] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"{file.name}, record 3: damaged"):
        read("tfds:tfft_damaged", columns=["text"])


@given(start=st.integers(0, 30), length=st.integers(1, 30), percent=st.booleans())
@settings(max_examples=8, deadline=None)
def test_a_slice_of_a_split_is_that_slice_of_its_rows(read: Read, start: int, length: int, percent: bool) -> None:
    whole = read("tfds:tfft_opinions/tweets:train", columns=["place"])["place"].tolist()
    end = min(start + length, 30)
    if percent:
        start, end = round(start / 30 * 100), round(end / 30 * 100)
    name = f"tfds:tfft_opinions/tweets:train[{start}{'%' * percent}:{end}{'%' * percent}]"
    if percent:
        start, end = round(start * 30 / 100), round(end * 30 / 100)
    if start >= end:
        with pytest.raises(DataError, match="corresponds to no data"):
            read(name, columns=["place"])
    else:
        assert read(name, columns=["place"])["place"].tolist() == whole[start:end]


@pytest.mark.parametrize(
    ("handle", "count"),
    [
        ("tfds:tfft_opinions", 30),
        ("tfds:tfft_opinions:test", 10),
        ("tfds:tfft_opinions/tweets:1.2.0", 30),
        ("tfds:tfft_opinions/tweets:1.2.0:test", 10),
        ("tfds:tfft_opinions/tweets:1.*.*:train[:10%]", 3),
        ("tfds:tfft_opinions/tweets:train[:10]+test[-1:]", 11),
        ("tfds:tfft_opinions/tweets:all", 40),
    ],
)
def test_names_are_understood(read: Read, handle: str, count: int) -> None:
    first = read(handle, columns=["place"])["place"].tolist()
    assert len(set(first)) == len(first) == count
    assert read(handle, columns=["place"])["place"].tolist() == first


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        ("tfds:", "is not the name of a TensorFlow dataset. Write tfds:name"),
        ("tfds:a/b/c", "is not the name of a TensorFlow dataset"),
        ("tfds:imdb_review", "There is no TensorFlow dataset 'imdb_review'. Did you mean 'imdb_reviews'?"),
        ("tfds:tfft_opinions/tweet", "no configuration 'tweet'. Did you mean 'tweets'? Known: reviews, tweets."),
        ("tfds:mnist/large", "no configuration 'large'. Known: none."),
        ("tfds:tfft_opinions/tweets:trian", "no split 'trian'. Did you mean 'train'? Its splits: train, test."),
        ("tfds:tfft_opinions/tweets:trian", "Name one at the end: tfds:tfft_opinions/tweets:train."),
        ("tfds:tfft_opinions/tweets:test+dev[:5]", "no split 'dev'"),
        ("tfds:tfft_opinions/tweets:train[:x]", "Unrecognized split format"),
        ("tfds:tfft_opinions/tweets:9.0.0", "cannot be loaded at version 9.0.0, only: 1.2.0"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(read: Read, handle: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(handle, columns=["text"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_column_is_answered_with_the_nearest(read: Read) -> None:
    with pytest.raises(DataError, match=r"tfds:tfft_opinions has no column 'labels'\. Did you mean 'label'\?"):
        read("tfds:tfft_opinions", columns=["text", "labels"])
    with pytest.raises(DataError, match="the column 'steps' is a Dataset"):
        read("tfds:tfft_opinions", columns=["steps"])


def test_a_failing_download_says_what_to_do(read: Read, data_dir: Path) -> None:
    with pytest.raises(DataError) as caught:
        read("tfds:tfft_offline", columns=["text"])
    message = str(caught.value)
    assert f"is not prepared in {data_dir}" in message
    assert "ConnectionError: Failed to resolve 'example.org'" in message
    assert "It needs the network" in message
    assert "TFDS_DATA_DIR" in message
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_preparing_is_said_once(capsys: Any, data_dir: Path) -> None:
    for _ in range(2):
        list(chunks("tfds:tfft_opinions/reviews", ["text"], Console()))
    said = capsys.readouterr().err
    assert said.count("tfds:tfft_opinions/reviews is not on this machine yet") == 1
    assert (data_dir / "tfft_opinions" / "reviews").is_dir()


@pytest.mark.parametrize(
    ("handle", "columns", "shape"),
    [
        ("tfds:mnist:test", ["label"], (5, 1)),
        ("tfds:imdb_reviews", ["text", "label"], (5, 2)),
        ("tfds:glue/sst2", None, (5, 3)),
    ],
)
def test_well_known_datasets_are_read(read: Read, handle: str, columns: Any, shape: tuple[int, int]) -> None:
    with tfds.testing.mock_data(num_examples=5):
        table = read(handle, columns=columns)
    assert table.shape == shape
    known = {"tfds:mnist:test": set("0123456789"), "tfds:imdb_reviews": {"neg", "pos"}}
    assert set(table["label"]) <= known.get(handle, {"negative", "positive"})


@pytest.mark.parametrize("source", ["tfds", "tf:mnist", "data/tfds:x.csv", Path("tfds:mnist"), 3, None])
def test_other_sources_are_not_accepted(source: Any) -> None:
    assert not TfdsDataset().accepts(source)
