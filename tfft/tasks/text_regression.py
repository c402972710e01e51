"""Text regression: one number for each text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.core.learned import Learned
from tfft.data.numbers import NUMBERS, number_examples
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples, text_examples
from tfft.metrics.regression import MOST_LEVELS, RegressionMetrics, regression_metrics
from tfft.metrics.regression_baselines import text_regression_baselines
from tfft.tasks.base import Targets, Task, register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.encoding.base import EncodedRows

#: Figures that only an ordinal scale has.
_ORDINAL = ("rounded_accuracy", "quadratic_weighted_kappa")


@dataclasses.dataclass(frozen=True)
class PredictedNumber:
    """What the model says of one text.

    Attributes:
        value: The number, in units of the data.
    """

    value: float


class TextRegression(Task):
    """One number for each text, from columns of texts and numbers.

    The model learns standardised numbers: their mean over the training rows is 0, their standard deviation 1. All that
    people see is in units of the data, but for the loss.
    """

    uses = frozenset({"label_column", "pooling", "regression_loss", "augment", "mask_personal_data"})
    figures = ("loss", "mse", "rmse", "mae", "r2", "pearson", "spearman", *_ORDINAL)
    joinable = True

    def head(self, config: FitConfig) -> str:
        """Returns the classifier's name, which with one output is a linear regression."""
        return "classifier"

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns the text column and, when labelled, the column of numbers."""
        return [config.text_column, config.label_column] if labelled else [config.text_column]

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source, checks its rows and takes texts and numbers."""
        if not labelled:
            return text_examples(reader, text_column=config.text_column, label_column=None, how=how, console=console)
        return number_examples(
            reader, text_column=config.text_column, number_column=config.label_column, how=how, console=console
        )

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns mean and standard deviation of the training rows.

        Args:
            examples: The training examples.
            config: The run's options.
            console: Where decisions are said.

        Returns:
            The name of the column as the only label; the settings "mean", "deviation" and "loss".

        Raises:
            DataError: When all numbers are the same, or too large.
            ConfigError: When the epoch is chosen by a figure that these numbers do not have.
        """
        numbers = np.array(examples.columns[NUMBERS], dtype=np.float64)
        if numbers.min() == numbers.max():
            raise DataError(
                f"{examples.where}: every training row has the number {numbers[0]:g} in {config.label_column!r}, so "
                "there is nothing to learn. Is label_column the right column?"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = float(numbers.mean()), float(numbers.std())
        if not (np.isfinite(deviation) and deviation > 0.0):
            raise DataError(
                f"{examples.where}: the numbers in {config.label_column!r} go from {numbers.min():g} to "
                f"{numbers.max():g}, whose standard deviation is no number from above 0 to 1.8e308. Rescale them."
            )
        figure = config.monitor.removeprefix("val_")
        if figure in _ORDINAL and figure not in regression_metrics(numbers, numbers).scalars():
            raise ConfigError(
                f"monitor={config.monitor!r} is for whole numbers over at most {MOST_LEVELS} levels, which those in "
                f"{config.label_column!r} are not. Use monitor='val_spearman', say."
            )
        console.say(f"numbers from {numbers.min():g} to {numbers.max():g}, mean {mean:g}, deviation {deviation:g}")
        return Learned([config.label_column], {"mean": mean, "deviation": deviation, "loss": config.regression_loss})

    def num_outputs(self, learned: Learned) -> int:
        """Returns 1."""
        return 1

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns the number of each row in units of the data, and standardised; float64 of shape `(rows, 2)`."""
        numbers = np.array(examples.columns[NUMBERS], dtype=np.float64)
        return np.stack([numbers, _standardised(numbers, learned)], axis=1)

    def row_targets(self, targets: Targets, rows: EncodedRows, learned: Learned) -> np.ndarray:
        """Returns the standardised numbers, float32 of shape `(rows,)`."""
        standardised: np.ndarray = np.asarray(targets)[:, 1].astype(np.float32)
        return standardised

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns squared or absolute error, or Huber's loss, of standardised numbers."""
        from tfft.losses.regression import RegressionLoss

        return RegressionLoss(learned.settings["loss"])

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> RegressionMetrics:
        """Computes the figures over a whole split: the loss as in training, all others in units of the data."""
        predicted = _in_units(outputs, learned)
        return regression_metrics(targets[:, 0], predicted, loss=_mean_loss(targets[:, 0], predicted, learned))

    def restore_metrics(self, plain: Mapping[str, Any]) -> RegressionMetrics:
        """Returns the figures kept in a run directory."""
        return RegressionMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, RegressionMetrics]:
        """Returns the figures of the mean and of TF-IDF + ridge regression."""
        return text_regression_baselines(
            train[0].texts,
            train[1][:, 0],
            test[0].texts,
            test[1][:, 0],
            loss=lambda true, predicted: _mean_loss(true, predicted, learned),
        )

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[PredictedNumber]:
        """Turns outputs of shape `(rows, 1)` into numbers in units of the data."""
        return [PredictedNumber(value) for value in _in_units(outputs, learned).tolist()]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns `value`, float64 of shape `(batch,)`, in units of the data: float32 would cut large numbers off."""
        import tensorflow as tf

        standardised = tf.cast(outputs[:, 0], tf.float64)
        return {"value": standardised * learned.settings["deviation"] + learned.settings["mean"]}

    def served_outputs(self, predictions: Sequence[PredictedNumber], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensor of `serve` for predictions of `decode`."""
        return {"value": np.array([item.value for item in predictions], dtype=np.float64)}

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short film opinions with 1 to 5 stars."""
        stars = {
            "wonderful": 5, "brilliant": 5, "moving": 4, "charming": 4, "funny": 4,
            "silly": 3, "weak": 2, "dull": 2, "boring": 1, "awful": 1,
        }  # fmt: skip
        things = ("film", "plot", "cast", "music", "ending", "script")
        rows = [(f"the {thing} was {word}", number) for thing in things for word, number in stars.items()]
        return pd.DataFrame(rows, columns=["text", "label"])


def _standardised(numbers: np.ndarray, learned: Learned) -> np.ndarray:
    found: np.ndarray = (numbers - learned.settings["mean"]) / learned.settings["deviation"]
    return found


def _in_units(outputs: Any, learned: Learned) -> np.ndarray:
    standardised = np.asarray(outputs, dtype=np.float64).reshape(-1)
    found: np.ndarray = standardised * learned.settings["deviation"] + learned.settings["mean"]
    return found


def _mean_loss(true: np.ndarray, predicted: np.ndarray, learned: Learned) -> float:
    """Returns the mean training loss of numbers in units of the data."""
    from tfft.losses.regression import RegressionLoss

    rows = RegressionLoss(learned.settings["loss"]).call(
        _standardised(true, learned), _standardised(predicted, learned)
    )
    return float(np.mean(np.asarray(rows), dtype=np.float64))


register_task("text_regression")(TextRegression())
