"""Pair regression: one number for two texts, such as how similar they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import DataError
from tfft.core.learned import Learned
from tfft.data.schema import TextExamples
from tfft.data.text_pairs import NUMBERS
from tfft.metrics.pair_baselines import pair_regression_baselines, scaled_figures
from tfft.metrics.regression import RegressionMetrics
from tfft.tasks._pairs import PairTask, compares_embeddings, cosines, pairs_of, served_cosines
from tfft.tasks.base import register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.encoding.base import EncodedRows


@dataclasses.dataclass(frozen=True)
class PairScore:
    """What the model says of two texts.

    Attributes:
        score: The number, in the unit of the training data.
        similarity: Cosine of both embeddings, from -1 to 1; None unless it is what decides.
    """

    score: float
    similarity: float | None = None


class PairRegression(PairTask):
    """One number for two texts, from columns of first texts, second texts and numbers.

    What the model learns is `(number - offset) / scale`. For a cross-encoder these are mean and standard deviation of
    the training data. For a bi-encoder, whose cosine is that number, the lowest number becomes 0 and the highest 1;
    where some are negative, 0 stays 0 and the largest one, whatever its sign, becomes 1 or -1.
    """

    uses = frozenset({"first_column", "second_column", "label_column", "pair_encoder", "pair_loss", "pooling"})
    figures = ("loss", "mse", "rmse", "mae", "r2", "pearson", "spearman")
    losses = ("cosine",)
    numbers = True

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Finds out offset and scale.

        Args:
            examples: The training examples.
            config: The run's options.
            console: Where they are said.

        Returns:
            No labels, and the settings.

        Raises:
            DataError: When all numbers are the same.
        """
        numbers = np.array(examples.columns[NUMBERS], dtype=np.float64)
        lowest, highest = float(numbers.min()), float(numbers.max())
        if lowest == highest:
            raise DataError(
                f"{examples.where}: every row has the number {lowest:g}, so there is nothing to learn. Is label_column "
                "the right column?"
            )
        settings = self.settings(config)
        if settings["pair_loss"] is None:
            offset, scale = float(numbers.mean()), float(numbers.std())
        elif lowest < 0.0:
            offset, scale = 0.0, max(-lowest, highest)
            console.say(f"cosines from -1 to 1 stand for numbers from {-scale:g} to {scale:g}")
        else:
            offset, scale = lowest, highest - lowest
            console.say(f"cosines from 0 to 1 stand for numbers from {lowest:g} to {highest:g}")
        return Learned([], {**settings, "offset": offset, "scale": scale})

    def num_outputs(self, learned: Learned) -> int:
        """Returns 1."""
        return 1

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns the numbers as they are in the data, float32 of shape `(rows,)`."""
        return np.array(examples.columns[NUMBERS], dtype=np.float32)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the squared error of scaled numbers, of an output or of a cosine."""
        from tfft.losses.regression import RegressionLoss
        from tfft.losses.scaled_targets import ScaledTargets
        from tfft.losses.sentence_pairs import CosineSimilarityLoss

        loss = CosineSimilarityLoss() if compares_embeddings(learned) else RegressionLoss("mse")
        return ScaledTargets(loss, *_scaling(learned))

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> RegressionMetrics:
        """Computes the figures over a whole split; the loss is that of training, of scaled numbers."""
        return scaled_figures(targets, _scores(outputs, learned), _scaling(learned)[1])

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
        """Returns the figures of the mean, of ridge regression on TF-IDF of both texts, and of their cosine."""
        return pair_regression_baselines(
            pairs_of(train[0]), train[1], pairs_of(test[0]), test[1], scale=_scaling(learned)[1]
        )

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[PairScore]:
        """Turns outputs of shape `(rows, 1)`, or embeddings, into numbers."""
        similarities = cosines(outputs).tolist() if compares_embeddings(learned) else [None] * len(outputs)
        scores = _scores(outputs, learned).tolist()
        return [PairScore(*item) for item in zip(scores, similarities, strict=True)]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns `score` and, of a bi-encoder, `similarity`: float32 of shape `(batch,)`."""
        import tensorflow as tf

        offset, scale = _scaling(learned)
        if compares_embeddings(learned):
            similarity = served_cosines(outputs)
            return {"score": offset + scale * similarity, "similarity": similarity}
        return {"score": offset + scale * tf.cast(outputs, tf.float32)[:, 0]}

    def served_outputs(self, predictions: Sequence[PairScore], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        found = {"score": np.array([item.score for item in predictions], dtype=np.float32)}
        if any(item.similarity is not None for item in predictions):
            found["similarity"] = np.array([item.similarity for item in predictions], dtype=np.float32)
        return found

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 pairs of short film opinions: 3 points for the same opinion, 2 for the same thing."""
        kinds = (
            ("wonderful", "moving", "funny", "brilliant", "charming"),
            ("dull", "awful", "boring", "weak", "silly"),
        )
        things = ("film", "plot", "cast", "music", "ending", "script")
        rows = []
        for number, thing in enumerate(things):
            for place in range(10):
                kind, other = place % 2, (place // 2 + number) % 2
                opposite = thing if place % 3 else things[number - 1]
                score = 3.0 * (kind == other) + 2.0 * (thing == opposite)
                first = f"the {thing} was {kinds[kind][place // 2]}"
                rows.append((first, f"a {kinds[other][place // 2 - 1]} {opposite}", score))
        return pd.DataFrame(rows, columns=["sentence1", "sentence2", "label"])


def _scaling(learned: Learned) -> tuple[float, float]:
    return float(learned.settings["offset"]), float(learned.settings["scale"])


def _scores(outputs: Any, learned: Learned) -> np.ndarray:
    """Returns predicted numbers, float64 of shape `(rows,)`."""
    offset, scale = _scaling(learned)
    raw = cosines(outputs) if compares_embeddings(learned) else np.asarray(outputs, dtype=np.float64)[:, 0]
    found: np.ndarray = offset + scale * raw
    return found


register_task("pair_regression")(PairRegression())
