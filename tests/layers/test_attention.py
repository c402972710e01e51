"""Attention against loops in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.attention import BahdanauAttention, LuongAttention

SIZE, VALUE = 3, 5
MASK = np.array([[1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], bool)


def attention(name: str) -> Any:
    return BahdanauAttention(4, seed=1) if name == "additive" else LuongAttention(name, seed=1)


def loop_attention(layer: Any, queries: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = np.zeros((*queries.shape[:2], values.shape[1]))
    contexts = np.zeros((*queries.shape[:2], values.shape[2]))
    for row, mask in enumerate(MASK):
        for place, query in enumerate(queries[row].astype(np.float64)):
            real = np.flatnonzero(mask)
            if not len(real):
                continue
            scores = []
            for value in values[row, real].astype(np.float64):
                if isinstance(layer, BahdanauAttention):
                    compared = np.tanh(query @ layer.query_kernel.numpy() + value @ layer.key_kernel.numpy())
                    scores.append(float(compared @ layer.score_kernel.numpy()[:, 0]))
                else:
                    scores.append(
                        float(query @ (layer.kernel.numpy().T @ value if layer.score == "general" else value))
                    )
            weights[row, place, real] = np.exp(scores) / np.exp(scores).sum()
            contexts[row, place] = weights[row, place] @ values[row]
    return contexts, weights


def case(name: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    queries = random.normal(size=(3, 2, VALUE if name == "dot" else SIZE)).astype(np.float32)
    return queries, random.normal(size=(3, 4, VALUE)).astype(np.float32)


@pytest.mark.parametrize("name", ["general", "dot", "additive"])
def test_contexts_and_weights_are_those_of_the_papers(name: str) -> None:
    layer, (queries, values) = attention(name), case(name)
    contexts, weights = layer(queries, values, mask=MASK)
    wanted_contexts, wanted_weights = loop_attention(layer, queries, values)
    np.testing.assert_allclose(contexts, wanted_contexts, atol=1e-6)
    np.testing.assert_allclose(weights, wanted_weights, atol=1e-6)
    assert not np.asarray(weights)[~np.broadcast_to(MASK[:, None], weights.shape)].any()  # 0, not nearly


@pytest.mark.parametrize("name", ["general", "dot", "additive"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_step_is_one_of_many(name: str, jit_compile: bool) -> None:
    layer, (queries, values) = attention(name), case(name)
    contexts, weights = layer(queries, values, mask=MASK)
    one = tf.function(layer, jit_compile=jit_compile, autograph=False)(queries[:, 1], values, mask=MASK)
    np.testing.assert_allclose(one[0], contexts[:, 1], atol=1e-6)
    np.testing.assert_allclose(one[1], weights[:, 1], atol=1e-6)


def test_rows_of_a_sequence_share_its_memory() -> None:
    layer, (queries, values) = attention("general"), case("general")
    contexts, _ = layer(queries, values, mask=MASK)
    shared, _ = layer.attend(queries.reshape(6, SIZE), layer.memory(values, MASK))
    np.testing.assert_allclose(shared, np.reshape(contexts, (6, VALUE)), atol=1e-6)


@pytest.mark.parametrize("name", ["general", "dot", "additive"])
def test_gradients_of_a_wholly_masked_row_are_zero(name: str) -> None:
    layer, (queries, values) = attention(name), map(tf.constant, case(name))
    with tf.GradientTape() as tape:
        tape.watch([queries, values])
        contexts, weights = layer(queries, values, mask=MASK)
        loss = tf.reduce_sum(contexts**2) + tf.reduce_sum(weights**2)
    for gradient in tape.gradient(loss, [queries, values]):
        assert np.isfinite(gradient).all()
        assert not np.any(gradient[2])
        assert np.any(gradient[0])


@pytest.mark.parametrize("name", ["general", "dot", "additive"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(name: str, policy: str) -> None:
    layer, (queries, values) = attention(name), case(name)
    wanted, _ = layer(queries, values, mask=MASK)
    half = type(layer).from_config({**layer.get_config(), "dtype": policy})
    contexts, _ = half(queries, values, mask=MASK)
    assert contexts.dtype == half.compute_dtype
    np.testing.assert_allclose(tf.cast(contexts, tf.float32), wanted, atol=0.05)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'general'"):
        LuongAttention("genral")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r'size 3 and values of size 5.*score="general"'):
        LuongAttention("dot")(np.zeros((1, 2, 3)), np.zeros((1, 2, 5)))
    with pytest.raises(ConfigError, match="units is 0"):
        BahdanauAttention(0)
