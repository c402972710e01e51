"""Prefix tuning: attention with more keys and values, whatever way a layer computes it."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hugging_face import add, batch, check_alike, forward_backward, run_reference, tiny_bert
from tiny_bases import TEXT, Tiny, randomize, tiny

from tfft.core.errors import ConfigError
from tfft.layers import fast_layers
from tfft.layers.first_token_block import FirstTokenBlock
from tfft.layers.recompute import recompute
from tfft.peft._around import Replacements
from tfft.peft._attention import attention
from tfft.peft._surgery import all_layers
from tfft.peft.base import Base, methods
from tfft.peft.prefix import PrefixAdapter, PrefixConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),  # of T5
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning"),
]

TOKENS, ROWS, LENGTH = 3, 2, 6
NAMES = ("keys", "values")
#: Every way of computing attention that is known.
KINDS = (
    *("bert", "gpt2", "deberta_v3", "gpt_neo_x", "bloom", "llama", "llama3", "mistral", "mixtral", "phi3"),
    *("qwen2", "qwen3", "gemma", "gemma3", "t5", "bart"),
)


def prefixed(base: Base, *, tokens: int = TOKENS, reparameterize: bool = False, seed: int = 0) -> PrefixAdapter:
    config = PrefixConfig(num_virtual_tokens=tokens, reparameterize=reparameterize)
    adapter = methods.get("prefix").add(base, config, name="default", seed=seed)
    assert isinstance(adapter, PrefixAdapter)
    return adapter


def backbone(name: str, **changed: Any) -> keras.Model:
    kind, options = TEXT[name]
    keras.utils.set_random_seed(4)
    model = kind(**{**options, **changed})
    randomize(model)
    return model


def outputs_and_gradients(made: Tiny, *, training: bool = False) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns outputs, and gradients of a weighted sum of them; dropout draws the same each time."""
    model = made.base.model
    groups = (model.trainable_variables, model.non_trainable_variables)
    values, others = ([tf.convert_to_tensor(item.value) for item in group] for group in groups)
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs, _ = model.stateless_call(values, others, made.batch, training=training)
        loss = tf.reduce_sum(outputs * np.random.default_rng(2).normal(size=outputs.shape).astype(np.float32))
    return outputs.numpy(), [gradient.numpy() for gradient in tape.gradient(loss, values)]


def assert_alike(first: tuple[np.ndarray, list[np.ndarray]], second: tuple[np.ndarray, list[np.ndarray]]) -> None:
    np.testing.assert_allclose(first[0], second[0], atol=1e-5)
    for one, other in zip(first[1], second[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


def first_attention(model: keras.Model) -> Any:
    return next(view for layer in all_layers(model) if (view := attention(layer)) is not None).layer


def attend(layer: Any, hidden: Any, mask: Any) -> np.ndarray:
    """Calls an attention layer on hidden states `(batch, length, size)` with a mask `(batch, length, length)`."""
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return np.asarray(layer(query=hidden, value=hidden, attention_mask=mask))
    if "T5" in type(layer).__name__:
        return np.asarray(layer(hidden, mask=mask)[0])
    if "Disentangled" in type(layer).__name__:
        places = np.random.default_rng(8).normal(size=(1, 2 * layer.bucket_size, hidden.shape[-1]))
        return np.asarray(layer(hidden, rel_embeddings=tf.constant(places, tf.float32), attention_mask=mask))
    outputs = layer(hidden, attention_mask=mask)
    return np.asarray(outputs[0] if isinstance(outputs, tuple) else outputs)


def keys_and_values(layer: Any, hidden: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns keys and values of tokens that end where a text begins, as the layer itself would make them."""
    first = -hidden.shape[1]
    if hasattr(layer, "_qkv_dense"):
        size = layer.attn_head_size
        both = layer._qkv_dense(hidden)
        key, value = both[..., size : 2 * size], both[..., 2 * size :]
        turned = layer.rotary_embedding_layer(key[..., : layer.rotary_dim], start_index=first)
        return np.concatenate([turned, key[..., layer.rotary_dim :]], axis=-1)[0], np.asarray(value)[0]
    names = ("_key_dense", "key_dense", "key_projector"), ("_value_dense", "value_dense", "value_projector")
    key, value = (next(getattr(layer, name) for name in kind if hasattr(layer, name))(hidden) for kind in names)
    for norm in ("_key_dense_layer_norm", "key_norm"):
        if hasattr(layer, norm):
            key = getattr(layer, norm)(key)
    if hasattr(layer, "_apply_rope"):
        key = layer._apply_rope(key, first)
    elif hasattr(layer, "rotary_embedding_layer"):
        key = layer.rotary_embedding_layer(key, start_index=first)
    if hasattr(layer, "key_value_dim"):
        shape = (1, -1, layer.num_heads, layer.key_value_dim)
        key, value = tf.reshape(key, shape), tf.reshape(value, shape)
    return np.asarray(key)[0], np.asarray(value)[0]


#: One of each kind of attention; the others are in the slow tier.
ALWAYS = [("bert", None), ("gpt2", None), ("llama", None), ("deberta_v3", None), ("bloom", None), ("bert", "int8")]


@pytest.mark.parametrize(
    ("name", "quantize"),
    [
        pytest.param(name, quantize, marks=[] if (name, quantize) in ALWAYS else [pytest.mark.slow])
        for name, quantize in [*((name, None) for name in KINDS), ("bert", "int8"), ("llama", "int4")]
    ],
)
def test_a_prefix_is_what_tokens_before_the_text_would_be(name: str, quantize: str | None) -> None:
    """The keys and values of three real tokens as a prefix, against the layer's own pass over the longer row."""
    model = backbone(name)
    if quantize:
        model.quantize(quantize)
    layer = first_attention(model)
    random = np.random.default_rng(2)
    size = TEXT[name][1]["hidden_dim"]
    before, text = (tf.constant(random.normal(size=(1, n, size)), tf.float32) for n in (TOKENS, LENGTH))
    text = tf.concat([text, text[:, ::-1] * 0.5], axis=0)
    mask = np.tril(np.ones((ROWS, LENGTH, LENGTH), bool))
    mask[1, :, LENGTH - 2 :] = False
    longer = np.tril(np.ones((ROWS, TOKENS + LENGTH, TOKENS + LENGTH), bool))
    longer[:, TOKENS:, TOKENS:] = mask
    rows = tf.concat([tf.repeat(before, ROWS, axis=0), text], axis=1)
    expected = attend(layer, rows, longer)[:, TOKENS:]
    alone = attend(layer, text, mask)
    keys, values = keys_and_values(layer, before)

    adapter = prefixed(Base(model))
    (place,) = [path for path, target in zip(adapter.targets, adapter._views, strict=True) if target.layer is layer]
    adapter.variables[f"{place}/keys"].assign(keys)
    adapter.variables[f"{place}/values"].assign(values)
    np.testing.assert_allclose(attend(layer, text, mask), expected, atol=2e-5)
    assert np.abs(alone - expected).max() > 1e-2, "the prefix matters"
    adapter.remove()
    np.testing.assert_array_equal(attend(layer, text, mask), alone)


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_causal_and_padding_masks_of_keras_leave_the_prefix_in_sight(dropout: float) -> None:
    """Attention written out in NumPy; without dropout Keras has a causal kernel, with it a mask."""
    ids = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(9, 6, mask_zero=True)(ids)
    layer = keras.layers.MultiHeadAttention(2, 4, value_dim=3, dropout=dropout)
    model = keras.Model(ids, [layer(hidden, hidden, use_causal_mask=True), hidden])
    unmasked = keras.Model(hidden, layer(hidden, hidden, use_causal_mask=True))
    randomize(model)
    adapter = prefixed(Base(model))
    tokens = np.array([[3, 1, 4, 1, 5], [2, 7, 8, 0, 0]], np.int32)
    output, vectors = (part.numpy() for part in model(tokens))
    weights: dict[str, dict[str, np.ndarray]] = {}
    for variable in layer.weights:
        weights.setdefault(variable.path.split("/")[-2], {})[variable.name] = variable.numpy()

    def project(name: str, of: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("btd,dnh->btnh", of, weights[name]["kernel"]) + weights[name]["bias"])

    keys, values = (np.tile(adapter.variables[f"{adapter.targets[0]}/{name}"], (2, 1, 1, 1)) for name in NAMES)
    query, key, value = (project(name, vectors) for name in ("query", "key", "value"))
    scores = np.einsum("btnh,bsnh->bnts", query, np.concatenate([keys, key], axis=1)) / np.sqrt(4)
    causal = np.tri(5, dtype=bool)[None]

    def expected(mask: np.ndarray) -> np.ndarray:
        seen = np.concatenate([np.ones((*mask.shape[:2], TOKENS), bool), mask], axis=-1)[:, None]
        shares = softmax(np.where(seen, scores, -1e9))
        context = np.einsum("bnts,bsnh->btnh", shares, np.concatenate([values, value], axis=1))
        end = weights["attention_output"]
        return np.asarray(np.einsum("btnh,nhd->btd", context, end["kernel"]) + end["bias"])

    real = tokens != 0
    padded = causal & real[:, None, :]
    np.testing.assert_allclose(output[real], expected(padded)[real], atol=1e-5)
    np.testing.assert_allclose(unmasked(vectors).numpy(), expected(np.repeat(causal, 2, axis=0)), atol=1e-5)


def test_a_sliding_window_does_not_hide_the_prefix() -> None:
    model = backbone("gemma", use_sliding_window_attention=True, sliding_window_size=2)
    layer = first_attention(model)
    prefixed(Base(model))
    text = tf.constant(np.random.default_rng(3).normal(size=(1, LENGTH, 16)), tf.float32)
    causal = np.tri(LENGTH, dtype=bool)[None]
    windowed = attend(layer, text, causal)
    layer.use_sliding_window_attention = False
    band = causal & ~np.tri(LENGTH, k=-2, dtype=bool)[None]
    np.testing.assert_allclose(windowed, attend(layer, text, band), atol=1e-5)
    assert np.abs(windowed - attend(layer, text, causal)).max() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma"])
def test_token_by_token_with_a_cache_is_as_the_whole_row(name: str) -> None:
    model = backbone(name)
    layer = first_attention(model)
    (view,) = (view for view in prefixed(Base(model))._views if view.layer is layer)
    text = tf.constant(np.random.default_rng(3).normal(size=(1, LENGTH, 16)), tf.float32)
    causal = np.tri(LENGTH, dtype=bool)[None]
    cache = tf.zeros((1, 2, LENGTH, view.heads, view.key_size))
    steps = []
    for step in range(LENGTH):
        token, seen = text[:, step : step + 1], causal[:, step : step + 1]
        arguments = (token, token) if name == "gpt2" else (token,)
        output, cache = layer(*arguments, attention_mask=seen, cache=cache, cache_update_index=step)
        steps.append(output)
    np.testing.assert_allclose(tf.concat(steps, axis=1), attend(layer, text, causal), atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "deberta_v3", "llama", pytest.param("t5", marks=pytest.mark.slow)])
def test_padding_changes_nothing(name: str) -> None:
    made = tiny(name)
    prefixed(made.base)
    ragged = made()
    for row, length in enumerate(made.batch[next(key for key in made.batch if "mask" in key)].sum(axis=1)):
        alone = {key: value[row : row + 1, :length] for key, value in made.batch.items()}
        np.testing.assert_allclose(ragged[row, :length], made.base.model(alone)[0], atol=1e-5)


@pytest.mark.parametrize("reparameterize", [False, True])
def test_graphs_of_any_length_and_xla_compute_the_same(reparameterize: bool) -> None:
    made = tiny("bert")
    prefixed(made.base, reparameterize=reparameterize)
    expected = made()
    signature = {name: tf.TensorSpec((None, None), tf.int32) for name in made.batch}
    dynamic = tf.function(made.base.model, input_signature=[signature])
    compiled = tf.function(made.base.model, jit_compile=True)
    inputs = {name: tf.constant(value, tf.int32) for name, value in made.batch.items()}
    np.testing.assert_allclose(dynamic(inputs), expected, atol=1e-5)
    np.testing.assert_allclose(compiled(inputs), expected, atol=1e-5)
    shorter = {name: value[:2, :4] for name, value in inputs.items()}
    np.testing.assert_allclose(dynamic(shorter), made.base.model(shorter), atol=1e-5)


@pytest.mark.parametrize("order", ["before", "after"])
def test_fast_layers_compute_the_same_in_any_order(order: str) -> None:
    made = tiny("bert")
    reference = tiny("bert")
    plain = prefixed(reference.base, reparameterize=True)
    if order == "after":
        adapter = prefixed(made.base, reparameterize=True)
    fast = fast_layers.speed_up([made.base.model])
    assert any(isinstance(layer, keras.layers.MultiHeadAttention) for layer in fast)
    if order == "before":
        adapter = prefixed(made.base, reparameterize=True)
    assert_alike(outputs_and_gradients(made), outputs_and_gradients(reference))
    fast_layers.restore([made.base.model])
    assert_alike(outputs_and_gradients(made), outputs_and_gradients(reference))
    adapter.remove()
    plain.remove()
    np.testing.assert_array_equal(made(), reference())
    left = {name for layer in all_layers(made.base.model) for name in vars(layer)}
    assert not left & {"call", "_compute_attention", "_tfft_around"}


@pytest.mark.parametrize("reparameterize", [False, True])
def test_recomputed_blocks_have_the_same_gradients(reparameterize: bool) -> None:
    """What the MLP has in common reaches every block, also where a block keeps nothing but its inputs."""
    made = tiny("bert", dropout=0.3)
    prefixed(made.base, reparameterize=reparameterize)
    expected = outputs_and_gradients(made, training=True)
    assert all(np.any(gradient) for gradient in expected[1])
    with recompute(made.base.blocks):
        assert_alike(outputs_and_gradients(made, training=True), expected)


def test_the_first_token_alone_is_as_in_the_whole_row() -> None:
    made = tiny("bert")
    prefixed(made.base)
    block = made.base.blocks[-1]
    hidden = tf.constant(np.random.default_rng(5).normal(size=(4, 7, 16)), tf.float32)
    mask = made.batch["padding_mask"]
    whole = block(hidden, padding_mask=mask)
    np.testing.assert_allclose(FirstTokenBlock(block)([hidden, mask]), whole[:, :1], atol=1e-5)


def test_in_half_precision_variables_stay_float32() -> None:
    made = tiny("bert")
    prefixed(made.base, reparameterize=True)
    expected = made()
    half = backbone("bert", dtype="mixed_bfloat16")
    model = keras.Model(half.input, half.output["sequence_output"])
    adapter = prefixed(Base(model), reparameterize=True)
    output = model(made.batch)
    assert output.dtype == tf.bfloat16
    assert {variable.dtype for variable in adapter.trainable_variables} == {"float32"}
    assert np.abs(np.asarray(output, np.float32) - expected).max() < 0.15


def test_the_mlp_can_be_dropped_and_what_is_left_saved() -> None:
    made = tiny("bert")
    adapter = prefixed(made.base, reparameterize=True)
    expected = made()
    adapter.drop_reparameterization()
    np.testing.assert_array_equal(made(), expected)
    assert not adapter.config.reparameterize
    state = adapter.state()
    assert {name.rpartition("/")[2] for name in state} == {"keys", "values"}
    assert len(made.base.model.trainable_variables) == len(adapter.trainable_variables) == len(state)
    fresh = tiny("bert")
    again = methods.get("prefix").add(fresh.base, adapter.config, name="other", seed=9)
    assert np.abs(fresh() - expected).max() > 1e-3
    again.load_state(state)
    np.testing.assert_array_equal(fresh(), expected)
    with pytest.raises(ConfigError, match="no reparameterisation"):
        adapter.drop_reparameterization()
    adapter.remove()
    np.testing.assert_array_equal(made(), tiny("bert")())


def test_a_seed_decides_the_prefix_and_layers_differ() -> None:
    states = [prefixed(tiny("bert").base, reparameterize=True, seed=seed).state() for seed in (1, 1, 2)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])
        assert np.all(value != states[2][name])
    for one, other in itertools.combinations(states[0].values(), 2):
        assert one.shape != other.shape or np.any(one != other)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("resnet50", "has none"), ("lstm", "has none"), ("f_net", "has none"), ("falcon", "FalconAttention")],
)
def test_where_it_cannot_be_the_error_says_why(name: str, reason: str) -> None:
    made = tiny(name)
    before = made()
    with pytest.raises(ConfigError, match=f"{reason}.*Use another method"):
        prefixed(made.base)
    np.testing.assert_array_equal(made(), before)
    assert not made.base.model.trainable_variables


def test_a_size_of_what_is_left_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="hidden_dim=8"):
        PrefixConfig(reparameterize=False, hidden_dim=8)


def test_of_several_threads_the_last_one_out_restores() -> None:
    class Layer:
        def answer(self) -> int:
            return 1

    layer, first_in, second_in, first_out = Layer(), threading.Event(), threading.Event(), threading.Event()
    replaced = Replacements([(layer, "answer", lambda before: lambda: before() + 1)])
    seen = []

    def first() -> None:
        with replaced():
            first_in.set()
            second_in.wait(5)
        first_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(5)
    with replaced():
        second_in.set()
        first_out.wait(5)
        seen.append(layer.answer())
    thread.join(5)
    assert [*seen, layer.answer()] == [2, 1]
    assert "answer" not in vars(layer)


def reference_names(adapter: PrefixAdapter, reparameterize: bool) -> dict[str, list[str]]:
    """Returns the reference's parameters, and ours that they consist of, in order."""
    sides = [f"{path}/{part}" for path in adapter.targets for part in ("key", "value")]
    if not reparameterize:
        return {"embedding.weight": [f"{side}s" for side in sides]}
    common = {"embedding.weight": "embedding", "transform.0.weight": "kernel", "transform.0.bias": "bias"}
    return {
        **{theirs: [f"prefix_encoder/{ours}"] for theirs, ours in common.items()},
        "transform.2.weight": [f"{side}_kernel" for side in sides],
        "transform.2.bias": [f"{side}_bias" for side in sides],
    }


def as_reference(theirs: str, ours: list[np.ndarray]) -> np.ndarray:
    if theirs in {"transform.0.weight", "transform.2.weight"}:
        return np.concatenate([part.T for part in ours])
    if theirs.endswith("bias"):
        return np.concatenate(ours)
    return np.concatenate([part.reshape(part.shape[0], -1) for part in ours], axis=-1)


@pytest.mark.reference
@pytest.mark.parametrize("reparameterize", [False, True])
def test_outputs_and_gradients_are_those_of_hugging_face(reparameterize: bool) -> None:
    base = tiny_bert()
    config = PrefixConfig(
        num_virtual_tokens=TOKENS, reparameterize=reparameterize, hidden_dim=11 if reparameterize else None
    )
    adapter = add(base, config)
    assert isinstance(adapter, PrefixAdapter)
    names = reference_names(adapter, reparameterize)
    state = adapter.state()
    values = {
        f"prompt_encoder.default.{theirs}": as_reference(theirs, [state[name] for name in ours])
        for theirs, ours in names.items()
    }
    peft = {"peft_type": "PREFIX_TUNING", "task_type": "FEATURE_EXTRACTION", "num_virtual_tokens": TOKENS}
    sizes = {"prefix_projection": reparameterize, "encoder_hidden_size": 11}
    output, gradients = forward_backward(base, adapter)
    # There the text has the positions after the prefix: its table is moved by as many rows.
    table = base.model.get_layer("position_embedding").weights[0]
    table.assign(np.roll(table.numpy(), TOKENS, axis=0))
    theirs = run_reference(base, {**peft, **sizes}, values)
    check_alike(output, theirs["output"], batch()["mask"] == 1, "output")
    for name, ours in names.items():
        expected = theirs[f"gradient/prompt_encoder.default.{name}"]
        made = as_reference(name, [gradients[part] for part in ours])
        check_alike(made, expected, np.ones(expected.shape[0], bool), name)
