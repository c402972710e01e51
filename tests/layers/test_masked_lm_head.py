"""The head against KerasHub's own, on every kind of encoder it is made for."""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.keras_hub import _is_causal
from tfft.core.errors import PresetError
from tfft.layers.masked_lm_head import MaskedLanguageModelHead, tied_embedding

MODELS = keras_hub.models
VOCABULARY, HIDDEN, LENGTH, PLACES, ROWS = 47, 16, 7, 3, 4
SIZES: dict[str, Any] = {"num_layers": 1, "num_heads": 2, "hidden_dim": HIDDEN, "intermediate_dim": 32}
BERT = {**SIZES, "vocabulary_size": VOCABULARY, "max_sequence_length": 40}
ENCODERS = {
    "bert": (MODELS.BertBackbone, BERT, MODELS.BertMaskedLM),
    "roberta": (MODELS.RobertaBackbone, BERT, MODELS.RobertaMaskedLM),
    "xlm_roberta": (MODELS.XLMRobertaBackbone, BERT, MODELS.XLMRobertaMaskedLM),
    "distil_bert": (MODELS.DistilBertBackbone, BERT, MODELS.DistilBertMaskedLM),
    "deberta_v3": (MODELS.DebertaV3Backbone, {**BERT, "bucket_size": 8}, MODELS.DebertaV3MaskedLM),
    "albert": (
        MODELS.AlbertBackbone,
        {**BERT, "embedding_dim": 8, "num_groups": 1, "num_inner_repetitions": 1},
        MODELS.AlbertMaskedLM,
    ),
    "f_net": (MODELS.FNetBackbone, {k: v for k, v in BERT.items() if k != "num_heads"}, MODELS.FNetMaskedLM),
    "electra": (
        MODELS.ElectraBackbone,
        {**SIZES, "vocab_size": VOCABULARY, "embedding_dim": 8, "max_sequence_length": 40},
        None,
    ),
}
RANDOM = np.random.default_rng(5)
IDS = RANDOM.integers(5, VOCABULARY, (ROWS, LENGTH)).astype(np.int32)
POSITIONS = np.array([[0, 3, 6], [1, 2, -1], [5, -1, -1], [-1, -1, -1]], np.int32)


def shaken(variables: list[Any]) -> list[np.ndarray]:
    """Random values of the variables' shapes: the initial ones hide a swapped gamma and beta, or a bias left out."""
    return [RANDOM.normal(size=variable.shape).astype(np.float32) for variable in variables]


def in_features(model: Any, positions: np.ndarray = POSITIONS) -> dict[str, np.ndarray]:
    features = {
        "token_ids": IDS,
        "padding_mask": np.ones_like(IDS),
        "segment_ids": np.zeros_like(IDS),
        "mask_positions": np.maximum(positions, 0),
    }
    return {name: features[name] for name in model.input}


def token_features(backbone: Any) -> np.ndarray:
    found = backbone(in_features(backbone))
    return np.asarray(found["sequence_output"] if isinstance(found, dict) else found)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "electra"])
def test_logits_are_those_of_keras_hub(name: str) -> None:
    kind, options, task_kind = ENCODERS[name]
    backbone = kind(**options)
    task = task_kind(backbone, preprocessor=None)
    embedding = tied_embedding(backbone, preset=name, causal=_is_causal(kind))
    assert embedding is task.masked_lm_head.token_embedding
    head = MaskedLanguageModelHead(embedding, approximate_gelu=name == "albert")
    features = token_features(backbone)
    head(features, POSITIONS)
    theirs = [variable for variable in task.masked_lm_head.variables if variable is not embedding.embeddings]
    named = {variable.path.rsplit("mlm_head/", 1)[-1]: variable for variable in theirs}
    order = [
        "intermediate_dense/kernel",
        "intermediate_dense/bias",
        "intermediate_layer_norm/gamma",
        "intermediate_layer_norm/beta",
        "output_bias",
    ]
    for own, path, value in zip(head.own_variables, order, shaken(head.own_variables), strict=True):
        own.assign(value)
        named[path].assign(value)
    assert len(named) == len(head.own_variables)
    logits = head(features, POSITIONS)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, task(in_features(task)), rtol=1e-5, atol=1e-5)


def test_electra_has_embeddings_of_another_size() -> None:
    backbone = ENCODERS["electra"][0](**ENCODERS["electra"][1])
    head = MaskedLanguageModelHead(tied_embedding(backbone, preset="electra", causal=False))
    features = token_features(backbone)
    head(features, POSITIONS)
    kernel, bias, gamma, beta, output = [np.asarray(value) for value in shaken(head.own_variables)]
    for variable, value in zip(head.own_variables, (kernel, bias, gamma, beta, output), strict=True):
        variable.assign(value)
    from scipy.special import erf

    picked = np.take_along_axis(features, np.maximum(POSITIONS, 0)[..., None], axis=1) @ kernel + bias
    active = picked * 0.5 * (1 + erf(picked / np.sqrt(2)))
    normal = (active - active.mean(-1, keepdims=True)) / np.sqrt(active.var(-1, keepdims=True) + 1e-5)
    expected = (normal * gamma + beta) @ np.asarray(backbone.token_embedding.embeddings).T + output
    np.testing.assert_allclose(head(features, POSITIONS), expected, rtol=1e-4, atol=1e-5)


def model_of(width: int | None = None) -> tuple[keras.Model, Any, MaskedLanguageModelHead]:
    kind, options, _ = ENCODERS["bert"]
    backbone = kind(**options, dropout=0.0)
    inputs = {
        name: keras.Input((width,), dtype="int32", name=name) for name in ("token_ids", "padding_mask", "segment_ids")
    }
    positions = keras.Input((PLACES,), dtype="int32", name="masked_positions")
    head = MaskedLanguageModelHead(tied_embedding(backbone, preset="bert", causal=False))
    logits = head(backbone(inputs)["sequence_output"], positions)
    assert logits.shape == (None, PLACES, VOCABULARY)
    return keras.Model({**inputs, "masked_positions": positions}, logits), backbone, head


def batch(width: int = LENGTH) -> dict[str, np.ndarray]:
    ids = RANDOM.integers(5, VOCABULARY, (ROWS, width)).astype(np.int32)
    return {
        "token_ids": ids,
        "padding_mask": np.ones_like(ids),
        "segment_ids": np.zeros_like(ids),
        "masked_positions": POSITIONS,
    }


def test_the_matrix_is_trained_as_input_and_as_output() -> None:
    model, backbone, head = model_of()
    matrix = backbone.token_embedding.embeddings
    assert sum(variable is matrix for variable in model.trainable_variables) == 1
    assert {id(variable) for variable in head.own_variables} < {id(variable) for variable in model.trainable_variables}
    trained = [matrix, *head.own_variables]
    for variable, value in zip(trained, shaken(trained), strict=True):
        variable.assign(value)  # with a kernel near 0 the features would have no influence
    features = batch()

    def loss(values: list[tf.Tensor]) -> tf.Tensor:
        fixed = [variable.value for variable in model.non_trainable_variables]
        logits, _ = model.stateless_call(values, fixed, features, training=True)
        return tf.reduce_mean(tf.square(logits[0]))

    values = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
    place = next(place for place, variable in enumerate(model.trainable_variables) if variable is matrix)
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = loss(values)
    gradient = tf.convert_to_tensor(tape.gradient(found, values)[place]).numpy()
    seen = set(features["token_ids"][0].tolist())
    unseen = next(number for number in range(VOCABULARY) if number not in seen)
    for number in (int(features["token_ids"][0, 0]), unseen):  # one is input and output, the other output only
        step = np.zeros(matrix.shape, np.float32)
        step[number] = 1e-3 * RANDOM.normal(size=HIDDEN)
        sides = [float(loss([*values[:place], values[place] + sign * step, *values[place + 1 :]])) for sign in (1, -1)]
        assert (sides[0] - sides[1]) / 2 == pytest.approx(float((gradient * step).sum()), rel=1e-2)


def test_there_are_never_logits_of_all_tokens() -> None:
    width = 11
    model, _, _ = model_of(width)

    @tf.function
    def step(features: dict[str, tf.Tensor]) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(features, training=True))
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    graph = step.get_concrete_function({name: tf.constant(value) for name, value in batch(width).items()}).graph
    sizes = [tensor.shape.num_elements() for operation in graph.get_operations() for tensor in operation.outputs]
    known = [size for size in sizes if size is not None]
    assert ROWS * PLACES * VOCABULARY in known
    assert ROWS * width * VOCABULARY not in known
    assert max(known) < ROWS * width * VOCABULARY


def test_xla_and_low_precision_give_the_same_up_to_rounding() -> None:
    model, backbone, head = model_of(LENGTH)
    features = batch()
    expected = model(features).numpy()
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(features), expected, atol=1e-5)
    low = MaskedLanguageModelHead(backbone.token_embedding, dtype="mixed_bfloat16")
    hidden = token_features(backbone)
    low(hidden, POSITIONS)
    for variable, value in zip(low.own_variables, head.own_variables, strict=True):
        assert variable.dtype == "float32"
        variable.assign(value)
    logits = low(hidden, POSITIONS)
    assert logits.dtype == "float32"
    exact = head(hidden, POSITIONS).numpy()
    assert 0 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("kind", "options", "causal", "words"),
    [
        (MODELS.GPT2Backbone, BERT, True, "GPT2Backbone, a causal model"),
        (
            MODELS.LlamaBackbone,
            {**SIZES, "vocabulary_size": 9, "num_query_heads": 2, "num_key_value_heads": 2},
            True,
            "causal",
        ),
        (MODELS.ESMBackbone, SIZES | {"vocabulary_size": VOCABULARY}, False, "embeds its tokens by Embedding:"),
    ],
    ids=["gpt2", "llama", "esm"],
)
def test_what_cannot_fill_in_masks_is_refused(kind: Any, options: dict[str, Any], causal: bool, words: str) -> None:
    assert _is_causal(kind) == causal
    if kind is MODELS.LlamaBackbone:
        options = {name: value for name, value in options.items() if name != "num_heads"}
    with pytest.raises(PresetError, match=words):
        tied_embedding(kind(**options), preset="some", causal=causal)


def test_a_backbone_without_token_embeddings_is_refused() -> None:
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, keras.layers.Embedding(5, 4)(ids))
    with pytest.raises(PresetError, match="has no token_embedding"):
        tied_embedding(model, preset="mine", causal=False)
    model.token_embedding = keras.layers.ReversibleEmbedding(5, 4, tie_weights=False)
    with pytest.raises(PresetError, match="ReversibleEmbedding with untied"):
        tied_embedding(model, preset="mine", causal=False)
