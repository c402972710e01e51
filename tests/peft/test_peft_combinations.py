"""Every method together with what else stands for layers: checkpointing, faster layers, short and packed rows."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from tiny_bases import HIDDEN, ROWS, Tiny, tiny
from tiny_training import added, outputs_and_gradients, shaken, small

from tfft.backbones.base import TextBackbone
from tfft.backbones.first_token import first_token_features
from tfft.backbones.packed import build_packed
from tfft.layers.fast_layers import restore, speed_up
from tfft.layers.pooling import POOLING
from tfft.layers.recompute import recompute
from tfft.peft.base import methods

#: Sums in another order.
ROUNDING = 1e-5
every_method = pytest.mark.parametrize("method", methods.names())


def assert_alike(first: tuple[Any, dict[str, Any]], second: tuple[Any, dict[str, Any]]) -> None:
    np.testing.assert_allclose(first[0], second[0], atol=ROUNDING, rtol=ROUNDING)
    assert first[1].keys() == second[1].keys()
    for path, gradient in first[1].items():
        np.testing.assert_allclose(gradient, second[1][path], atol=10 * ROUNDING, rtol=10 * ROUNDING, err_msg=path)


@every_method
def test_recomputed_blocks_give_the_same_gradients(method: str) -> None:
    made = tiny("bert", dropout=0.1)
    shaken(added(made, method))
    expected = outputs_and_gradients(made, training=True)
    with recompute(made.base.blocks):
        assert_alike(outputs_and_gradients(made, training=True), expected)
    assert_alike(outputs_and_gradients(made, training=True), expected)


@every_method
@pytest.mark.parametrize("first", ["adapter", "speed"])
def test_it_works_with_faster_layers(method: str, first: str) -> None:
    made = tiny("bert")
    plain = made()
    if first == "speed":
        assert speed_up([made.whole])
    adapter = shaken(added(made, method))
    if first == "adapter":
        speed_up([made.whole])
    fast = outputs_and_gradients(made)
    restore([made.whole])
    assert_alike(outputs_and_gradients(made), fast)
    expected, adapter_of_expected = small(method)
    shaken(adapter_of_expected)
    assert_alike(outputs_and_gradients(expected), fast)
    adapter.remove()
    np.testing.assert_array_equal(made(), plain)


def text_backbone(made: Tiny) -> TextBackbone:
    return TextBackbone("tiny", made.whole, made.base.model, None, "none", (), (), 0, 40, HIDDEN, False)


@every_method
def test_the_first_token_alone_is_that_of_the_whole_row(method: str) -> None:
    made, adapter = small(method)
    if adapter.whole_model:
        pytest.skip("it needs the whole model")
    shaken(adapter)
    backbone = text_backbone(made)
    inputs = backbone.inputs()
    short = keras.Model(inputs, first_token_features(backbone, inputs, frozen=False))
    assert short.output.shape[1] == 1
    np.testing.assert_allclose(short(made.batch), made()[:, :1], atol=ROUNDING, rtol=ROUNDING)
    trained = {id(variable) for variable in made.base.model.trainable_variables}
    assert {id(variable) for variable in short.trainable_variables} == trained


@every_method
def test_packed_rows_give_what_each_example_gives(method: str) -> None:
    made, adapter = small(method)
    if adapter.whole_model:
        pytest.skip("it needs the whole model")
    shaken(adapter)
    backbone = text_backbone(made)
    vector = keras.Input((HIDDEN,))
    head = keras.Model(vector, keras.layers.Dense(3, name="head")(vector))
    packed = build_packed(backbone, head, pooling="mean", slots=2, frozen=False)
    lengths, width = made.batch["padding_mask"].sum(axis=1), 13
    rows: dict[str, Any] = {name: np.zeros((ROWS // 2, width), np.int32) for name in packed.input}
    for example, length in enumerate(lengths):
        row, slot = divmod(example, 2)
        place = slice(lengths[example - 1], None) if slot else slice(None)
        rows["token_ids"][row, place][:length] = made.batch["token_ids"][example, :length]
        rows["segment_numbers"][row, place][:length] = slot + 1
    inputs = backbone.inputs()
    plain = keras.Model(
        inputs, head(POOLING["mean"]()([backbone.features(inputs, frozen=False), inputs["padding_mask"]]))
    )
    expected = np.asarray(plain(made.batch)).reshape(ROWS // 2, 2, -1)
    np.testing.assert_allclose(packed(rows), expected, atol=ROUNDING, rtol=ROUNDING)
