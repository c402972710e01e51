"""Figures of predicted numbers over a whole split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from tfft.core.errors import DataError
from tfft.metrics.base import Table

#: Whole numbers over at most so many levels, counted from the lowest target to the highest, are an ordinal scale.
MOST_LEVELS = 21
#: Targets on no ordinal scale are shown in so many ranges with equal numbers of rows.
RANGES = 4


@dataclasses.dataclass(frozen=True)
class TargetRange:
    """The rows whose targets lie in one range.

    Attributes:
        lowest: Least target in it.
        highest: Greatest target in it.
        rows: Number of rows.
        mean_target: Mean of the targets.
        mean_predicted: Mean of the predictions.
        mae: Mean absolute error.
    """

    lowest: float
    highest: float
    rows: int
    mean_target: float
    mean_predicted: float
    mae: float


@dataclasses.dataclass(frozen=True)
class RegressionMetrics:
    """The figures of a model that predicts numbers; None is what is undefined.

    Attributes:
        rows: Number of rows.
        loss: Mean loss; the mean squared error unless another was given.
        mse: Mean squared error.
        rmse: Its square root, in units of the target.
        mae: Mean absolute error, in units of the target.
        r2: Share of the targets' variance that is explained; undefined for constant targets.
        pearson: Linear correlation; undefined for constant targets or predictions.
        spearman: Correlation of ranks, equal values having their mean rank; undefined as above.
        rounded_accuracy: Share of predictions that round to the target; None when targets are no ordinal scale.
        quadratic_weighted_kappa: Cohen's kappa of rounded predictions with squared differences as weights (Cohen 1968);
            None when targets are no ordinal scale.
        ranges: Errors by target: each level of an ordinal scale, or ranges with equal numbers of rows, ascending.
    """

    rows: int
    loss: float
    mse: float
    rmse: float
    mae: float
    r2: float | None
    pearson: float | None
    spearman: float | None
    rounded_accuracy: float | None
    quadratic_weighted_kappa: float | None
    ranges: Sequence[TargetRange]

    def __post_init__(self) -> None:
        """Takes ranges as plain data, too."""
        made = tuple(item if isinstance(item, TargetRange) else TargetRange(**item) for item in self.ranges)
        object.__setattr__(self, "ranges", made)

    def scalars(self) -> dict[str, float]:
        """Returns all figures that are defined, the loss first."""
        names = ("loss", "mse", "rmse", "mae", "r2", "pearson", "spearman", *_ORDINAL)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def tables(self) -> list[Table]:
        """Returns what may be undefined, as "-", and the errors by target."""
        names = ["r2", "pearson", "spearman"]
        names += [name for name in _ORDINAL if getattr(self, name) is not None]
        values = [getattr(self, name) for name in names]
        agreement = [
            [name, "-" if value is None else f"{value:.3f}"] for name, value in zip(names, values, strict=True)
        ]
        errors = [
            [
                f"{item.lowest:g}" if item.lowest == item.highest else f"{item.lowest:g} to {item.highest:g}",
                str(item.rows),
                *(f"{value:.3f}" for value in (item.mean_target, item.mean_predicted, item.mae)),
            ]
            for item in self.ranges
        ]
        return [
            Table(
                "Agreement with the targets (-: undefined, as one of both is constant)", ["figure", "value"], agreement
            ),
            Table("Errors by target", ["target", "rows", "mean target", "mean predicted", "mae"], errors),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        plain = dataclasses.asdict(self)
        return {**plain, "ranges": list(plain["ranges"])}


_ORDINAL = ("rounded_accuracy", "quadratic_weighted_kappa")


def regression_metrics(targets: np.ndarray, outputs: np.ndarray, *, loss: float | None = None) -> RegressionMetrics:
    """Computes all figures in float64.

    Targets that are whole numbers over 2 to `MOST_LEVELS` levels are an ordinal scale. Predictions are rounded to the
    nearest whole number, halves to the even one, and not forced into the scale.

    Args:
        targets: Numbers of shape `(rows,)` or `(rows, 1)`.
        outputs: Predictions, float of shape `(rows,)` or `(rows, 1)`.
        loss: Mean loss, when it is another than the mean squared error.

    Returns:
        The figures.

    Raises:
        DataError: When there are not as many predictions as targets, or some are not finite.
    """
    true, predicted = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (targets, outputs))
    if len(true) != len(predicted) or not len(true):
        raise DataError(f"There are {len(true):,} targets, but {len(predicted):,} predictions; each row needs both.")
    if not (np.isfinite(true).all() and np.isfinite(predicted).all()):
        raise DataError("Some targets or predictions are not finite numbers.")
    errors = predicted - true
    mse = float(np.mean(errors**2))
    accuracy = kappa = None
    if ordinal := _is_ordinal(true):
        rounded = np.rint(predicted)
        accuracy = float(np.mean(rounded == true))
        kappa = _quadratic_weighted_kappa(true, rounded)
    return RegressionMetrics(
        rows=len(true),
        loss=mse if loss is None else loss,
        mse=mse,
        rmse=float(np.sqrt(mse)),
        mae=float(np.mean(np.abs(errors))),
        r2=None if _is_constant(true) else float(1.0 - np.sum(errors**2) / np.sum((true - true.mean()) ** 2)),
        pearson=_correlation(true, predicted),
        spearman=_correlation(rankdata(true), rankdata(predicted)),
        rounded_accuracy=accuracy,
        quadratic_weighted_kappa=kappa,
        ranges=_ranges(true, predicted, ordinal=ordinal),
    )


def _is_constant(values: np.ndarray) -> bool:
    # Not by the variance: that of a constant can differ from 0 by rounding.
    return bool(values.min() == values.max())


def _is_ordinal(true: np.ndarray) -> bool:
    return not _is_constant(true) and bool((true == np.rint(true)).all() and np.ptp(true) < MOST_LEVELS)


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if _is_constant(first) or _is_constant(second):
        return None
    # The square of a very small deviation can vanish.
    first, second = ((values - values.mean()) / np.abs(values - values.mean()).max() for values in (first, second))
    return float(np.clip(first @ second / np.sqrt((first @ first) * (second @ second)), -1.0, 1.0))


def _quadratic_weighted_kappa(true: np.ndarray, rounded: np.ndarray) -> float:
    """Returns 1 minus the observed mean squared difference over that of all pairs, which needs no table of levels."""
    by_chance = true.var() + rounded.var() + (true.mean() - rounded.mean()) ** 2
    return float(1.0 - np.mean((true - rounded) ** 2) / by_chance)


def _ranges(true: np.ndarray, predicted: np.ndarray, *, ordinal: bool) -> list[TargetRange]:
    if ordinal:
        levels = np.unique(true)
        places = np.searchsorted(levels, true)
    else:
        # Equal targets stay in one range.
        places = np.minimum((rankdata(true, method="min") - 1) * RANGES // len(true), RANGES - 1)
    found = []
    for place in np.unique(places):
        own, answers = true[places == place], predicted[places == place]
        found.append(
            TargetRange(
                lowest=float(own.min()),
                highest=float(own.max()),
                rows=len(own),
                mean_target=float(own.mean()),
                mean_predicted=float(answers.mean()),
                mae=float(np.abs(answers - own).mean()),
            )
        )
    return found
