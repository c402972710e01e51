"""Training through `tfft.fit`: frozen features, best weights, early stop, divergence, class weights, golden losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_sample_weight

import tfft
from tfft.config import FitConfig
from tfft.core.errors import ConfigError, TrainingError
from tfft.core.learned import Learned
from tfft.tasks.base import tasks

#: The losses of each epoch of the `full_run` fixture. When a change of the numbers is intended, write them anew with
#: `pytest tests/training/test_loop.py -k golden`, whose failure shows the new losses.
GOLDEN = Path(__file__).with_name("golden_losses.json")
TEXTS = ["the film was wonderful", "a dull plot", "the cast", "the script was silly and the music was weak"]


def bouncing(options: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Options with a learning rate so large that the validation loss jumps up and down."""
    return {**options, "freeze": "backbone", "learning_rate": 2.0, "schedule": "constant", **changed}


def test_the_golden_losses_are_reproduced(full_run: tfft.FineTunedModel) -> None:
    assert full_run.history["loss"] == pytest.approx(json.loads(GOLDEN.read_text("utf-8")), rel=1e-3)


def test_training_changes_backbone_and_head(full_run: tfft.FineTunedModel, tiny_preset: str) -> None:
    before = {item.path: np.asarray(item) for item in keras_hub.models.Backbone.from_preset(tiny_preset).weights}
    after = {item.path: np.asarray(item) for item in full_run.keras_model.weights}
    shared = before.keys() & after.keys()
    assert len(shared) == len(before) - 2
    # A key's bias shifts all scores of a query alike, which softmax takes out: its gradient is zero.
    unchanged = {path for path in shared if np.array_equal(before[path], after[path])}
    assert all(path.endswith("key/bias") for path in unchanged)


def test_a_frozen_backbone_keeps_every_bit(frozen_run: tfft.FineTunedModel, tiny_preset: str) -> None:
    before = {item.path: np.asarray(item) for item in keras_hub.models.Backbone.from_preset(tiny_preset).weights}
    after = {item.path: np.asarray(item) for item in frozen_run.keras_model.weights}
    shared = before.keys() & after.keys()
    assert len(shared) == len(before) - 2
    for path in shared:
        np.testing.assert_array_equal(after[path], before[path])


def test_a_head_trained_on_cached_features_fits_the_whole_model(
    frozen_run: tfft.FineTunedModel, tiny_preset: str
) -> None:
    weights = {item.path: np.asarray(item) for item in frozen_run.keras_model.weights}
    backbone = keras_hub.models.Backbone.from_preset(tiny_preset)
    tokenizer = keras_hub.models.Tokenizer.from_preset(tiny_preset)
    wanted = []
    for text in TEXTS:
        ids = np.array([[2, *tokenizer(text), 3]])
        tokens = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)})
        pooled = np.asarray(tokens["sequence_output"])[0].mean(axis=0)
        wanted.append(pooled @ weights["logits/kernel"] + weights["logits/bias"])
    np.testing.assert_allclose(frozen_run.outputs(TEXTS), wanted, atol=1e-6)
    assert np.abs(weights["logits/bias"]).max() > 0, "the head was trained"


def test_the_weights_of_the_best_epoch_are_kept(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    model = tfft.fit(opinions, quiet=True, **bouncing(options, epochs=5))
    losses = model.history["val_loss"]
    assert losses[-1] > min(losses) + 0.01, "the last epoch must not be the best for this test to say anything"
    rows = np.array(model.record.data["rows"]["validation"]) - 1
    assert model.evaluate(opinions.iloc[rows])["loss"] == pytest.approx(min(losses), rel=1e-5)
    assert model.record.best_epoch == int(np.argmin(losses)) + 1


def test_without_validation_the_last_epoch_is_kept(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    model = tfft.fit(opinions, quiet=True, **bouncing(options, validation_fraction=0.0, epochs=2))
    assert set(model.history) == {"loss"}
    assert model.record.best_epoch == 2


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_nothing(
    opinions: pd.DataFrame, options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"loss became (nan|inf).*learning_rate"):
        tfft.fit(opinions, quiet=True, **bouncing(options, learning_rate=1e38, output_dir=str(tmp_path / "run")))
    assert [path.name for path in tmp_path.iterdir()] == ["run.diverged"]
    batch = json.loads((tmp_path / "run.diverged" / "batch.json").read_text("utf-8"))
    assert batch["loss"] in {"nan", "inf"}
    assert [opinions["text"][row - 1] for row in batch["rows"]] == batch["texts"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_that_diverge_in_the_last_step_end_the_run_too(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    with pytest.raises(TrainingError):
        tfft.fit(opinions, quiet=True, **bouncing(options, learning_rate=3e38, epochs=1, batch_size=64))


def sample_weights(targets: np.ndarray, class_weights: Any) -> np.ndarray:
    config = FitConfig(task="text_classification", class_weights=class_weights)
    return tasks.get("text_classification").sample_weights(targets, Learned(["bad", "fair", "good"]), config)


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    targets = np.array([0] * 7 + [1] * 2 + [2] * 4)
    np.testing.assert_allclose(
        sample_weights(targets, "balanced"), compute_sample_weight("balanced", targets), rtol=1e-6
    )


def test_class_weights_by_label_leave_other_labels_at_one() -> None:
    weights = sample_weights(np.array([0, 1, 2, 2]), {"good": 3.0, "bad": 0.5})
    assert weights.tolist() == [0.5, 1.0, 3.0, 3.0]
    assert weights.dtype == np.float32


def test_a_class_weight_for_an_unknown_label_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'goood'.*'good'"):
        sample_weights(np.array([0, 1]), {"goood": 2.0})


def test_a_class_weight_for_an_unknown_label_is_noticed_before_any_work(
    opinions: pd.DataFrame, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"'goood'.*'good'"):
        tfft.fit(opinions, quiet=True, **{**options, "class_weights": {"goood": 2.0}, "preset": "loaded_after_that"})
