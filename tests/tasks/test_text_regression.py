"""Text regression: numbers as they come, standardised for training, in units of the data for people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.stats import pearsonr, spearmanr

import tfft
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.learned import Learned
from tfft.export._verify import _difference
from tfft.splitting import Sources, split_data
from tfft.tasks.base import Task, tasks

NAME = "text_regression"
TASK: Task = tasks.get(NAME)
NUMBERS = [3.5, -2.0, 8.25, 0.0, 1e3, 7.0]


def split(numbers: Any, **options: Any) -> Any:
    """Reads and splits a table with these numbers; the first row is validation."""
    texts = [f"text number {'abcdefghijklmnopqrstuvwxyz'[row]} of {row}" for row in range(len(numbers))]
    parts = ["validation", *["train"] * (len(numbers) - 1)]
    table = pd.DataFrame({"text": texts, "label": numbers, "part": parts})
    config = FitConfig(task=NAME, split_column="part", test_fraction=0.0, quality={"near_duplicates": "off"}, **options)
    return split_data(config, Sources(table), Console(quiet=True))


@pytest.mark.parametrize("numbers", [NUMBERS, [" 3.5", "-2", "8.25 ", "0", "1e3", "+7"]], ids=["numbers", "texts"])
def test_numbers_are_standardised_by_the_training_rows(numbers: Any) -> None:
    data = split(numbers)
    train = np.array(NUMBERS[1:])
    assert data.learned.labels == ["label"]
    assert data.learned.settings == {"mean": train.mean(), "deviation": train.std(), "loss": "mse"}
    for name, own in (("train", train), ("validation", np.array(NUMBERS[:1]))):
        targets = data.targets[name]
        np.testing.assert_array_equal(targets[:, 0], own)
        standardised: Any = TASK.row_targets(targets, None, Learned([]))  # type: ignore[arg-type]
        assert standardised.dtype == np.float32
        np.testing.assert_allclose(standardised, (own - train.mean()) / train.std(), rtol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1, 2, "n/a", "3,5", 4], r"2 cells of 'label' are no finite numbers \(rows 3, 4\); the first is 'n/a'"),
        ([1, 2, "inf", 4], r"1 cells of 'label' are no finite numbers \(row 3\); the first is 'inf'"),
        ([1, 2, "nan", 4], r"\(row 3\); the first is 'nan'"),
        ([1, 2, "1_000", 4], r"\(row 3\); the first is '1_000'"),
        ([1, 2, "1e999", 4], r"\(row 3\); the first is '1e999'"),
        ([1, 2, True, 4], r"\(row 3\); the first is 'true'"),
        ([1, 5, 5, 5.0], "every training row has the number 5 in 'label'"),
        ([1, 1e308, -1e308, 1e308], "no number from above 0 to"),
        ([1, [2], 3, 4], "row 2: 'label' holds a list; one text is needed"),
    ],
    ids=["words", "infinite", "nan", "underscore", "too large", "truth", "constant", "overflow", "list"],
)
def test_bad_numbers_are_named(numbers: Any, words: str) -> None:
    with pytest.raises(tfft.DataError, match=words):
        split(numbers)


def test_a_missing_number_is_left_out() -> None:
    data = split([1.0, 2.0, None, 4.0, 3.0])
    assert data.record["dropped"]["train"] == {"null label": [3]}
    assert data.targets["train"][:, 0].tolist() == [2.0, 4.0, 3.0]


def test_a_figure_of_ordinal_scales_does_not_choose_epochs_elsewhere() -> None:
    monitor = "val_quadratic_weighted_kappa"
    with pytest.raises(tfft.ConfigError, match="whole numbers over at most 21 levels"):
        split(NUMBERS, monitor=monitor)
    assert split([1, 2, 3, 5], monitor=monitor).learned.settings["mean"] == pytest.approx(10 / 3)


@pytest.mark.parametrize("option", [{"r_drop": 1.0}, {"class_weights": "balanced"}, {"packing": True}])
def test_options_of_other_tasks_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(tfft.ConfigError, match=f"{next(iter(option))} has no effect with task='{NAME}'"):
        tfft.fit(TASK.sample_data(), task=NAME, quiet=True, **option)


#: Predictions in standard deviations, and targets in units of the data, far from 0.
OUTPUTS = np.random.default_rng(5).normal(size=(50, 1)).astype(np.float32)
LEARNED = Learned(["label"], {"mean": 4e6, "deviation": 2e5, "loss": "huber"})
TRUE = 4e6 + 2e5 * (OUTPUTS[:, 0].astype(np.float64) + np.random.default_rng(6).normal(size=50))
TARGETS = np.stack([TRUE, (TRUE - 4e6) / 2e5], axis=1)


def by_formula(kind: str, error: np.ndarray) -> float:
    size = np.abs(error)
    huber = np.where(size <= 1, size**2 / 2, size - 0.5)
    return float({"mse": size**2, "mae": size, "huber": huber}[kind].mean())


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
def test_figures_are_in_units_of_the_data_and_the_loss_is_that_of_training(kind: str) -> None:
    learned = Learned(LEARNED.labels, {**LEARNED.settings, "loss": kind})
    found = TASK.metrics(OUTPUTS, TARGETS, learned).scalars()
    predicted = 4e6 + 2e5 * OUTPUTS[:, 0].astype(np.float64)
    assert found["mae"] == pytest.approx(np.abs(TRUE - predicted).mean())
    assert found["mse"] == pytest.approx(((TRUE - predicted) ** 2).mean())
    assert found["pearson"] == pytest.approx(pearsonr(TRUE, predicted).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(TRUE, predicted).statistic)
    assert found["loss"] == pytest.approx(by_formula(kind, (TRUE - predicted) / 2e5), rel=1e-5)
    config = FitConfig(task=NAME, regression_loss=kind)  # type: ignore[arg-type]
    row_targets = TASK.row_targets(TARGETS, None, Learned([]))  # type: ignore[arg-type]
    rows = TASK.loss(config, learned).call(tf.constant(row_targets), tf.constant(OUTPUTS))
    assert found["loss"] == pytest.approx(float(tf.reduce_mean(rows)), rel=1e-5)


def test_the_loss_of_baselines_is_the_same_figure() -> None:
    data = split(np.linspace(0, 25, 26), regression_loss="mae", validation_fraction=0.2)
    pair = (data.examples["train"], data.targets["train"])
    mean = next(iter(TASK.baselines(pair, pair, data.learned, FitConfig(task=NAME)).values()))
    numbers = data.targets["train"][:, 0]
    assert mean.scalars()["loss"] == pytest.approx(np.abs(numbers - numbers.mean()).mean() / numbers.std(), rel=1e-5)


def test_what_is_served_is_what_is_decoded() -> None:
    predictions = TASK.decode(OUTPUTS, None, LEARNED)  # type: ignore[arg-type]
    served = TASK.serve(tf.constant(OUTPUTS), None, LEARNED)["value"].numpy()
    assert served.shape == (50,)
    assert served.dtype == np.float64
    np.testing.assert_allclose(served, [item.value for item in predictions], rtol=1e-15)
    np.testing.assert_allclose(served, 4e6 + 2e5 * OUTPUTS[:, 0].astype(np.float64), rtol=1e-12)


def test_an_export_may_differ_by_a_share_of_the_spread() -> None:
    values = np.array([4.0e6, 4.2e6, 4.4e6])
    assert _difference("value", values + 1.0, values, "loader") == 1.0
    with pytest.raises(tfft.ExportError, match="more than 4e\\+01"):
        _difference("value", values + 50.0, values, "loader")
    places = np.array([0, 50_000])
    with pytest.raises(tfft.ExportError):
        _difference("start", places + 1, places, "loader")


@pytest.fixture(scope="module")
def millions() -> pd.DataFrame:
    table = TASK.sample_data()
    return table.assign(label=4e6 + 2e5 * table["label"] + 0.25)


@pytest.fixture(scope="module")
def trained(millions: pd.DataFrame, tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of augmented rows, in batches of two micro-batches."""
    return tfft.fit(
        millions,
        task=NAME,
        preset=tiny_preset,
        learning_rate=0.02,
        epochs=8,
        batch_size=8,
        micro_batch_size=4,
        augment={"random_swap": 0.3},
        regression_loss="huber",
        monitor="val_spearman",
        baselines=False,
        quiet=True,
        output_dir=str(tmp_path_factory.mktemp("regression") / "run"),
    )


def test_a_model_learns_numbers_in_the_millions(trained: Any, millions: pd.DataFrame) -> None:
    assert trained.history["loss"][-1] < 0.5 * trained.history["loss"][0] < 0.5
    assert trained.record.plan["augmented"]["random_swap"]
    evaluation = trained.evaluate(millions)
    predicted = np.array([item.value for item in trained.predict(millions["text"].tolist())])
    assert evaluation["mae"] == pytest.approx(np.abs(predicted - millions["label"]).mean())
    assert evaluation["mae"] < 0.7 * np.abs(millions["label"] - millions["label"].mean()).mean()
    assert evaluation["spearman"] > 0.7
    best = trained.record.best_epoch - 1
    assert trained.history["val_spearman"][best] == max(trained.history["val_spearman"])


def test_a_saved_model_gives_the_same_numbers(trained: Any, millions: pd.DataFrame) -> None:
    loaded = tfft.load(trained.config.output_dir, quiet=True)
    assert loaded.learned == trained.learned
    texts = millions["text"].tolist()
    assert loaded.predict(texts) == trained.predict(texts)
