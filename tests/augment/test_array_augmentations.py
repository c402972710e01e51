"""What holds for each augmentation of images and sound: seeds, rows left alone, what is counted, shapes, tf.data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_sample_images

from tfft.augment.base import ArrayBatch, AugmentationContext, Transform, augmentations
from tfft.augment.compose import Augmenter, parse
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError

IMAGE = ("color_jitter", "cutmix", "mixup", "rand_augment", "random_crop", "random_erasing", "random_flip")
AUDIO = ("background_noise", "gain", "time_shift")
ALL = (*IMAGE, *AUDIO, "spec_augment")
GREY: dict[str, dict[str, float]] = {"color_jitter": {"saturation": 0.0, "hue": 0.0}}
CONTEXT = AugmentationContext(texts=(), console=Console(quiet=True), seed=0)


def prepared(name: str, **options: Any) -> Transform:
    return augmentations.get(name)(**options).prepare(CONTEXT)


def photographs(dtype: str = "uint8", size: int = 12) -> np.ndarray:
    """Pieces of 32 by 24 pixels of two photographs."""
    pieces = [
        photo[i * 60 : i * 60 + 32, i * 70 : i * 70 + 24] for i in range(6) for photo in load_sample_images().images
    ]
    return np.stack(pieces[:size]).astype(dtype)


def waves(size: int = 12, samples: int = 400) -> np.ndarray:
    time = np.arange(samples) / 16_000
    return np.stack([0.3 * np.sin(2 * np.pi * (300 + 150 * row) * time + row) for row in range(size)]).astype("float32")


def batch_for(name: str, dtype: str = "uint8") -> ArrayBatch:
    size = 12
    if name in IMAGE:
        return ArrayBatch(tf.constant(photographs(dtype)), tf.one_hot(np.arange(size) % 5, 5), None)
    lengths = tf.constant(np.linspace(200, 400, size).astype("int32"))
    if name in AUDIO:
        return ArrayBatch(tf.constant(waves()), None, lengths)
    values = np.random.default_rng(3).normal(size=(size, 400, 40)).astype("float32")
    return ArrayBatch(tf.constant(values), None, lengths)


def cases() -> Iterator[tuple[str, str]]:
    for name in ALL:
        yield from ((name, dtype) for dtype in (("uint8", "float32") if name in IMAGE else ("float32",)))


def differing_rows(before: ArrayBatch, after: ArrayBatch) -> np.ndarray:
    """Rows of which any byte of values or targets differs."""
    differs = np.zeros(len(before.values), bool)
    for old, new in ((before.values, after.values), (before.targets, after.targets)):
        if old is not None:
            pairs = zip(old.numpy(), new.numpy(), strict=True)
            differs |= np.array([one.tobytes() != other.tobytes() for one, other in pairs], bool)
    return differs


@pytest.mark.parametrize(("name", "dtype"), cases())
def test_the_result_depends_on_batch_and_seed_alone(name: str, dtype: str) -> None:
    batch, transform = batch_for(name, dtype), prepared(name, probability=1.0)
    first, _ = transform(batch, tf.constant([1, 2]))
    other, _ = transform(batch, tf.constant([1, 3]))
    tf.random.set_seed(99)
    again, _ = transform(batch, tf.constant([1, 2]))
    anew, _ = prepared(name, probability=1.0)(batch, tf.constant([1, 2]))
    assert not differing_rows(first, again).any()
    assert not differing_rows(first, anew).any()
    # A flip has nothing to draw once its rows are chosen.
    assert differing_rows(first, other).any() == (name != "random_flip")


@pytest.mark.parametrize(("name", "dtype"), cases())
@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_changed_says_which_rows_differ_to_the_bit(name: str, dtype: str, probability: float) -> None:
    batch, transform = batch_for(name, dtype), prepared(name, probability=probability)
    total = 0
    for number in range(8):
        after, changed = transform(batch, tf.constant([number, 5]))
        np.testing.assert_array_equal(changed.numpy(), differing_rows(batch, after))
        total += int(changed.numpy().sum())
    # Of 96 rows, 0.3 of them or all are chosen; some of these may draw nothing, such as themselves to be mixed with.
    assert total >= 60 if probability == 1.0 else 10 <= total <= 45


@pytest.mark.parametrize(("name", "dtype"), cases())
def test_shape_dtype_and_range_stay(name: str, dtype: str) -> None:
    batch = batch_for(name, dtype)
    after, changed = prepared(name, probability=1.0)(batch, tf.constant([4, 4]))
    assert (after.values.shape, after.values.dtype) == (batch.values.shape, batch.values.dtype)
    assert (changed.shape, changed.dtype) == ((len(batch.values),), tf.bool)
    assert after.lengths is batch.lengths
    if name in IMAGE:
        assert 0 <= after.values.numpy().min() <= after.values.numpy().max() <= 255
        np.testing.assert_allclose(tf.reduce_sum(after.targets, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_in_tf_data_it_is_traced_once_and_gives_what_it_gives_outside(name: str) -> None:
    batch, transform, traces = batch_for(name), prepared(name, probability=0.5), []

    def count(values: tf.Tensor, targets: Any, lengths: Any, number: tf.Tensor) -> Any:
        traces.append(number)
        given = ArrayBatch(values, targets if name in IMAGE else None, None if name in IMAGE else lengths)
        after, changed = transform(given, tf.stack([11, tf.cast(number, tf.int32)]))
        assert after.values.shape == given.values.shape
        return after.values, changed

    targets = batch.targets if name in IMAGE else tf.zeros([12])
    lengths = tf.zeros([12]) if name in IMAGE else batch.lengths
    rows = tf.data.Dataset.from_tensor_slices((batch.values, targets, lengths)).repeat(3).batch(12)
    numbered = tf.data.Dataset.zip(rows, tf.data.Dataset.range(3))
    step = tf.autograph.experimental.do_not_convert(lambda row, number: count(*row, number))
    results = list(numbered.map(step))
    assert len(traces) == 1
    values, changed = results[1]
    outside, outside_changed = transform(batch, tf.constant([11, 1]))
    np.testing.assert_array_equal(changed, outside_changed)
    np.testing.assert_allclose(
        tf.cast(values, tf.float32), tf.cast(outside.values, tf.float32), rtol=1e-5, atol=1 if name in IMAGE else 1e-5
    )
    assert not np.array_equal(results[0][1], results[1][1]) or not np.array_equal(results[1][1], results[2][1])


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("cutmix", "mixup")])
def test_a_row_does_not_depend_on_the_others(name: str) -> None:
    batch, transform = batch_for(name, "float32"), prepared(name, probability=1.0)
    values = batch.values.numpy()
    values[1:] = values[1:][::-1] * 0.5
    for number in range(6):
        with_these, _ = transform(batch, tf.constant([number, 1]))
        with_others, _ = transform(batch._replace(values=tf.constant(values)), tf.constant([number, 1]))
        np.testing.assert_array_equal(with_these.values[0], with_others.values[0])


@pytest.mark.parametrize("name", [*AUDIO, "spec_augment"])
def test_padding_stays(name: str) -> None:
    batch = batch_for(name)
    for number in range(4):
        after, changed = prepared(name, probability=1.0)(batch, tf.constant([number, 1]))
        assert changed.numpy().any()
        for before_row, after_row, length in zip(batch.values, after.values, batch.lengths, strict=True):
            np.testing.assert_array_equal(after_row[length:], before_row[length:])


@pytest.mark.parametrize("name", AUDIO)
def test_silent_rows_stay_and_are_not_counted(name: str) -> None:
    values = waves()
    values[::2] = 0.0
    batch = ArrayBatch(tf.constant(values), None, None)
    after, changed = prepared(name, probability=1.0)(batch, tf.constant([2, 2]))
    np.testing.assert_array_equal(changed, np.arange(12) % 2 == 1)
    np.testing.assert_array_equal(after.values[::2], 0.0)


@pytest.mark.parametrize("name", IMAGE)
def test_images_of_one_colour_are_not_counted_where_nothing_shows(name: str) -> None:
    values = np.full((6, 16, 16, 3), 128, np.uint8)
    batch = ArrayBatch(tf.constant(values), tf.one_hot([2] * 6, 4), None)
    after, changed = prepared(name, probability=1.0)(batch, tf.constant([2, 2]))
    np.testing.assert_array_equal(changed, differing_rows(batch, after))
    if name in ("cutmix", "mixup", "random_crop", "random_flip"):
        assert not changed.numpy().any()


@pytest.mark.parametrize("name", IMAGE)
def test_grey_digits_are_augmented(name: str) -> None:
    digits = load_digits().images[:20, :, :, None].astype("float32")
    options = {} if name not in ("color_jitter", "rand_augment", "random_erasing") else {"value_range": (0.0, 16.0)}
    batch = ArrayBatch(tf.constant(digits), tf.one_hot(load_digits().target[:20], 10), None)
    after, changed = prepared(name, probability=1.0, **options, **GREY.get(name, {}))(batch, tf.constant([2, 2]))
    assert changed.numpy().sum() >= 10
    assert 0.0 <= after.values.numpy().min() <= after.values.numpy().max() <= 16.0


IMAGES = st.tuples(st.integers(0, 5), st.integers(1, 17), st.integers(1, 17), st.sampled_from([1, 3]))


@pytest.mark.parametrize("name", IMAGE)
@settings(max_examples=8, deadline=None)
@given(shape=IMAGES, dtype=st.sampled_from(["uint8", "float32"]), number=st.integers(-(2**31), 2**31 - 1))
def test_images_of_any_size_come_back_whole(name: str, shape: tuple[int, ...], dtype: str, number: int) -> None:
    values = np.random.default_rng(abs(number)).integers(0, 256, shape).astype(dtype)
    batch = ArrayBatch(tf.constant(values), tf.one_hot(np.arange(shape[0]) % 3, 3), None)
    options = GREY.get(name, {}) if shape[-1] == 1 else {}
    after, changed = prepared(name, probability=1.0, **options)(batch, tf.constant([number, 1]))
    assert after.values.shape == shape
    assert np.isfinite(after.values.numpy().astype("float64")).all()
    np.testing.assert_array_equal(changed, differing_rows(batch, after))


@pytest.mark.parametrize("name", [*AUDIO, "spec_augment"])
@settings(max_examples=8, deadline=None)
@given(data=st.data(), number=st.integers(-(2**31), 2**31 - 1))
def test_sound_of_any_length_comes_back_whole(name: str, data: st.DataObject, number: int) -> None:
    size, samples = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 40))
    lengths = data.draw(st.lists(st.integers(0, samples), min_size=size, max_size=size))
    shape = (size, samples, 40) if name == "spec_augment" else (size, samples)
    values = np.random.default_rng(abs(number)).normal(size=shape).astype("float32")
    for row, length in enumerate(lengths):
        values[row, length:] = 0.0
    batch = ArrayBatch(tf.constant(values), None, tf.constant(lengths, tf.int32, [size]))
    after, changed = prepared(name, probability=1.0)(batch, tf.constant([number, 1]))
    assert after.values.shape == shape
    assert np.isfinite(after.values.numpy()).all()
    np.testing.assert_array_equal(changed, differing_rows(batch, after))
    assert not changed.numpy()[np.array(lengths, int) == 0].any()


@pytest.mark.parametrize("name", ALL)
def test_arrays_of_another_kind_are_refused_with_what_was_received(name: str) -> None:
    for values in (tf.zeros([2, 8, 8, 3, 1]), tf.zeros([4, 8, 8, 3], tf.int32), tf.zeros([2, 100], tf.float64)):
        with pytest.raises(DataError, match=rf"^{name} takes .*received {values.dtype.name} of shape"):
            prepared(name)(ArrayBatch(values, tf.one_hot([0, 1], 2), None), tf.constant([0, 0]))


@pytest.mark.parametrize("name", IMAGE)
def test_images_of_unknown_size_are_refused(name: str) -> None:
    transform = prepared(name)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 8, 3]), tf.TensorSpec([None, 2])], autograph=False)
    def call(values: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return transform(ArrayBatch(values, targets, None), tf.constant([0, 0]))[0].values

    with pytest.raises(DataError, match=r"of one known size.*Resize"):
        call(tf.zeros([1, 8, 8, 3]), tf.zeros([1, 2]))


def test_augmentations_compose_as_a_config_file_writes_them() -> None:
    images = {"random_flip": 1, "color_jitter": {"probability": 0.5, "value_range": [0, 255]}, "mixup": {"alpha": 1}}
    augmenter = Augmenter(parse(images), CONTEXT, seed=3)
    batch = batch_for("mixup")
    augmenter.check_can_fire({"image": [batch]})
    rows = tf.data.Dataset.from_tensor_slices((batch.values, batch.targets)).repeat(4).batch(12).enumerate()

    def step(number: tf.Tensor, row: Any) -> tf.Tensor:
        return augmenter.arrays(ArrayBatch(*row, None), tf.stack([3, tf.cast(number, tf.int32)])).values

    results = list(rows.map(step))
    flipped = np.flip(batch.values, axis=2)
    assert [result.dtype for result in results] == [tf.uint8] * 4
    assert 0 < sum(np.all(result.numpy() == flipped, axis=(1, 2, 3)).sum() for result in results) < 48
    fired = augmenter.fired()
    assert fired["random_flip"] == (48, 48)
    assert 12 <= fired["color_jitter"][0] <= 36


@pytest.mark.parametrize("name", AUDIO)
def test_sound_that_is_silent_is_said_to_be_why_nothing_can_fire(name: str) -> None:
    augmenter = Augmenter(parse({name: 0.5}), CONTEXT, seed=3)
    with pytest.raises(ConfigError, match=rf"{name} can change none of the 4 training rows: .*(silent|constant)"):
        augmenter.check_can_fire({"audio": [ArrayBatch(tf.zeros([4, 100]), None, None)]})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("random_crop", {"area_min": 1.0}),
        ("mixup", {"alpha": 0.0}),
        ("color_jitter", {"hue": 0.6}),
        ("color_jitter", {"value_range": [0]}),
        ("random_flip", {"mode": "diagonal"}),
        ("rand_augment", {"magnitude": 9}),
        ("time_shift", {"unit": "samples"}),
        ("gain", {"peak": 0}),
        ("spec_augment", {"time_share": 0.0}),
    ],
)
def test_options_out_of_range_are_refused_by_name(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"The option {next(iter(options))} of {name} should be"):
        parse({name: options})
