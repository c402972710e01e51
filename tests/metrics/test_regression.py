"""Regression figures against SciPy, scikit-learn and counts made by hand; the baselines against closed formulas."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, mean_squared_error, r2_score

from tfft.core.errors import DataError
from tfft.metrics.regression import MOST_LEVELS, RegressionMetrics, TargetRange, regression_metrics
from tfft.metrics.regression_baselines import MEAN, RIDGE, text_regression_baselines
from tfft.metrics.tfidf import tfidf_vectorizer


def rows(seed: int, *, tied: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions that follow them; tied: of few distinct values."""
    random = np.random.default_rng(seed)
    targets = random.normal(3.0, 10.0, 30)
    predicted = 0.5 * targets + random.normal(size=30)
    return (np.round(targets, -1) + 0.5, np.round(predicted, -1)) if tied else (targets, predicted)


@given(seed=st.integers(0, 10_000), tied=st.booleans(), column=st.booleans())
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_scipy_and_scikit_learn(seed: int, tied: bool, column: bool) -> None:
    targets, predicted = rows(seed, tied=tied)
    found = regression_metrics(targets, predicted[:, None] if column else predicted)
    assert found.rows == 30
    assert found.loss == found.mse == pytest.approx(mean_squared_error(targets, predicted))
    assert found.rmse == pytest.approx(mean_squared_error(targets, predicted) ** 0.5)
    assert found.mae == pytest.approx(mean_absolute_error(targets, predicted))
    assert found.r2 == pytest.approx(r2_score(targets, predicted))
    assert found.pearson == pytest.approx(stats.pearsonr(targets, predicted).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(targets, predicted).statistic)
    assert found.rounded_accuracy is found.quadratic_weighted_kappa is None


def test_equal_values_have_their_mean_rank() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1.5, 1.5, 3, 4: summed products of deviations 3.75, squares 4.5 and 4.5.
    assert regression_metrics(np.array([0.5, 1.5, 1.5, 9.0]), np.array([1, 1, 2, 3])).spearman == pytest.approx(
        3.75 / 4.5
    )


@given(seed=st.integers(0, 10_000), lowest=st.sampled_from([-2, 0, 1]), levels=st.sampled_from([2, 5, MOST_LEVELS]))
@settings(max_examples=60, deadline=None)
def test_ordinal_figures_are_those_of_rounded_predictions(seed: int, lowest: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    targets = np.array([lowest, lowest + levels - 1, *random.integers(lowest, lowest + levels, 20)])
    # Some beyond the scale.
    predicted = targets + random.normal(scale=1.5, size=22)
    found = regression_metrics(targets, predicted)
    rounded = [round(value) for value in predicted.tolist()]
    assert found.rounded_accuracy == pytest.approx(np.mean([a == b for a, b in zip(targets, rounded, strict=True)]))
    every_level = np.arange(min(*rounded, lowest), max(*rounded, lowest + levels) + 1)
    kappa = cohen_kappa_score(targets, rounded, labels=every_level, weights="quadratic")
    assert found.quadratic_weighted_kappa == pytest.approx(kappa)


def test_halves_round_to_the_even_number() -> None:
    found = regression_metrics(np.array([0, 1, 2, 3]), np.array([0.5, 1.5, 2.5, 3.5]))
    assert found.rounded_accuracy == 0.5  # 0, 2, 2, 4
    assert regression_metrics(np.array([0, 2, 4]), np.array([0.5, 2.5, 4.5])).rounded_accuracy == 1.0


@pytest.mark.parametrize(
    ("targets", "ordinal"),
    [
        ([0, 1, 1], True),
        ([1.0, 3.0, 21.0], True),
        ([0.0, 3.0, 21.0], False),
        ([1.0, 2.0, 2.5], False),
        ([3.0, 3.0, 3.0], False),
    ],
    ids=["two-levels", "most-levels", "too-many-levels", "a-fraction", "one-level"],
)
def test_whole_numbers_over_few_levels_are_an_ordinal_scale(targets: list[float], ordinal: bool) -> None:
    found = regression_metrics(np.array(targets), np.array([0.0, 1.0, 2.0]))
    assert (found.rounded_accuracy is not None) == ordinal
    assert (found.quadratic_weighted_kappa is not None) == ordinal
    assert ("rounded_accuracy" in found.scalars()) == ordinal


@pytest.mark.parametrize(
    ("targets", "predicted", "defined"),
    [([1.5, 2.0, 4.0], [0.1, 0.1, 0.1], ["r2"]), ([0.1, 0.1, 0.1], [1.5, 2.0, 4.0], []), ([1.0], [2.0], [])],
    ids=["predictions", "targets", "one-row"],
)
def test_what_a_constant_leaves_undefined_is_none_and_shown_as_a_dash(
    targets: list[float], predicted: list[float], defined: list[str]
) -> None:
    found = regression_metrics(np.array(targets, np.float32), np.array(predicted, np.float32))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    shown = {str(row[0]): row[1] for row in found.tables()[0].rows}
    for name in ("r2", "pearson", "spearman"):
        assert (plain[name] is not None) == (name in found.scalars()) == (name in defined)
        assert (shown[name] == "-") == (name not in defined)
    assert RegressionMetrics(**plain) == found


def test_tiny_and_huge_spreads_have_correlations() -> None:
    targets, predicted = rows(3)
    expected = regression_metrics(targets, predicted).pearson
    assert expected is not None
    for factor in (1e-200, 1e120):
        assert regression_metrics(targets, factor * predicted).pearson == pytest.approx(expected)


def test_another_loss_is_kept_with_the_figures() -> None:
    found = regression_metrics(*rows(1), loss=0.25)
    assert found.scalars()["loss"] == 0.25
    assert found.scalars()["mse"] != 0.25


def test_scalars_name_every_figure_in_order() -> None:
    names = ["loss", "mse", "rmse", "mae", "r2", "pearson", "spearman"]
    assert list(regression_metrics(*rows(1)).scalars()) == names
    ordinal = regression_metrics(np.array([1, 2, 3]), np.array([1.0, 2.0, 2.0]))
    assert list(ordinal.scalars()) == [*names, "rounded_accuracy", "quadratic_weighted_kappa"]


def test_figures_survive_json() -> None:
    for targets in (rows(2)[0], np.arange(30) % 4):
        found = regression_metrics(targets, rows(2)[1])
        assert RegressionMetrics(**json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_the_table_shows_the_errors_of_each_level() -> None:
    found = regression_metrics(np.array([1, 3, 3, 1, 1]), np.array([1.0, 2.0, 2.5, 2.0, 1.5]))
    assert found.ranges[0] == TargetRange(1.0, 1.0, 3, 1.0, 1.5, 0.5)
    agreement, errors = found.tables()
    assert [row[0] for row in agreement.rows] == [
        "r2",
        "pearson",
        "spearman",
        "rounded_accuracy",
        "quadratic_weighted_kappa",
    ]
    assert errors.rows == [["1", "3", "1.000", "1.500", "0.500"], ["3", "2", "3.000", "2.250", "0.750"]]


def test_the_table_shows_the_errors_in_quarters_of_the_targets() -> None:
    targets, predicted = np.arange(40) + 0.5, np.full(40, 20.0)
    _, errors = regression_metrics(targets, predicted).tables()
    assert [row[:2] for row in errors.rows] == [
        ["0.5 to 9.5", "10"],
        ["10.5 to 19.5", "10"],
        ["20.5 to 29.5", "10"],
        ["30.5 to 39.5", "10"],
    ]
    assert [row[4] for row in errors.rows] == ["15.000", "5.000", "5.000", "15.000"]


def test_equal_targets_stay_in_one_range() -> None:
    found = regression_metrics(np.array([0.5] * 9 + [0.75, 9.5]), np.zeros(11))
    assert [(item.lowest, item.highest, item.rows) for item in found.ranges] == [(0.5, 0.5, 9), (0.75, 9.5, 2)]


@pytest.mark.parametrize(
    ("targets", "outputs", "complaint"),
    [
        ([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], "4 predictions"),
        ([], [], "0 predictions"),
        ([1.0, float("nan")], [1.0, 2.0], "not finite"),
        ([1.0, 2.0], [1.0, float("inf")], "not finite"),
    ],
    ids=["two-numbers-a-row", "no-row", "nan-target", "infinite-prediction"],
)
def test_rows_that_cannot_be_compared_are_refused(targets: Any, outputs: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        regression_metrics(np.array(targets), np.array(outputs))


def test_the_mean_is_that_of_the_training_split() -> None:
    found = text_regression_baselines(["a"] * 3, np.array([1.0, 2.0, 6.0]), ["a"] * 2, np.array([3.0, 5.5]))[MEAN]
    assert (found.mae, found.mse) == (1.25, 3.125)
    assert found.pearson is None


def test_ridge_regression_solves_the_normal_equations(opinions: pd.DataFrame) -> None:
    texts = opinions["text"].tolist()
    targets = np.array([len(text) + 10.0 * (label == "good") for text, label in opinions[["text", "label"]].to_numpy()])
    train, test = slice(0, None, 2), slice(1, None, 2)
    found = text_regression_baselines(texts[train], targets[train], texts[test], targets[test])
    assert list(found) == [MEAN, RIDGE]
    vectorizer = tfidf_vectorizer(texts[train])
    assert vectorizer is not None
    features = vectorizer.fit_transform(texts[train]).toarray()
    centred, mean = features - features.mean(axis=0), targets[train].mean()
    slopes = np.linalg.solve(centred.T @ centred + np.eye(features.shape[1]), centred.T @ (targets[train] - mean))
    predicted = (vectorizer.transform(texts[test]).toarray() - features.mean(axis=0)) @ slopes + mean
    assert found[RIDGE].mse == pytest.approx(np.mean((predicted - targets[test]) ** 2), rel=1e-3)
    assert found[RIDGE].mse < 0.5 * found[MEAN].mse


@pytest.mark.parametrize(("text", "names"), [("!!!", [MEAN]), ("x !", [MEAN, RIDGE])], ids=["none", "some"])
def test_tfidf_is_left_out_when_no_text_has_a_word(text: str, names: list[str]) -> None:
    numbers = np.array([0.0, 1.0])
    assert list(text_regression_baselines([text] * 2, numbers, [text] * 2, numbers)) == names
