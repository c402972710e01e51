"""ForwardRunner: outputs in the order of the rows, independent of batches, in one trace."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.keras_hub import load_text_backbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.data.pipeline import array_gather, token_gather
from tfft.data.token_cache import TokenCache, encode_texts
from tfft.heads.base import HeadPart
from tfft.inference import ForwardRunner
from tfft.layers.text_encoder import TextEncoder
from tfft.training.build import build_model

LENGTHS = np.array([3, 9, 1, 5, 9, 2, 7, 1, 4, 6, 8, 3, 2])


def rows_of_ids() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(1, 100, size=length) for length in LENGTHS]


def letters(texts: tf.Tensor) -> tf.RaggedTensor:
    return tf.strings.unicode_decode(texts, "UTF-8")


def summing_runner(traces: list[int] | None = None) -> ForwardRunner:
    """A model whose output is the sum of a row's token ids, so that the right answer is plain."""

    def total_of(item: tf.Tensor) -> tf.Tensor:
        if traces is not None:
            traces.append(1)
        return keras.ops.sum(item, axis=1, keepdims=True)

    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    product = keras.layers.Multiply()([inputs["token_ids"], inputs["padding_mask"]])
    total = keras.layers.Lambda(total_of)(product)
    return ForwardRunner(keras.Model(inputs, total))


def outputs_of(runner: ForwardRunner, batch_size: int, console: Console) -> np.ndarray:
    rows = rows_of_ids()
    splits = np.concatenate([[0], np.cumsum(LENGTHS)])
    cache = TokenCache(np.concatenate(rows).astype(np.int32), splits, LENGTHS)
    encoder = TextEncoder(letters, start_ids=[], end_ids=[], pad_id=7, sequence_length=9)
    return runner.outputs(
        token_gather(cache, encoder), cache.lengths, batch_size=batch_size, console=console, what="rows"
    )


@pytest.mark.parametrize("batch_size", [1, 4, 13, 100])
def test_outputs_come_in_the_order_of_the_rows(batch_size: int, quiet: Console) -> None:
    outputs = outputs_of(summing_runner(), batch_size, quiet)
    assert outputs[:, 0].tolist() == [row.sum() for row in rows_of_ids()]


def test_one_trace_serves_all_widths_and_batch_sizes(quiet: Console) -> None:
    traces: list[int] = []
    runner = summing_runner(traces)
    built = len(traces)
    for batch_size in (1, 3, 13):
        outputs_of(runner, batch_size, quiet)
    assert len(traces) == built


def test_the_batch_size_of_a_backbone_changes_nothing_beyond_rounding(tiny_preset: str, quiet: Console) -> None:
    backbone = load_text_backbone(tiny_preset)
    config = FitConfig(task="text_classification")
    runner = ForwardRunner(build_model(backbone, [HeadPart("", "classifier", config, 2)], config).model)
    encoder = backbone.encoder(None)
    texts = [" ".join(["the film was dull"] * count) for count in (1, 4, 2, 5, 3, 1, 2)]
    cache = encode_texts(texts, encoder, quiet, what="texts")
    alone, together = (
        runner.outputs(token_gather(cache, encoder), cache.lengths, batch_size=size, console=quiet, what="rows")
        for size in (1, 7)
    )
    np.testing.assert_allclose(alone, together, atol=1e-6)
    assert len(np.unique(alone.round(5), axis=0)) == 5, "rows of unlike length differ"


def test_a_model_of_one_array_takes_rows_of_features(quiet: Console) -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    inputs = keras.Input((2,))
    runner = ForwardRunner(keras.Model(inputs, keras.layers.Rescaling(2.0)(inputs)))
    lengths = np.array([2, 5, 1, 4, 3, 2])
    outputs = runner.outputs(array_gather(values), lengths, batch_size=4, console=quiet, what="rows")
    np.testing.assert_array_equal(outputs, values * 2)


def test_no_rows_give_an_empty_array_of_the_right_width(quiet: Console) -> None:
    inputs = keras.Input((2,))
    runner = ForwardRunner(keras.Model(inputs, keras.layers.Dense(3)(inputs)))
    outputs = runner.outputs(lambda *_: tf.zeros((0, 2)), np.array([], int), batch_size=4, console=quiet, what="rows")
    assert outputs.shape == (0, 3)
