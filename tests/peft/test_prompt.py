"""Prompt tuning: trained vectors before those of the text."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hugging_face import add, batch, check_alike, forward_backward, run_reference, tiny_bert
from tiny_bases import TEXT, VOCABULARY, randomize, tiny

from tfft.core.errors import ConfigError
from tfft.layers import fast_layers
from tfft.layers.recompute import recompute
from tfft.peft.base import Base, methods
from tfft.peft.prompt import PromptAdapter, PromptConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),  # of T5
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning"),
]
TOKENS = 3


def prompted(base: Base, *, tokens: int = TOKENS, seed: int = 0, **options: Any) -> PromptAdapter:
    config = PromptConfig(num_virtual_tokens=tokens, **options)
    adapter = methods.get("prompt").add(base, config, name="default", seed=seed)
    assert isinstance(adapter, PromptAdapter)
    return adapter


def features(outputs: Any) -> Any:
    """Returns what `tiny` takes as the output of a base."""
    if not isinstance(outputs, dict):
        return outputs
    return next(outputs[name] for name in ("sequence_output", "decoder_sequence_output") if name in outputs)


def with_more_words(name: str, prompt: np.ndarray) -> tuple[keras.Model, Any]:
    """Returns an architecture with more words, whose vectors are the prompt, and its table; the rest is the same."""
    kind, options = TEXT[name]
    size = "vocab_size" if "vocab_size" in options else "vocabulary_size"
    more = kind(**{**options, size: VOCABULARY + TOKENS})
    tables = []
    for variable, own in zip(more.weights, tiny(name).whole.weights, strict=True):
        value = own.numpy()
        if value.shape[0] == VOCABULARY and variable.shape[0] == VOCABULARY + TOKENS:
            value = np.concatenate([value, prompt])
            tables.append(variable)
        elif variable.shape != own.shape:  # from vectors to logits, which is not used
            value = np.concatenate([value, value[:, :TOKENS]], axis=1)
        variable.assign(value)
    return more, tables[0]


def with_the_words(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns rows that begin with the words whose vectors are the prompt; those of a decoder stay."""
    words = {
        "token_ids": range(VOCABULARY, VOCABULARY + TOKENS),
        "padding_mask": [1] * TOKENS,
        "segment_ids": [0] * TOKENS,
    }
    longer = dict(batch)
    for name, value in batch.items():
        if not name.startswith("decoder_"):
            first = np.tile(words[name.removeprefix("encoder_")], (len(value), 1))
            longer[name] = np.concatenate([first, value], axis=1).astype(np.int32)
    return longer


#: One of each kind of model; the others are in the slow tier.
ALWAYS = ("bert", "distil_bert", "gpt2", "llama", "bart", "deberta_v3")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.slow])
        for name in TEXT
        if name not in {"xlm_roberta", "llama3", "mixtral", "opt"}  # as others here
    ],
)
def test_a_prompt_is_what_more_words_before_the_text_would_be(name: str) -> None:
    """Outputs and gradients, against the whole architecture with a word for each vector, on a longer row."""
    made = tiny(name)
    untouched = made()
    adapter = prompted(made.base)
    ((key, variable),) = adapter.variables.items()
    prompt = np.random.default_rng(3).normal(size=variable.shape).astype(np.float32)
    adapter.load_state({key: prompt})
    more, table = with_more_words(name, prompt)
    towards = np.random.default_rng(2).normal(size=untouched.shape).astype(np.float32)

    with tf.GradientTape() as tape:
        outputs = features(more(with_the_words(made.batch)))[:, -untouched.shape[1] :]
        loss = tf.reduce_sum(outputs * towards)
    expected = tf.convert_to_tensor(tape.gradient(loss, table.value)).numpy()[VOCABULARY:]
    with tf.GradientTape() as tape:
        ours = made.base.model(made.batch)
        loss = tf.reduce_sum(ours * towards)
    gradient = tf.convert_to_tensor(tape.gradient(loss, variable.value)).numpy()
    assert [item.path for item in made.base.model.trainable_variables] == [variable.path]
    np.testing.assert_allclose(ours, outputs, atol=5e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(ours - untouched).max() > 1e-2
    adapter.remove()
    np.testing.assert_array_equal(made(), untouched)
    assert not made.base.model.trainable_variables


def test_encoder_outputs_are_those_of_the_text_and_decoder_outputs_stay_whole() -> None:
    kind, options = TEXT["bart"]
    model = kind(**options)
    adapter = prompted(Base(model))
    ids = np.array([[4, 5, 6, 7]], np.int32)  # the same object for both: only the encoder's are prompted
    named = {"encoder_token_ids": ids, "decoder_token_ids": ids[:, :2]}
    masks = {"encoder_padding_mask": np.ones_like(ids), "decoder_padding_mask": np.ones_like(ids[:, :2])}
    outputs = model({**named, **masks})
    assert {name: tuple(value.shape[:2]) for name, value in outputs.items()} == {
        "encoder_sequence_output": (1, 4),
        "decoder_sequence_output": (1, 2),
    }
    adapter.enabled = False
    plain = model({**named, **masks})
    assert all(np.any(plain[name] != outputs[name]) for name in plain)


def test_padding_changes_nothing() -> None:
    made = tiny("bert")
    prompted(made.base)
    ragged = made()
    for row, length in enumerate(made.batch["padding_mask"].sum(axis=1)):
        alone = {key: value[row : row + 1, :length] for key, value in made.batch.items()}
        np.testing.assert_allclose(ragged[row, :length], made.base.model(alone)[0], atol=1e-5)


def test_graphs_of_any_length_xla_and_outer_models_compute_the_same() -> None:
    made = tiny("bert")
    prompted(made.base)
    expected = made()
    model = made.base.model
    dynamic = tf.function(model, input_signature=[{name: tf.TensorSpec((None, None), tf.int32) for name in made.batch}])
    inputs = {name: tf.constant(value, tf.int32) for name, value in made.batch.items()}
    np.testing.assert_allclose(dynamic(inputs), expected, atol=1e-5)
    np.testing.assert_allclose(tf.function(model, jit_compile=True)(inputs), expected, atol=1e-5)
    symbolic = {name: keras.Input((None,), dtype="int32", name=name) for name in made.batch}
    outer = keras.Model(symbolic, keras.layers.GlobalAveragePooling1D()(model(symbolic)))
    np.testing.assert_allclose(outer(made.batch), expected.mean(axis=1), atol=1e-5)
    assert len(outer.trainable_variables) == 1


def test_with_fast_layers_and_recomputed_blocks_gradients_are_the_same() -> None:
    made = tiny("bert", dropout=0.2)
    prompted(made.base)
    model = made.base.model
    (trained,) = (tf.convert_to_tensor(variable.value) for variable in model.trainable_variables)
    others = [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]

    def gradient(training: bool) -> np.ndarray:
        with tf.GradientTape() as tape:
            tape.watch(trained)
            outputs, _ = model.stateless_call([trained], others, made.batch, training=training)
            loss = tf.reduce_sum(tf.square(outputs[..., :3]))
        return np.asarray(tape.gradient(loss, trained))

    expected = gradient(training=True)
    assert np.any(expected)
    with recompute(made.base.blocks):
        np.testing.assert_allclose(gradient(training=True), expected, atol=1e-4, rtol=1e-4)
    expected = gradient(training=False)
    fast_layers.speed_up([model])
    np.testing.assert_allclose(gradient(training=False), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_vectors_begin_as_those_of_words(quantize: str | None) -> None:
    made = tiny("bert", quantize=quantize)
    table = np.asarray(made.whole.get_layer("token_embedding")(np.arange(VOCABULARY)[None]))[0]

    def first(seed: int) -> np.ndarray:
        adapter = prompted(made.base, seed=seed)
        (value,) = adapter.state().values()
        assert np.all(np.isfinite(made()))
        adapter.remove()
        return value

    nearest = np.abs(first(1)[:, None] - table[None]).max(axis=-1)
    np.testing.assert_allclose(nearest.min(axis=1), 0, atol=1e-6)
    assert len(set(nearest.argmin(axis=1))) == TOKENS
    np.testing.assert_array_equal(first(1), first(1))
    assert np.any(first(1) != first(2))


def test_vectors_may_begin_at_random() -> None:
    (value,) = prompted(tiny("bert").base, tokens=30, initialization="random").state().values()
    assert -0.5 <= value.min() < -0.45
    assert 0.45 < value.max() <= 0.5
    assert abs(value.mean()) < 0.06


def test_more_vectors_than_words_repeat_some() -> None:
    (value,) = prompted(tiny("llama").base, tokens=VOCABULARY + 4).state().values()
    assert len(value) == VOCABULARY + 4
    assert np.all(np.any(value != 0, axis=1))


def test_in_half_precision_the_prompt_stays_float32() -> None:
    kind, options = TEXT["bert"]
    half = kind(**options, dtype="mixed_bfloat16")
    randomize(half)
    adapter = prompted(Base(half))
    made = tiny("bert")
    prompted(made.base).load_state(adapter.state())
    output = half(made.batch)["sequence_output"]
    assert output.dtype == tf.bfloat16
    assert adapter.trainable_variables[0].dtype == "float32"
    assert np.abs(np.asarray(output, np.float32) - made()).max() < 0.15


def test_state_is_the_prompt_bit_by_bit() -> None:
    made, fresh = tiny("bert"), tiny("bert")
    adapter, other = prompted(made.base), prompted(fresh.base, seed=5)
    expected = made()
    assert np.any(fresh() != expected)
    other.load_state(adapter.state())
    np.testing.assert_array_equal(fresh(), expected)


def test_a_row_is_shorter_by_the_prompt() -> None:
    made = tiny("bert")  # of 40 positions
    adapter = prompted(made.base)
    assert adapter.tokens_taken == TOKENS
    rows = {name: np.ones((1, 38), np.int32) for name in made.batch}
    assert made.base.model({name: value[:, :37] for name, value in rows.items()}).shape == (1, 37, 16)
    with pytest.raises(ConfigError, match=r"row of 38 tokens is too long.*reads 40.*Set sequence_length to 37"):
        made.base.model(rows)
    with pytest.raises(ConfigError, match="num_virtual_tokens=40 leaves no room"):
        prompted(tiny("bert").base, tokens=40)


@pytest.mark.parametrize("name", ["le_net", "vit", "whisper"])
def test_where_there_is_no_text_the_error_says_so(name: str) -> None:
    made = tiny(name)
    with pytest.raises(ConfigError, match=r"puts trained vectors before those of a text's tokens.*Use another method"):
        prompted(made.base)
    assert not made.base.model.trainable_variables


def test_an_embedding_that_is_not_that_of_the_ids_is_an_error_and_not_silence() -> None:
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    shifted = keras.layers.Embedding(9, 4, name="token_embedding")(ids + 1)
    model = keras.Model({"token_ids": ids}, shifted)
    prompted(Base(model))
    with pytest.raises(ConfigError, match="was to embed the token ids once, and did so 0 times"):
        model({"token_ids": np.array([[1, 2]])})


def test_a_model_of_a_single_input_may_be_called_with_it_alone() -> None:
    ids = keras.Input((None,), dtype="int32", name="words")
    model = keras.Model(ids, keras.layers.Embedding(9, 4)(ids))
    prompted(Base(model))
    tokens = np.array([[1, 2]])
    np.testing.assert_array_equal(model(tokens), model.layers[-1](tokens))


@pytest.mark.reference
def test_outputs_and_gradients_are_those_of_hugging_face() -> None:
    base = tiny_bert()
    adapter = add(base, PromptConfig(num_virtual_tokens=TOKENS))
    (state,) = adapter.state().values()
    peft = {"peft_type": "PROMPT_TUNING", "task_type": "FEATURE_EXTRACTION", "num_virtual_tokens": TOKENS}
    theirs = run_reference(base, peft, {"prompt_encoder.default.embedding.weight": state})
    output, gradients = forward_backward(base, adapter)
    check_alike(output, theirs["output"], batch()["mask"] == 1, "output")
    (gradient,) = gradients.values()
    expected = theirs["gradient/prompt_encoder.default.embedding.weight"]
    check_alike(gradient, expected, np.ones(TOKENS, bool), "gradient")
