"""The last block for the first token alone: equal outputs and gradients, and less work."""

from __future__ import annotations

import functools
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.backbones.first_token import first_token_features
from tfft.layers.fast_layers import restore, speed_up
from tfft.layers.one_query_attention import can_absorb

HIDDEN, VOCABULARY = 16, 30
SMALL = {"num_layers": 3, "num_heads": 2, "hidden_dim": HIDDEN, "intermediate_dim": 32, "max_sequence_length": 40}
MODELS = keras_hub.models
SHORTENED: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (MODELS.BertBackbone, {"vocabulary_size": VOCABULARY}),
    "roberta": (MODELS.RobertaBackbone, {"vocabulary_size": VOCABULARY}),
    "distil_bert": (MODELS.DistilBertBackbone, {"vocabulary_size": VOCABULARY}),
    "electra": (MODELS.ElectraBackbone, {"vocab_size": VOCABULARY, "embedding_dim": 8}),
    "albert": (MODELS.AlbertBackbone, {"vocabulary_size": VOCABULARY, "embedding_dim": 8, "num_groups": 1}),
}


def small(kind: Any, dropout: float = 0.0, **options: Any) -> TextBackbone:
    """Returns a backbone with weights large enough that neighbours matter."""
    if kind is MODELS.AlbertBackbone:
        options["num_inner_repetitions"] = 1
    model = kind(dropout=dropout, **{**SMALL, **options})
    random = np.random.default_rng(7)
    for weight in model.weights:
        if "seed_generator" not in weight.path:
            weight.assign(random.normal(scale=0.3, size=weight.shape))
    trunk = model
    if isinstance(model.output, dict):
        trunk = keras.Model(model.input, model.output["sequence_output"], name=model.name)
    return TextBackbone("small", model, trunk, None, "none", (), (), 0, 40, HIDDEN, False)


def batch(backbone: TextBackbone) -> dict[str, np.ndarray]:
    mask = (np.arange(9) < np.array([[9], [4], [1], [6]])).astype(np.int32)
    tokens = np.random.default_rng(1).integers(1, VOCABULARY, mask.shape).astype(np.int32) * mask
    every = {"token_ids": tokens, "padding_mask": mask, "segment_ids": np.zeros_like(mask)}
    return {name: every[name] for name in backbone.inputs()}


def whole_and_short(backbone: TextBackbone, *, frozen: bool = False) -> tuple[keras.Model, keras.Model]:
    inputs = backbone.inputs()
    whole = keras.Model(inputs, backbone.features(inputs, frozen=frozen)[:, :1])
    inputs = backbone.inputs()
    return whole, keras.Model(inputs, first_token_features(backbone, inputs, frozen=frozen))


def outputs_and_gradients(model: keras.Model, data: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    towards = np.random.default_rng(2).normal(size=(4, 1, HIDDEN)).astype(np.float32)
    with tf.GradientTape() as tape:
        outputs = model(data)
        loss = tf.reduce_sum(outputs * towards)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    return outputs.numpy(), {
        variable.path: tf.convert_to_tensor(gradient).numpy()
        for variable, gradient in zip(variables, gradients, strict=True)
    }


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", SHORTENED)
def test_outputs_and_gradients_are_those_of_the_whole_backbone(name: str, fast: bool) -> None:
    kind, options = SHORTENED[name]
    backbone = small(kind, **options)
    whole, short = whole_and_short(backbone)
    assert short.output.shape[1] == 1
    expected, expected_gradients = outputs_and_gradients(whole, batch(backbone))
    if fast:
        assert speed_up([short])
    outputs, gradients = outputs_and_gradients(short, batch(backbone))
    restore([short])
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert list(gradients) == list(expected_gradients)
    for path, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected_gradients[path], atol=2e-4, rtol=1e-4, err_msg=path)


def test_blocks_that_normalise_first_are_known() -> None:
    hidden, mask = keras.Input((None, HIDDEN), name="hidden"), keras.Input((None,), dtype="int32", name="padding_mask")
    block = keras_hub.layers.TransformerEncoder(32, 2, normalize_first=True)
    trunk = keras.Model({"hidden": hidden, "padding_mask": mask}, block(hidden, padding_mask=mask))
    backbone = TextBackbone("small", trunk, trunk, None, "none", (), (), 0, 40, HIDDEN, False)
    inputs = {
        "hidden": keras.Input((None, HIDDEN), name="hidden"),
        "padding_mask": keras.Input((None,), dtype="int32", name="padding_mask"),
    }
    short = keras.Model(inputs, first_token_features(backbone, inputs, frozen=False))
    data = {
        "hidden": np.random.default_rng(0).normal(size=(2, 5, HIDDEN)).astype(np.float32),
        "padding_mask": np.array([[1, 1, 1, 0, 0], [1] * 5], np.int32),
    }
    np.testing.assert_allclose(short(data), trunk(data)[:, :1], atol=1e-5)


def test_backbones_of_other_blocks_are_applied_whole() -> None:
    options = {"num_query_heads": 2, "num_key_value_heads": 1}
    model = MODELS.LlamaBackbone(VOCABULARY, 2, hidden_dim=HIDDEN, intermediate_dim=32, **options)
    backbone = TextBackbone("small", model, model, None, "none", (), (), 0, 40, HIDDEN, False)
    assert first_token_features(backbone, backbone.inputs(), frozen=False).shape == (None, None, HIDDEN)


def test_dropout_acts_in_training_alone_and_never_when_frozen() -> None:
    backbone = small(MODELS.BertBackbone, 0.5, vocabulary_size=VOCABULARY)
    data = batch(backbone)
    _, short = whole_and_short(backbone)
    assert np.abs(short(data, training=True) - short(data)).max() > 0.1
    _, frozen = whole_and_short(backbone, frozen=True)
    np.testing.assert_array_equal(frozen(data, training=True), short(data))


def test_half_precision_is_kept() -> None:
    backbone = small(MODELS.BertBackbone, vocabulary_size=VOCABULARY, dtype="mixed_bfloat16")
    whole, short = whole_and_short(backbone)
    assert short.output.dtype == "bfloat16"
    np.testing.assert_allclose(
        tf.cast(short(batch(backbone)), tf.float32), tf.cast(whole(batch(backbone)), tf.float32), atol=0.1
    )


def test_the_last_block_takes_a_fraction_of_its_work() -> None:
    backbone = small(MODELS.BertBackbone, vocabulary_size=VOCABULARY, num_layers=1)
    rows = {name: tf.TensorSpec((8, 32), tf.int32) for name in backbone.inputs()}

    def work(model: keras.Model) -> int:
        graph = tf.function(model.call).get_concrete_function(rows).graph
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        return int(tf.compat.v1.profiler.profile(graph, options=options).total_float_ops)

    whole, short = whole_and_short(backbone)
    assert work(short) < 0.1 * work(whole)


def test_keys_and_values_are_projected_where_something_else_stands_for_them() -> None:
    backbone = small(MODELS.BertBackbone, vocabulary_size=VOCABULARY)
    whole, short = whole_and_short(backbone)
    attention = backbone.model.get_layer("transformer_layer_2")._self_attention_layer
    assert can_absorb(attention)
    own = attention._value_dense.call
    attention._value_dense.call = lambda inputs, training=None: 2.0 * own(inputs)
    assert not can_absorb(attention)
    assert np.abs(short(batch(backbone)) - whole(batch(backbone))).max() < 1e-5
    changed = short(batch(backbone))
    del attention._value_dense.call
    assert can_absorb(attention)
    assert np.abs(changed - short(batch(backbone))).max() > 1e-2
    speed_up([short])
    assert can_absorb(attention)
    fast = attention._compute_attention
    attention._compute_attention = functools.partial(fast)
    assert not can_absorb(attention)
    attention._compute_attention = fast
    restore([short])
    attention._key_dense.quantize("int8")
    assert not can_absorb(attention)


def test_a_row_without_tokens_gives_what_the_whole_backbone_gives() -> None:
    backbone = small(MODELS.BertBackbone, vocabulary_size=VOCABULARY)
    whole, short = whole_and_short(backbone)
    data = batch(backbone)
    data["padding_mask"] = np.zeros_like(data["padding_mask"])
    np.testing.assert_allclose(short(data), whole(data), atol=1e-4)


def test_the_model_is_saved_and_loaded_as_keras_does(tmp_path: Any) -> None:
    backbone = small(MODELS.BertBackbone, vocabulary_size=VOCABULARY)
    _, short = whole_and_short(backbone)
    short.save(tmp_path / "short.keras")
    loaded = keras.saving.load_model(tmp_path / "short.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(batch(backbone)), short(batch(backbone)))
