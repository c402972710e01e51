"""Cached tokens and tf.data pipelines: the tensors that NumPy makes by hand, in the planned order, on disk or not."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfft.console import Console
from tfft.data.bucketing import inference_batches
from tfft.data.order import EpochOrder
from tfft.data.read import Reader
from tfft.data.row_store import RowStore, StoredTexts
from tfft.data.schema import HowToRead, TextExamples, text_examples

TEXTS = [
    "the film was wonderful",
    "a dull plot",
    "",
    "the cast the music the ending the script the film is weak",
    "Café UNHEARD film",
    "funny",
    "the " * 30,
    "what a moving film",
    "awful awful",
    "script is silly",
    "boring",
]
SEQUENCE_LENGTH = 12
PAD, UNKNOWN, START, END = 0, 1, 2, 3
BATCH_SIZE = 4
WIDTHS = (5, 6, 12)


@pytest.fixture(scope="module")
def encoder(tiny_preset: str) -> Any:
    """The encoder of the tiny backbone."""
    from tfft.backbones.keras_hub import load_text_backbone

    return load_text_backbone(tiny_preset).encoder(SEQUENCE_LENGTH)


@pytest.fixture(scope="module")
def vocabulary(tiny_preset: str) -> list[str]:
    """The token of each id of the tiny backbone."""
    (file,) = Path(tiny_preset).rglob("vocabulary.txt")
    return file.read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def by_hand(vocabulary: list[str]) -> list[list[int]]:
    """The token ids of every text, looked up word by word."""
    rows = []
    for text in TEXTS:
        words = text.lower().replace("é", "e").split()
        ids = [vocabulary.index(word) if word in vocabulary else UNKNOWN for word in words]
        rows.append([START, *ids[: SEQUENCE_LENGTH - 2], END])
    return rows


def examples_of(texts: list[str], labels: list[str], cache_dir: Path | None) -> TextExamples:
    """Reads texts and labels, into memory or to disk."""
    console = Console(quiet=True)
    reader = Reader({"text": texts, "label": labels}, ("text", "label"), encoding="utf-8", console=console)
    return text_examples(
        reader, text_column="text", label_column="label", how=HowToRead(cache_dir=cache_dir), console=console
    )


def stored(texts: list[str], directory: Path) -> StoredTexts:
    """Puts texts, blank ones too, on disk."""
    from tfft.data.row_store import RowWriter

    encoded = [text.encode() for text in texts]
    writer = RowWriter(directory, np.dtype(np.uint8))
    writer.append(np.frombuffer(b"".join(encoded), np.uint8), np.array([len(row) for row in encoded]))
    return StoredTexts(writer.finish())


@pytest.fixture(scope="module", params=["memory", "disk"])
def texts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All texts, as a list or on disk."""
    return TEXTS if request.param == "memory" else stored(TEXTS, tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def cache(encoder: Any, texts: Any) -> Any:
    """The cache of all texts, where the texts are."""
    from tfft.data.token_cache import encode_texts

    return encode_texts(texts, encoder, Console(quiet=True), what="train")


@pytest.fixture(scope="module")
def inputs_by_hand(by_hand: list[list[int]]) -> Callable[[np.ndarray, int], dict[str, np.ndarray]]:
    """Pads rows in NumPy."""

    def pad(rows: np.ndarray, width: int) -> dict[str, np.ndarray]:
        token_ids = np.full((len(rows), width), PAD)
        mask = np.zeros((len(rows), width))
        for place, row in enumerate(rows):
            token_ids[place, : len(by_hand[row])] = by_hand[row]
            mask[place, : len(by_hand[row])] = 1
        return {"token_ids": token_ids, "padding_mask": mask, "segment_ids": np.zeros((len(rows), width))}

    return pad


def assert_same_inputs(found: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    """Compares the inputs of a batch, their names included."""
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        assert found[name].dtype.name == "int32"
        np.testing.assert_array_equal(found[name].numpy(), values, err_msg=name)


def assert_same_tensors(found: Any, expected: Any) -> None:
    """Compares nested tensors to the byte."""
    import tensorflow as tf

    one, other = tf.nest.flatten(found), tf.nest.flatten(expected)
    tf.nest.assert_same_structure(found, expected)
    for left, right in zip(one, other, strict=True):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.numpy().tobytes() == right.numpy().tobytes()


def plain(gather: Any) -> Any:
    """Returns a gather for training that leaves rows as they are."""
    return lambda rows, width, seed: gather(rows, width)


def order_of(lengths: np.ndarray, **options: Any) -> EpochOrder:
    """Returns an order in small batches of three widths."""
    return EpochOrder(lengths, options.pop("widths", WIDTHS), BATCH_SIZE, seed=7, **options)


# Tokens


def test_cache_holds_the_tokens_that_are_looked_up_by_hand(cache: Any, by_hand: list[list[int]]) -> None:
    import tensorflow as tf

    assert cache.lengths.tolist() == [len(row) for row in by_hand]
    assert cache.full_lengths.tolist() == [len(text.split()) + 2 for text in TEXTS]
    assert cache.truncated.tolist() == [3, 6]
    everything = cache.gather(tf.range(len(TEXTS), dtype=tf.int64))
    assert (everything.dtype, everything.to_list()) == (tf.int32, by_hand)
    if not isinstance(cache.ids, RowStore):
        assert [row.tolist() for row in np.split(cache.ids, cache.splits[1:-1])] == by_hand


@pytest.mark.parametrize("rows", [[], [4], [10, 0, 3, 3, 2, 0], list(range(10, -1, -1))])
def test_rows_are_gathered_in_any_order_eagerly_and_in_graphs(
    cache: Any, by_hand: list[list[int]], rows: list[int]
) -> None:
    import tensorflow as tf

    positions = tf.constant(rows, tf.int64)
    expected = [by_hand[row] for row in rows]
    assert cache.gather(positions).to_list() == expected
    in_graph = tf.function(cache.gather, input_signature=[tf.TensorSpec([None], tf.int64)])(positions)
    assert in_graph.to_list() == expected
    assert in_graph.shape.as_list() == [len(rows), None]


def test_tokens_of_stored_texts_are_on_disk_beside_them(encoder: Any, tmp_path: Path) -> None:
    from tfft.data.token_cache import encode_texts

    texts = stored(TEXTS, tmp_path)
    cache = encode_texts(texts, encoder, Console(quiet=True), what="train")
    assert isinstance(cache.ids, RowStore)
    assert cache.ids.directory == tmp_path
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_cache_does_not_depend_on_the_rows_per_call(
    encoder: Any, texts: Any, by_hand: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from tfft.data import token_cache

    monkeypatch.setattr(token_cache, "ROWS_PER_CALL", 3)
    again = token_cache.encode_texts(texts, encoder, Console(quiet=True), what="train")
    assert again.gather(tf.range(len(TEXTS), dtype=tf.int64)).to_list() == by_hand
    assert again.splits.tolist() == [0, *np.cumsum([len(row) for row in by_hand]).tolist()]
    assert again.splits.dtype == np.int64
    assert again.full_lengths.dtype == np.int32


def test_truncated_rows_are_said(encoder: Any, texts: Any) -> None:
    from tfft.data.token_cache import encode_texts

    stream = io.StringIO()
    encode_texts(texts, encoder, Console(stream=stream), what="train")
    assert stream.getvalue() == "train: 2 of 11 rows (18.2%) are longer than 12 tokens and were truncated\n"


def test_no_texts_make_an_empty_cache(encoder: Any, tmp_path: Path) -> None:
    from tfft.data.token_cache import encode_texts

    nothing: tuple[Any, ...] = ([], stored([], tmp_path))
    for texts in nothing:
        empty = encode_texts(texts, encoder, Console(quiet=True), what="train")
        assert (empty.splits.tolist(), empty.lengths.tolist(), empty.truncated.tolist()) == ([0], [], [])


@pytest.mark.parametrize("text", ["lone \ud800 surrogate film", "nul \0 character film"])
def test_text_after_an_odd_character_is_not_lost(encoder: Any, vocabulary: list[str], text: str) -> None:
    from tfft.data.token_cache import encode_texts

    odd: Any = encode_texts([text], encoder, Console(quiet=True), what="train")
    assert odd.ids.tolist()[-2:] == [vocabulary.index("film"), END]


# Training


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("resample", ["none", "oversample", "undersample"])
def test_training_batches_come_as_planned_and_as_padded_by_hand(
    encoder: Any, cache: Any, inputs_by_hand: Callable[..., dict[str, np.ndarray]], epochs: int, resample: str
) -> None:
    from tfft.data.pipeline import token_gather, training_dataset

    targets = np.arange(len(TEXTS), dtype=np.int64) * 10
    weights = np.linspace(0.5, 2.0, len(TEXTS)).astype(np.float32)
    order = order_of(cache.lengths, classes=np.arange(len(TEXTS)) // 7, resample=resample)
    dataset = training_dataset(plain(token_gather(cache, encoder)), targets, weights, order, epochs=epochs)
    plan = [batch for epoch in range(epochs) for batch, _ in order.batches(epoch)]
    rows = {"none": 11, "oversample": 14, "undersample": 8}[resample]
    assert len(plan) == -(-rows // BATCH_SIZE) * epochs
    for (inputs, target, weight, units), batch in zip(dataset, plan, strict=True):
        assert float(units) == len(batch.rows)
        assert_same_inputs(inputs, inputs_by_hand(batch.rows, batch.width))
        np.testing.assert_array_equal(target.numpy(), batch.rows * 10)
        np.testing.assert_array_equal(weight.numpy(), weights[batch.rows])


def test_every_batch_is_made_with_its_own_rows_width_and_seed() -> None:
    from tfft.data.pipeline import training_dataset

    order = order_of(np.array([2, 5, 9, 12, 3, 4, 11]), widths=(4, 12))
    dataset = training_dataset(
        lambda rows, width, seed: {"rows": rows, "width": width, "seed": seed},
        np.zeros(7),
        np.ones(7, np.float32),
        order,
        epochs=2,
    )
    found = [{name: value.numpy().tolist() for name, value in inputs.items()} for inputs, *_ in dataset]
    assert found == [
        {"rows": batch.rows.tolist(), "width": batch.width, "seed": seed.tolist()}
        for epoch in range(2)
        for batch, seed in order.batches(epoch)
    ]


def test_a_dataset_gives_the_same_batches_each_time_it_is_iterated(encoder: Any, cache: Any) -> None:
    from tfft.data.pipeline import token_gather, training_dataset

    order = order_of(cache.lengths)
    dataset = training_dataset(
        plain(token_gather(cache, encoder)), np.arange(11), np.ones(11, np.float32), order, epochs=2
    )
    for one, other in zip(dataset, dataset, strict=True):
        assert_same_tensors(one, other)


def test_rows_from_disk_make_the_batches_of_rows_in_memory_to_the_byte(encoder: Any, tmp_path: Path) -> None:
    from tfft.augment.base import AugmentationContext
    from tfft.augment.compose import Augmenter, parse
    from tfft.data.bucketing import choose_widths
    from tfft.data.pipeline import augmented_gather, token_gather, training_dataset
    from tfft.data.schema import label_numbers, label_vocabulary
    from tfft.data.token_cache import encode_texts

    console = Console(quiet=True)
    texts = [text or "   " for text in TEXTS * 3]
    labels = [("good", "bad", "good ")[row % 3] for row in range(len(texts))]
    found: dict[str, list[list[Any]]] = {}
    for name, cache_dir in (("memory", None), ("disk", tmp_path)):
        examples = examples_of(texts, labels, cache_dir)
        assert examples.streamed == (name == "disk")
        assert examples.dropped == {"blank text": [3, 14, 25]}
        cache = encode_texts(examples.texts, encoder, console, what="train")
        targets = label_numbers(examples, label_vocabulary(examples))
        order = order_of(cache.lengths, widths=choose_widths(cache.lengths, 3), classes=targets, resample="oversample")
        specification = {"random_swap": {"probability": 0.7, "rate": 0.3}}
        context = AugmentationContext(texts=examples.texts, console=console, seed=7)
        augmenter = Augmenter(parse(specification), context, seed=7)
        gathers = (
            plain(token_gather(cache, encoder)),
            augmented_gather(examples.texts, cache, encoder, augmenter, order.widths),
        )
        weights = np.ones(len(examples), np.float32)
        found[name] = [list(training_dataset(gather, targets, weights, order, epochs=2)) for gather in gathers]
        changed = {name: count for name, (count, _) in augmenter.fired().items()}
        assert min(changed.values()) > 0
    for memory, disk in zip(found["memory"], found["disk"], strict=True):
        assert len(memory) == len(disk) > 8
        for one, other in zip(memory, disk, strict=True):
            assert_same_tensors(one, other)
    for unchanged, augmented in zip(*found["memory"], strict=True):
        assert_same_tensors(unchanged[1:], augmented[1:])  # targets and weights
    assert any(
        one["token_ids"].numpy().tobytes() != other["token_ids"].numpy().tobytes()
        for (one, *_), (other, *_) in zip(*found["memory"], strict=True)
    )


class Longer:
    """Says "film" three times after every text."""

    changes_texts = True

    def text(self, texts: Any, tags: Any, rows: Any, seed: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        return tf.strings.join([texts, " film film film"]), tags

    def tokens(self, ids: Any, rows: Any, seed: Any) -> Any:
        return ids


class Telling:
    """Puts the row and the seed in the place of the tokens."""

    changes_texts = False

    def tokens(self, ids: Any, rows: Any, seed: Any) -> Any:
        import tensorflow as tf

        count = tf.shape(rows)[0]
        told = tf.concat([tf.cast(rows[:, tf.newaxis], tf.int32), tf.tile(seed[tf.newaxis], [count, 1])], axis=1)
        return tf.RaggedTensor.from_tensor(tf.concat([told, told], axis=1))


def test_augmented_texts_are_tokenized_again_and_as_wide_as_they_need(
    encoder: Any, cache: Any, texts: Any, vocabulary: list[str], by_hand: list[list[int]]
) -> None:
    import tensorflow as tf

    from tfft.data.pipeline import augmented_gather

    gather: Any = tf.function(augmented_gather(texts, cache, encoder, Longer(), (5, 6, 8)))  # type: ignore[arg-type]
    film = vocabulary.index("film")
    for rows, width in (([5, 10], 6), ([0, 5], 12), ([1], 8), ([2], 5), ([6, 6], 12)):
        expected = [[*by_hand[row][:-1], film, film, film][: SEQUENCE_LENGTH - 1] for row in rows]
        inputs = gather(tf.constant(rows, tf.int64), tf.constant(5), tf.constant([1, 2]))
        ids, mask = inputs["token_ids"].numpy(), inputs["padding_mask"].numpy()
        assert ids.shape == (len(rows), width)
        assert ids.tolist() == [[*row, END, *[PAD] * (width - len(row) - 1)] for row in expected]
        assert mask.sum(axis=1).tolist() == [len(row) + 1 for row in expected]


def test_token_augmentations_get_the_rows_and_the_seed_of_the_batch(encoder: Any, cache: Any, texts: Any) -> None:
    import tensorflow as tf

    from tfft.data.pipeline import augmented_gather, training_dataset

    order = order_of(cache.lengths)
    gather = augmented_gather(texts, cache, encoder, Telling(), WIDTHS)  # type: ignore[arg-type]
    dataset = training_dataset(gather, np.arange(11), np.ones(11, np.float32), order, epochs=2)
    planned = [step for epoch in range(2) for step in order.batches(epoch)]
    for (inputs, *_), (batch, seed) in zip(dataset, planned, strict=True):
        assert inputs["token_ids"].dtype == tf.int32
        assert inputs["token_ids"].numpy().tolist() == [[row, *seed.tolist()] * 2 for row in batch.rows.tolist()]


# Inference


def test_inference_batches_come_as_planned_and_as_padded_by_hand(
    encoder: Any, cache: Any, inputs_by_hand: Callable[..., dict[str, np.ndarray]]
) -> None:
    from tfft.data.pipeline import inference_dataset, token_gather

    dataset, batches = inference_dataset(token_gather(cache, encoder), cache.lengths, batch_size=BATCH_SIZE)
    planned = inference_batches(cache.lengths, batch_size=BATCH_SIZE)
    assert [batch.rows.tolist() for batch in batches] == [batch.rows.tolist() for batch in planned]
    for inputs, batch in zip(dataset, planned, strict=True):
        assert_same_inputs(inputs, inputs_by_hand(batch.rows, batch.width))


def test_array_gather_picks_rows_whatever_the_width() -> None:
    import tensorflow as tf

    from tfft.data.pipeline import array_gather, training_dataset

    values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    gather = array_gather(values)
    rows = tf.constant([4, 0, 4], tf.int64)
    np.testing.assert_array_equal(gather(rows, tf.constant(99)).numpy(), values[[4, 0, 4]])
    order = EpochOrder(np.ones(6, np.int64), (1,), batch_size=4, seed=0)
    dataset = training_dataset(plain(gather), np.arange(6), np.ones(6, np.float32), order, epochs=1)
    seen: dict[int, np.ndarray] = {}
    for inputs, targets, *_ in dataset:
        seen.update(zip(targets.numpy().tolist(), inputs.numpy(), strict=True))
    assert sorted(seen) == list(range(6))
    np.testing.assert_array_equal(np.stack([seen[row] for row in range(6)]), values)
