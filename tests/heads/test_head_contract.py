"""What every registered head has to do, whatever its task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
import pytest
from keras import ops

from tfft.config import FitConfig
from tfft.heads.base import HeadSpec, heads, prefixes_of

#: All but the one whose layers are those of an encoder-decoder: `tests/backbones/test_encoder_decoder.py`.
NAMES = [name for name in heads.names() if name != "pretrained_decoder"]
HIDDEN, OUTPUTS = 8, 3
#: Heads that give what they pooled, and those that give logits.
EMBEDDING = ["pair_embeddings", "triplet_embeddings"]
LOGITS = [name for name in NAMES if name not in EMBEDDING]


def spec(**options: Any) -> HeadSpec:
    embedding = keras.layers.ReversibleEmbedding(OUTPUTS, HIDDEN)
    embedding.build()
    return HeadSpec(FitConfig(task="text_classification", **options), OUTPUTS, lambda: embedding)


def models(name: str, head_spec: HeadSpec) -> tuple[keras.Model, keras.Model]:
    """From token features and mask to pooled features, and from the same to outputs."""
    head = heads.get(name)
    features = keras.Input((None, HIDDEN), dtype=keras.config.dtype_policy().compute_dtype)
    mask = keras.Input((None,), dtype="int32")
    inputs = {"padding_mask": mask}
    if "word_positions" in head.inputs(head_spec):  # here each token is a word
        inputs["word_positions"] = ops.where(mask > 0, ops.cumsum(mask, axis=1) - 1, -1)
    if "masked_positions" in head.inputs(head_spec):  # and each is hidden
        inputs["masked_positions"] = ops.where(mask > 0, ops.cumsum(mask, axis=1) - 1, -1)
    if "candidates" in head.inputs(head_spec):  # and each may begin or end an answer
        inputs["candidates"] = mask
    if "entity_positions" in head.inputs(head_spec):  # and the first and the last begin an entity
        last = ops.sum(mask, axis=1) - 1
        inputs["entity_positions"] = ops.stack([ops.zeros_like(last), last], axis=1)
    if "decoder_token_ids" in head.inputs(head_spec):  # and a text of ones is written
        inputs["decoder_token_ids"] = ops.ones_like(mask)
    pooled = head.pool(features, inputs, head_spec)
    if len(prefixes_of(head)) > 1:  # here all texts are the same
        pooled = ops.stack([pooled] * len(prefixes_of(head)), axis=1)
    return keras.Model([features, mask], pooled), keras.Model([features, mask], head.build(pooled, head_spec))


def of_words(name: str, outputs: Any, mask: np.ndarray) -> np.ndarray:
    """Outputs without those past the last word, where a head says something of each."""
    found = np.asarray(outputs)
    if heads.get(name).inputs(spec()).keys() & {"word_positions", "candidates"}:
        found = found[:, : mask.shape[1]] * mask[..., None]
    return found


def batch(dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(3).normal(size=(4, 6, HIDDEN)).astype(dtype)
    mask = (np.arange(6) < np.array([[6], [3], [1], [4]])).astype(np.int32)
    return features, mask


@pytest.fixture
def mixed_float16() -> Iterator[None]:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(policy)


def test_there_are_heads() -> None:
    assert NAMES


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_float32_and_end_in_one_axis_of_outputs(name: str, pooling: str) -> None:
    _, model = models(name, spec(pooling=pooling))
    assert (model.output.dtype, model.output.shape[0], model.output.shape[-1]) == ("float32", None, OUTPUTS)
    assert model(list(batch())).shape[0] == 4


@pytest.mark.usefixtures("mixed_float16")
@pytest.mark.parametrize("name", NAMES)
def test_logits_stay_float32_under_mixed_precision(name: str) -> None:
    _, model = models(name, spec())
    outputs = np.asarray(model(list(batch("float16"))))
    assert outputs.dtype == np.float32
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_the_padding_does_not_change_the_outputs(name: str) -> None:
    _, model = models(name, spec())
    features, mask = batch()
    soiled = np.where(mask[..., None] == 1, features, np.float32(1e4))
    clean = of_words(name, model([features, mask]), mask)
    np.testing.assert_array_equal(of_words(name, model([soiled, mask]), mask), clean)
    assert np.abs(clean).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_all_trainable_layers_belong_to_build(name: str) -> None:
    pool, model = models(name, spec())
    assert not pool.variables
    assert bool(model.trainable_variables) == (name in LOGITS)
    _, alone = models(name, spec(freeze="backbone"))
    assert alone.trainable_variables, "there is something to train beside a frozen backbone"


@pytest.mark.parametrize("name", EMBEDDING)
@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_embeddings_begin_as_what_is_pooled(name: str, freeze: Literal["none", "backbone"]) -> None:
    pool, model = models(name, spec(freeze=freeze))
    np.testing.assert_allclose(model(list(batch())), pool(list(batch())), atol=1e-6)
    assert model.output.shape == (None, 3 if name == "triplet_embeddings" else 2, HIDDEN)


@pytest.mark.parametrize("name", LOGITS)
def test_dropout_acts_in_training_only(name: str) -> None:
    keras.utils.set_random_seed(0)
    _, model = models(name, spec(dropout=0.9))
    inputs = list(batch())
    still = np.asarray(model(inputs, training=False))
    np.testing.assert_array_equal(model(inputs, training=False), still)
    assert not np.allclose(model(inputs, training=True), still)


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", NAMES)
def test_a_head_says_rightly_whether_it_reads_the_first_token_only(name: str, pooling: str) -> None:
    head_spec = spec(pooling=pooling)
    _, model = models(name, head_spec)
    features, mask = batch()
    others = features.copy()
    others[:, 1:] += 1.0
    same = np.array_equal(model([features, mask]), model([others, mask]))
    assert same == heads.get(name).first_token_only(head_spec)
