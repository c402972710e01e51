"""After a run, Keras' own `fit` goes on with the model: at a rate that changes it, with the optimizer of the run."""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfft

PEAK, DECAY = 0.05, 0.5
IDS = np.array([[2, 5, 9, 3], [2, 7, 3, 0], [2, 12, 11, 3]], np.int32)
TARGETS = np.array([0, 1, 1])


class KeepOptimizer(keras.callbacks.Callback):
    """Keeps the optimizer of the run, as it is at its end."""

    optimizer: Any = None

    def on_train_end(self, logs: Any = None) -> None:
        self.optimizer = self.model.optimizer


def batch(names: Any) -> dict[str, np.ndarray]:
    values = {"token_ids": IDS, "padding_mask": (IDS > 0).astype(np.int32), "segment_ids": np.zeros_like(IDS)}
    return {name: values[name] for name in names}


@pytest.fixture(scope="module")
def still_preset(tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny backbone without dropout, so that a gradient can be computed beside."""
    directory = str(tmp_path_factory.mktemp("presets") / "still_bert")
    keras_hub.models.Backbone.from_preset(tiny_preset, dropout=0.0).save_to_preset(directory)
    keras_hub.models.Tokenizer.from_preset(tiny_preset).save_to_preset(directory)
    return directory


def test_the_next_step_is_one_of_gradient_descent_at_the_peak_rate(
    opinions: pd.DataFrame, options: dict[str, Any], still_preset: str
) -> None:
    """The schedule has ended at zero, and layers were frozen for a part of the run."""
    given = {"optimizer": "sgd", "weight_decay": 0.0, "learning_rate": PEAK, "layer_decay": DECAY, "dropout": 0.0}
    given |= {"preset": still_preset, "unfreeze_epochs": 0.5, "schedule": "linear", "epochs": 2}
    model = tfft.fit(opinions, quiet=True, **{**options, **given}).keras_model
    variables = model.trainable_variables
    before = [np.asarray(variable) for variable in variables]
    inputs = batch(model.input)
    with tf.GradientTape() as tape:
        logits = model({name: tf.constant(value) for name, value in inputs.items()})
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(TARGETS, logits))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    model.fit(inputs, TARGETS, epochs=1, batch_size=len(TARGETS), verbose=0)
    # Two layers: their factors are 1/2 and 1/4, that of the embeddings 1/8, that of the head 1.
    most: dict[float, float] = {}
    places = {"embedding": 3, "layer_0": 2, "layer_1": 1}
    for variable, old, gradient in zip(variables, before, gradients, strict=True):
        factor = DECAY ** next((depth for name, depth in places.items() if name in variable.path), 0)
        moved = PEAK * factor * np.asarray(tf.convert_to_tensor(gradient))
        np.testing.assert_allclose(old - np.asarray(variable), moved, atol=1e-6)
        most[factor] = max(most.get(factor, 0.0), np.abs(moved).max())
    assert len(most) == 4
    assert min(most.values()) > 1e-5


def test_it_is_the_optimizer_of_the_run_without_a_past(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    given = {**options, "epochs": 1, "freeze": "none", "weight_decay": 0.03, "precision": "mixed_float16"}
    keep = KeepOptimizer()
    optimizer = tfft.fit(opinions, quiet=True, callbacks=[keep], **given).keras_model.optimizer
    assert type(optimizer) is type(keep.optimizer)
    assert type(optimizer.inner_optimizer) is type(keep.optimizer.inner_optimizer)
    assert float(keep.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-9)
    assert float(optimizer.learning_rate) == pytest.approx(options["learning_rate"])
    assert (int(optimizer.iterations), optimizer.inner_optimizer.weight_decay) == (0, 0.03)
    assert not optimizer.built, "slots would take memory that nobody may need"
    optimizer.learning_rate = 1e-5
    assert float(optimizer.learning_rate) == pytest.approx(1e-5)
