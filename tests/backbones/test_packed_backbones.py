"""Backbones on packed rows: outputs and gradients of every example as if it had its row to itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.backbones.packed import build_packed
from tfft.core.errors import ConfigError
from tfft.data.order import EpochOrder
from tfft.data.packing import choose_packer, packed_gather
from tfft.data.token_cache import TokenCache
from tfft.layers.pooling import POOLING

HIDDEN, CLASSES, VOCABULARY = 16, 3, 30
SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": HIDDEN, "intermediate_dim": 32, "max_sequence_length": 40}
ALBERT = {"embedding_dim": 8, "num_groups": 1, "num_inner_repetitions": 1}
MODELS = keras_hub.models
PACKABLE: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (MODELS.BertBackbone, {"vocabulary_size": VOCABULARY}),
    "roberta": (MODELS.RobertaBackbone, {"vocabulary_size": VOCABULARY}),
    "xlm_roberta": (MODELS.XLMRobertaBackbone, {"vocabulary_size": VOCABULARY}),
    "distil_bert": (MODELS.DistilBertBackbone, {"vocabulary_size": VOCABULARY}),
    "electra": (MODELS.ElectraBackbone, {"vocab_size": VOCABULARY, "embedding_dim": 8}),
    "albert": (MODELS.AlbertBackbone, {"vocabulary_size": VOCABULARY, **ALBERT}),
}
OTHERS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "deberta": (MODELS.DebertaV3Backbone, {}, "rel_embedding"),
    "f_net": (MODELS.FNetBackbone, {}, "no padding mask"),
    "gpt2": (MODELS.GPT2Backbone, {}, "TransformerDecoder"),
}


#: The head must be the same in each run.
KERNEL = keras.initializers.RandomNormal(stddev=0.5, seed=3)


def made(kind: Any, dropout: float = 0.0, **options: Any) -> TextBackbone:
    """Returns a small backbone with weights large enough that positions and neighbours matter."""
    options = {**SMALL, **options}
    if kind is MODELS.FNetBackbone:
        del options["num_heads"]
    model = kind(dropout=dropout, **options)
    random = np.random.default_rng(7)
    for weight in model.weights:
        if "seed_generator" not in weight.path:
            weight.assign(random.normal(scale=0.3, size=weight.shape))
    trunk = model
    if isinstance(model.output, dict):
        trunk = keras.Model(model.input, model.output["sequence_output"], name=model.name)
    return TextBackbone("small", model, trunk, None, "none", (), (), 0, 40, HIDDEN, False)


def plain_and_packed(
    backbone: TextBackbone, pooling: str = "mean", *, frozen: bool = False, slots: int = 4, dropout: float = 0.0
) -> tuple[keras.Model, keras.Model]:
    """Returns a model of the backbone, and its packed twin with the same head."""
    vector = keras.Input((HIDDEN,))
    head = keras.Model(
        vector, keras.layers.Dense(CLASSES, kernel_initializer=KERNEL)(keras.layers.Dropout(dropout)(vector))
    )
    inputs = backbone.inputs()
    pooled = POOLING[pooling]()([backbone.features(inputs, frozen=frozen), inputs["padding_mask"]])
    plain = keras.Model(inputs, head(pooled))
    return plain, build_packed(backbone, head, pooling=pooling, slots=slots, frozen=frozen)


#: Rows of 13 tokens: examples 0 and 2, 1 and 3, and 4 alone.
LENGTHS, ROW, SLOT, OFFSET, WIDTH = (7, 3, 5, 9, 6), (0, 1, 0, 1, 2), (0, 0, 1, 1, 0), (0, 0, 7, 3, 0), 13


@pytest.fixture
def examples() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(1, VOCABULARY, length) for length in LENGTHS]


def in_rows_of_their_own(examples: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the plain batch."""
    tokens, mask = np.zeros((2, len(examples), max(LENGTHS)), np.int32)
    for row, ids in enumerate(examples):
        tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
    return {"token_ids": tokens, "padding_mask": mask, "segment_ids": np.zeros_like(tokens)}


def side_by_side(examples: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the packed batch."""
    tokens, numbers = np.zeros((2, max(ROW) + 1, WIDTH), np.int32)
    for ids, row, slot, offset in zip(examples, ROW, SLOT, OFFSET, strict=True):
        tokens[row, offset : offset + len(ids)], numbers[row, offset : offset + len(ids)] = ids, slot + 1
    return {"token_ids": tokens, "segment_numbers": numbers, "segment_ids": np.zeros_like(tokens)}


def taken(model: keras.Model, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the inputs of a batch that a model takes."""
    return {name: batch[name] for name in model.input}


def gradients(model: keras.Model, batch: dict[str, np.ndarray], wanted: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the gradients of the outputs times fixed factors."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(taken(model, batch), training=True) * wanted)
    found = tape.gradient(loss, model.trainable_weights)
    return {
        weight.path: tf.convert_to_tensor(own).numpy()
        for weight, own in zip(model.trainable_weights, found, strict=True)
    }


@pytest.mark.parametrize("name", sorted(PACKABLE))
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_outputs_and_gradients_are_those_of_rows_of_their_own(
    name: str, pooling: str, examples: list[np.ndarray]
) -> None:
    kind, options = PACKABLE[name]
    plain, packed = plain_and_packed(made(kind, **options), pooling)
    alone, beside = in_rows_of_their_own(examples), side_by_side(examples)
    outputs = np.asarray(packed(taken(packed, beside)))
    expected = np.asarray(plain(taken(plain, alone)))
    assert outputs.shape == (3, 4, CLASSES)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(outputs[ROW, SLOT], expected, atol=1e-5)

    factors = np.random.default_rng(2).normal(size=expected.shape).astype(np.float32)
    placed = np.zeros_like(outputs)
    placed[ROW, SLOT] = factors
    found, wanted = gradients(packed, beside, placed), gradients(plain, alone, factors)
    assert list(found) == list(wanted)
    for path, gradient in wanted.items():
        np.testing.assert_allclose(found[path], gradient, atol=1e-5, rtol=1e-5, err_msg=path)
    assert sum(np.abs(gradient).max() > 1e-3 for gradient in wanted.values()) > len(wanted) / 2


@pytest.fixture(scope="module")
def bert() -> TextBackbone:
    return made(MODELS.BertBackbone, vocabulary_size=VOCABULARY)


def test_an_example_does_not_see_its_neighbours(bert: TextBackbone, examples: list[np.ndarray]) -> None:
    _, packed = plain_and_packed(bert)
    before = np.asarray(packed(taken(packed, side_by_side(examples))))
    examples[2] = VOCABULARY - examples[2]
    after = np.asarray(packed(taken(packed, side_by_side(examples))))
    same = np.ones(before.shape[:2], bool)
    same[ROW[2], SLOT[2]] = False
    np.testing.assert_array_equal(before[same], after[same])
    assert np.abs(before[~same] - after[~same]).max() > 1e-3


def test_rows_without_any_example_do_no_harm(bert: TextBackbone, examples: list[np.ndarray]) -> None:
    _, packed = plain_and_packed(bert)
    batch = taken(packed, side_by_side(examples))
    filled = {name: np.concatenate([own, np.zeros((2, WIDTH), np.int32)]) for name, own in batch.items()}
    outputs = np.asarray(packed(filled))
    np.testing.assert_allclose(outputs[:3], packed(batch), atol=1e-6)
    factors = np.zeros_like(outputs)
    factors[ROW, SLOT] = 1.0
    expected = gradients(packed, batch, factors[:3])
    for path, gradient in gradients(packed, filled, factors).items():
        np.testing.assert_allclose(gradient, expected[path], atol=1e-5, rtol=1e-5, err_msg=path)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_stays_finite_and_near(policy: str, examples: list[np.ndarray]) -> None:
    exact = plain_and_packed(made(MODELS.BertBackbone, vocabulary_size=VOCABULARY))[1]
    low = plain_and_packed(made(MODELS.BertBackbone, vocabulary_size=VOCABULARY, dtype=policy))[1]
    low.set_weights(exact.get_weights())
    batch = side_by_side(examples)
    np.testing.assert_allclose(low(taken(low, batch)), exact(taken(exact, batch)), atol=0.1)


def test_xla_gives_the_same(bert: TextBackbone, examples: list[np.ndarray]) -> None:
    _, packed = plain_and_packed(bert, "first")
    batch = taken(packed, side_by_side(examples))
    np.testing.assert_allclose(tf.function(packed, jit_compile=True)(batch), packed(batch), atol=1e-5)


def test_the_twins_share_their_variables_in_the_same_order(bert: TextBackbone, examples: list[np.ndarray]) -> None:
    plain, packed = plain_and_packed(bert)
    assert [id(weight) for weight in packed.trainable_weights] == [id(weight) for weight in plain.trainable_weights]
    before = np.asarray(plain(taken(plain, in_rows_of_their_own(examples))))
    packed.trainable_weights[0].assign(packed.trainable_weights[0] * 1.5)
    after = np.asarray(plain(taken(plain, in_rows_of_their_own(examples))))
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_backbone_has_no_dropout(frozen: bool, examples: list[np.ndarray]) -> None:
    backbone = made(MODELS.BertBackbone, dropout=0.5, vocabulary_size=VOCABULARY)
    _, packed = plain_and_packed(backbone, frozen=frozen)
    batch = taken(packed, side_by_side(examples))
    one, other = (np.asarray(packed(batch, training=True)) for _ in range(2))
    assert np.array_equal(one, other) == frozen


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_a_backbone_that_is_not_known_to_work_is_refused(name: str) -> None:
    kind, options, reason = OTHERS[name]
    backbone = dataclasses.replace(made(kind, vocabulary_size=VOCABULARY, **options), preset=f"small_{name}")
    head = keras.Sequential([keras.Input((HIDDEN,)), keras.layers.Dense(CLASSES)])
    with pytest.raises(ConfigError, match=rf"packing=True: 'small_{name}'.*{reason}.*BERT, RoBERTa"):
        build_packed(backbone, head, pooling="mean", slots=2, frozen=False)


def test_packed_batches_of_an_epoch_have_the_loss_of_plain_ones(tiny_preset: str) -> None:
    """From the cache through the packer and the dataset to the loss, batch by batch."""
    backbone = load_text_backbone(tiny_preset)
    random = np.random.default_rng(3)
    lengths = random.integers(3, 20, 50)
    cache = TokenCache(
        random.integers(5, 20, lengths.sum()).astype(np.int32), np.append(0, lengths.cumsum()), lengths.astype(np.int32)
    )
    targets, weights = random.integers(0, CLASSES, 50), random.uniform(0.5, 2, 50).astype(np.float32)
    order = EpochOrder(lengths, (20,), 8, 1, batching="shuffled")
    packer = choose_packer(order)
    plain, packed = plain_and_packed(backbone, slots=packer.slots)
    gather = packed_gather(cache, packer, backbone.pad_id, targets, weights)
    encoder = backbone.encoder(20)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    for batch, _ in order.batches(2):
        rows = tf.constant(batch.rows)
        inputs, own_targets, own_weights = gather(rows)
        assert (len(own_targets), packer.width) in packer.shapes
        found = tf.reduce_sum(loss.call(own_targets, packed(taken(packed, inputs))) * own_weights)
        outputs = plain(taken(plain, encoder.pad(cache.gather(rows))))
        expected = tf.reduce_sum(loss.call(targets[batch.rows], outputs) * weights[batch.rows])
        np.testing.assert_allclose(found, expected, rtol=1e-5)
