"""Sentence similarity: outputs and steps against the backbone alone and formulas in NumPy, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pandas as pd
import pytest

import tfft
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.losses.sentence_pairs import MultipleNegativesRankingLoss, TripletLoss
from tfft.metrics.sentence_similarity import similarity_metrics
from tfft.splitting import Sources, split_data
from tfft.tasks.base import tasks
from tfft.tasks.sentence_similarity import _loss

TASK = "sentence_similarity"
LOSSES = ("triplet", "multiple_negatives")
COLUMNS = {"triplet": ["anchor", "positive", "negative"], "multiple_negatives": ["anchor", "positive"]}


def table() -> pd.DataFrame:
    return tasks.get(TASK).sample_data()


def fitted(preset: str, data: pd.DataFrame | None = None, **options: Any) -> tfft.FineTunedModel:
    common = {"task": TASK, "preset": preset, "epochs": 1, "baselines": False, "quiet": True, "learning_rate": 0.01}
    return tfft.fit(table() if data is None else data, **{**common, **options})


@pytest.fixture(scope="module")
def still(tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny backbone without dropout, so that training computes what evaluation does."""
    backbone = keras_hub.models.Backbone.from_preset(tiny_preset)
    without = type(backbone)(**{**backbone.get_config(), "dropout": 0.0})
    without.set_weights(backbone.get_weights())
    folder = str(tmp_path_factory.mktemp("presets") / "still")
    without.save_to_preset(folder)
    keras_hub.tokenizers.Tokenizer.from_preset(tiny_preset).save_to_preset(folder)
    return folder


def embeddings(preset: str, columns: list[list[str]]) -> np.ndarray:
    """Mean-pooled features of length 1, by KerasHub without tfft: of shape (rows, texts, 16)."""
    backbone = keras_hub.models.Backbone.from_preset(preset)
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(preset)
    sides = []
    for texts in columns:
        inputs = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=24)(texts)
        features = np.asarray(backbone(inputs)["sequence_output"], dtype=np.float64)
        mask = np.asarray(inputs["padding_mask"])[..., None]
        pooled = (features * mask).sum(axis=1) / mask.sum(axis=1)
        sides.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
    return np.stack(sides, axis=1)


def cosines(units: np.ndarray, side: int) -> np.ndarray:
    found: np.ndarray = np.einsum("ij,ij->i", units[:, 0], units[:, side])
    return found


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_has_the_loss_of_the_formula(loss: str, still: str) -> None:
    """One batch of all training rows: the first loss is that of the backbone as it was."""
    rows = table()
    rows.loc[5, "positive"] = rows.loc[3, "positive"]  # neither is the other's negative
    quality = {"near_duplicates": "off", "leakage": "off", "exact_duplicates": "off"}
    model = fitted(still, rows, pair_loss=loss, batch_size=64, validation_fraction=0.0, quality=quality)
    train = rows.drop([row - 1 for row in model.record.data["rows"]["test"]])
    units = embeddings(still, [train[column].tolist() for column in COLUMNS[loss]])
    if loss == "triplet":
        expected = np.maximum(cosines(units, 2) - cosines(units, 1) + 0.5, 0.0)
    else:
        scores = 20.0 * units[:, 0] @ units[:, 1].T
        anchors, positives = train["anchor"].to_numpy(), train["positive"].to_numpy()
        linked = (anchors[:, None] == anchors) | (positives[:, None] == positives)
        linked |= (anchors[:, None] == positives) | (positives[:, None] == anchors)
        while (more := linked @ linked).sum() > linked.sum():
            linked = more
        earlier = np.tril(linked, -1).any(axis=1)  # of linked rows the first is a candidate
        candidate = (~linked & ~earlier) | np.eye(len(train), dtype=bool)
        scores = np.where(candidate, scores, -np.inf)
        expected = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)
        assert not candidate.all()
    assert model.history["loss"][0] == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize("loss", ["triplet", pytest.param("multiple_negatives", marks=pytest.mark.slow)])
def test_similarities_are_cosines_of_the_backbone_alone(loss: str, tiny_preset: str, tmp_path: Path) -> None:
    model = fitted(tiny_preset, pair_loss=loss, epochs=4, output_dir=str(tmp_path / "run"))
    rows = table()
    pairs = list(zip(rows["anchor"], rows["positive"], strict=True))
    units = embeddings(str(tmp_path / "run" / "preset"), [rows[column].tolist() for column in table().columns])
    found = [item.similarity for item in model.predict(pairs)]
    np.testing.assert_allclose(found, cosines(units, 1), atol=1e-5)
    assert model.predict(rows) == model.predict(pairs)
    figures = model.evaluate(rows).metrics.scalars()
    assert figures["accuracy_at_1"] == pytest.approx(
        similarity_metrics(units[:, :2], tasks.get(TASK).targets(model.read(rows, labelled=True), model.learned),
                           _loss(model.learned)._replace(margin=None)).accuracy_at_1
    )  # fmt: skip
    if loss == "triplet":
        assert figures["triplet_accuracy"] == pytest.approx(np.mean(cosines(units, 1) > cosines(units, 2)))
        assert model.report.after.scalars()["loss"] < model.report.before.scalars()["loss"]
    else:
        assert "triplet_accuracy" not in figures
    assert tfft.load(tmp_path / "run", quiet=True).predict(pairs) == model.predict(pairs)
    others = model.predict(list(zip(rows["positive"], rows["anchor"], strict=True)))
    np.testing.assert_allclose([item.similarity for item in others], found, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_figures_have_the_loss_of_training(loss: str, quiet: Console) -> None:
    config = FitConfig(task=TASK, pair_loss=loss)
    task, data = tasks.get(TASK), split_data(config, Sources(table()), quiet)
    targets = data.targets["train"]
    outputs = np.random.default_rng(4).normal(size=(len(targets), len(COLUMNS[loss]), 8)).astype(np.float32)
    trained = task.loss(config, data.learned)
    assert type(trained) is {"triplet": TripletLoss, "multiple_negatives": MultipleNegativesRankingLoss}[loss]
    expected = float(np.mean(trained.call(targets, outputs)))
    assert task.metrics(outputs, targets, data.learned).scalars()["loss"] == pytest.approx(expected, rel=1e-4)


def test_rows_that_differ_in_the_negative_alone_are_in_one_split(quiet: Console) -> None:
    rows = pd.concat([table(), table().assign(negative="silly music")])
    parts = split_data(FitConfig(task=TASK), Sources(rows), quiet).examples
    texts = [set(zip(part.columns["first"], part.columns["second"], strict=True)) for part in parts.values()]
    assert sum(map(len, texts)) == len(set.union(*texts))
    assert {len(part) % 2 for part in parts.values()} == {0}


def test_a_text_that_would_be_near_and_far_is_refused(quiet: Console) -> None:
    rows = table()
    rows.loc[[2, 7], "negative"] = rows.loc[[2, 7], "positive"]
    with pytest.raises(DataError, match=r"2 rows have the same text in 'positive' and 'negative' \(rows 3, 8\)"):
        split_data(FitConfig(task=TASK), Sources(rows), quiet)
    config = FitConfig(task=TASK, pair_loss="multiple_negatives")
    assert "negative" not in split_data(config, Sources(rows), quiet).examples["train"].columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair_loss": "cosine"}, "Unknown loss of sentence_similarity 'cosine'"),
        ({"pair_loss": "multiple_negatives", "micro_batch_size": 4}, "in one piece: leave micro_batch_size out"),
        ({"pair_loss": "multiple_negatives", "strategy": "parameter_server"}, "cannot be cut between workers"),
        ({"pair_loss": "multiple_negatives", "batch_size": 1}, "batch_size=1 leaves no negatives"),
        ({"pair_loss": "multiple_negatives", "negative_column": "other"}, "negative_column has no effect"),
        ({"pair_loss": "multiple_negatives", "monitor": "val_triplet_accuracy"}, "use 'val_mrr'"),
        ({"dropout": 0.3}, "dropout has no effect with pair_loss='triplet'"),
        ({"positive_column": "anchor"}, "anchor_column, positive_column and negative_column are .* must differ"),
        ({"pair_encoder": "bi"}, "pair_encoder has no effect"),
        ({"label_column": "label2"}, "label_column has no effect"),
    ],
)
def test_options_that_do_nothing_or_change_the_loss_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tfft.fit(table(), task=TASK, quiet=True, **options)


@pytest.mark.slow
def test_heads_of_triplets_train_on_features_computed_once(tiny_preset: str) -> None:
    model = fitted(tiny_preset, freeze="backbone", epochs=4)
    assert model.history["loss"][-1] < model.history["loss"][0]
    judged = table().iloc[[row - 1 for row in model.record.data["rows"]["test"]]]
    found = model.evaluate(judged).metrics.scalars()
    assert found == pytest.approx(model.report.after.scalars(), abs=1e-4)


REPLICAS = """
import sys, tensorflow as tf, tfft
from tfft.tasks.base import tasks
devices = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
data = tasks.get("sentence_similarity").sample_data()
for jit_compile in (False, True):
    try:
        tfft.fit(data, task="sentence_similarity", preset=sys.argv[1], pair_loss="multiple_negatives", strategy=two,
                 jit_compile=jit_compile, baselines=False, epochs=1, quiet=True)
    except tfft.ConfigError as error:
        print("refused:", error)
"""


@pytest.mark.slow
def test_in_batch_negatives_are_refused_on_several_replicas(tiny_preset: str) -> None:
    done = subprocess.run([sys.executable, "-c", REPLICAS, tiny_preset], capture_output=True, text=True, check=False)
    assert done.stdout.count("refused: This loss takes the negatives of a row from its batch") == 2, done.stderr[-2000:]


@pytest.mark.slow
def test_short_batches_that_are_filled_up_have_the_loss_of_their_own_rows(still: str) -> None:
    """With XLA the short last batch is filled up with its first row, which counts as one candidate."""
    plain, compiled = (
        fitted(still, pair_loss="multiple_negatives", batch_size=10, batching="shuffled", jit_compile=jit, epochs=2)
        for jit in (False, True)
    )
    assert plain.history["loss"] == pytest.approx(compiled.history["loss"], rel=1e-3)
    for one, other in zip(plain.keras_model.get_weights(), compiled.keras_model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
