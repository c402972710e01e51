"""Cached tokens and tf.data pipelines: the tensors are those that NumPy makes by hand, in the planned order."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfft.console import Console
from tfft.data.bucketing import inference_batches, training_batches

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


@pytest.fixture(scope="module")
def encoder(tiny_preset: str) -> Any:
    """The encoder of the tiny backbone."""
    from tfft.backbones.keras_hub import load_text_backbone

    return load_text_backbone(tiny_preset).encoder(SEQUENCE_LENGTH)


@pytest.fixture(scope="module")
def by_hand(encoder: Any) -> list[list[int]]:
    """The token ids of every text, looked up word by word."""
    vocabulary = encoder.tokenizer.get_vocabulary()
    rows = []
    for text in TEXTS:
        words = text.lower().replace("é", "e").split()
        ids = [vocabulary.index(word) if word in vocabulary else UNKNOWN for word in words]
        rows.append([START, *ids[: SEQUENCE_LENGTH - 2], END])
    return rows


@pytest.fixture(scope="module")
def cache(encoder: Any) -> Any:
    """The cache of all texts."""
    from tfft.data.token_cache import encode_texts

    return encode_texts(TEXTS, encoder, Console(quiet=True), what="train")


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


def test_cache_holds_the_tokens_that_are_looked_up_by_hand(cache: Any, by_hand: list[list[int]]) -> None:
    assert [row.tolist() for row in np.split(cache.ids, cache.splits[1:-1])] == by_hand
    assert cache.lengths.tolist() == [len(row) for row in by_hand]
    assert cache.full_lengths.tolist() == [len(text.split()) + 2 for text in TEXTS]
    assert cache.truncated == 2
    assert cache.ragged().to_list() == by_hand


def test_cache_does_not_depend_on_the_rows_per_call(encoder: Any, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfft.data import token_cache

    monkeypatch.setattr(token_cache, "ROWS_PER_CALL", 3)
    again = token_cache.encode_texts(TEXTS, encoder, Console(quiet=True), what="train")
    for name in ("ids", "splits", "full_lengths"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cache, name))


def test_truncated_rows_are_said(encoder: Any) -> None:
    from tfft.data.token_cache import encode_texts

    stream = io.StringIO()
    encode_texts(TEXTS, encoder, Console(stream=stream), what="train")
    assert stream.getvalue() == "train: 2 of 11 rows (18.2%) are longer than 12 tokens and were truncated\n"


def test_no_texts_make_an_empty_cache(encoder: Any) -> None:
    from tfft.data.token_cache import encode_texts

    empty = encode_texts([], encoder, Console(quiet=True), what="train")
    assert (empty.ids.tolist(), empty.splits.tolist(), empty.lengths.tolist(), empty.truncated) == ([], [0], [], 0)


@pytest.mark.parametrize("text", ["lone \ud800 surrogate film", "nul \0 character film"])
def test_text_after_an_odd_character_is_not_lost(encoder: Any, text: str) -> None:
    from tfft.data.token_cache import encode_texts

    odd = encode_texts([text], encoder, Console(quiet=True), what="train")
    assert odd.ids.tolist()[-2:] == [encoder.tokenizer.get_vocabulary().index("film"), END]


@pytest.mark.parametrize("epochs", [1, 3])
def test_training_batches_come_as_planned_and_as_padded_by_hand(
    encoder: Any, cache: Any, inputs_by_hand: Callable[..., dict[str, np.ndarray]], epochs: int
) -> None:
    from tfft.data.pipeline import token_gather, training_dataset

    targets = np.arange(len(TEXTS), dtype=np.int64) * 10
    weights = np.linspace(0.5, 2.0, len(TEXTS)).astype(np.float32)
    widths = (5, 6, 12)
    dataset = training_dataset(
        token_gather(cache, encoder),
        targets,
        weights,
        cache.lengths,
        widths,
        batch_size=BATCH_SIZE,
        seed=7,
        epochs=epochs,
    )
    plan = [
        batch
        for epoch in range(epochs)
        for batch in training_batches(cache.lengths, widths, batch_size=BATCH_SIZE, seed=7, epoch=epoch)
    ]
    assert len(plan) == 3 * epochs
    for (inputs, target, weight), batch in zip(dataset, plan, strict=True):
        assert_same_inputs(inputs, inputs_by_hand(batch.rows, batch.width))
        np.testing.assert_array_equal(target.numpy(), batch.rows * 10)
        np.testing.assert_array_equal(weight.numpy(), weights[batch.rows])


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
    lengths = np.ones(6, dtype=np.int64)
    dataset = training_dataset(
        gather, np.arange(6), np.ones(6, np.float32), lengths, (1,), batch_size=4, seed=0, epochs=1
    )
    seen = {}
    for inputs, targets, _ in dataset:
        seen.update(zip(targets.numpy().tolist(), inputs.numpy(), strict=True))
    assert sorted(seen) == list(range(6))
    np.testing.assert_array_equal(np.stack([seen[row] for row in range(6)]), values)
