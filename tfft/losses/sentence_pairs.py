"""Losses of bi-encoders, from the embeddings of the two or three texts of each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from tfft.core.errors import ConfigError, unknown_name

#: Least squared length or distance: the square root has no gradient at 0.
_LEAST_SQUARE = 1e-12
#: Logit of what is no candidate; its exponential is 0 beside any cosine times any scale of use.
_NO_CANDIDATE = -1e9


@keras.saving.register_keras_serializable(package="tfft")
class ContrastiveLoss(keras.losses.Loss):
    """Draws similar pairs together, and pushes others a margin apart (Hadsell et al. 2006, equation 4).

    `y * D ** 2 / 2 + (1 - y) * max(0, margin - D) ** 2 / 2` with the distance `D`. Here 1 means similar, as in
    sentence-transformers; in the paper it means dissimilar.
    """

    def __init__(self, margin: float = 0.5, distance: str = "cosine", name: str = "contrastive", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            margin: Distance beyond which pairs that are not similar cost nothing.
            distance: "cosine", from 0 to 2, or "euclidean", of embeddings as they are.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

        Raises:
            ConfigError: When an argument is not allowed.
        """
        super().__init__(name=name, **kwargs)
        self.margin = _above_zero("margin", margin)
        self.distance = _known(distance)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: 1 for similar pairs, else 0; of shape `(batch,)`.
            y_pred: Embeddings of both texts, float of shape `(batch, 2, dim)`.

        Returns:
            Float32 of shape `(batch,)`.
        """
        first, second = _embeddings(y_pred, 2)
        similar = _one_a_row(y_true)
        distance = DISTANCES[self.distance](first, second)
        apart = ops.maximum(self.margin - distance, 0.0)
        return 0.5 * (similar * ops.square(distance) + (1.0 - similar) * ops.square(apart))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "margin": self.margin, "distance": self.distance}


@keras.saving.register_keras_serializable(package="tfft")
class CosineSimilarityLoss(keras.losses.Loss):
    """Squared error of the cosine of both embeddings (Reimers and Gurevych 2019, section 3, regression objective)."""

    def __init__(self, name: str = "cosine_similarity", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Scores from -1 to 1, float of shape `(batch,)`; a cosine cannot reach others.
            y_pred: Embeddings of both texts, float of shape `(batch, 2, dim)`.

        Returns:
            Float32 of shape `(batch,)`.
        """
        first, second = _embeddings(y_pred, 2)
        return ops.square(1.0 - _cosine_distance(first, second) - _one_a_row(y_true))


@keras.saving.register_keras_serializable(package="tfft")
class MultipleNegativesRankingLoss(keras.losses.Loss):
    """Finds the second text of each row among those of all rows of the batch (Henderson et al. 2017, section 4.4).

    Of row `i`: `-log(exp(scale * c_ii) / sum_j exp(scale * c_ij))`, with the cosine `c_ij` of the first text of row `i`
    and the second of row `j`. The paper scores by plain dot products; cosine and scale are those of
    sentence-transformers.

    **The loss of a row depends on the rows it is computed with**, as `couples_rows` says: cut into micro-batches or
    shared between replicas, a batch has fewer negatives for each row, and another loss than in one piece. Losses
    compare only where as many rows are computed together.

    Each number in `y_true` is a candidate once, at its first row, and never a negative of a row with that number. So a
    text that comes twice is not its own negative, and rows that repeat another to fill up a batch leave the loss of the
    rest as it is wherever the row that they repeat is among them; elsewhere they are one more negative.
    """

    #: Rows must be computed together: the loss of one depends on the others.
    couples_rows: ClassVar[bool] = True

    def __init__(self, scale: float = 20.0, name: str = "multiple_negatives_ranking", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            scale: Factor of the cosines, the inverse of a temperature.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

        Raises:
            ConfigError: When scale is not above 0.
        """
        super().__init__(name=name, **kwargs)
        self.scale = _above_zero("scale", scale)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Number of the second text of each row, of shape `(batch,)`; the same for rows that are not to be
                each other's negatives. `call` compares any type; `__call__` of Keras makes it float32 first, which
                tells whole numbers apart up to `2 ** 24`.
            y_pred: Embeddings of both texts, float of shape `(batch, 2, dim)`.

        Returns:
            Float32 of shape `(batch,)`.

        Raises:
            ConfigError: On one of several replicas, which has only its share of the batch.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            raise ConfigError(
                f"This loss takes the negatives of a row from its batch, of which each of {replicas} replicas would "
                "see only its share: another loss than in one piece. Train on one device (strategy='one_device'), or "
                "with a loss of single rows, such as 'triplet'."
            )
        first, second = (_unit(embedding) for embedding in _embeddings(y_pred, 2))
        scores = self.scale * ops.matmul(first, ops.transpose(second))
        numbers = ops.reshape(y_true, (-1,))
        same = ops.equal(numbers[:, None], numbers[None, :])
        places = ops.arange(ops.shape(scores)[0])
        own = ops.equal(places[:, None], places[None, :])
        repeated = ops.any(ops.logical_and(same, places[:, None] > places[None, :]), axis=1)
        negative = ops.logical_not(ops.logical_or(same, repeated[None, :]))
        candidates = ops.where(ops.logical_or(own, negative), scores, _NO_CANDIDATE)
        return ops.logsumexp(candidates, axis=1) - ops.sum(ops.where(own, scores, 0.0), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tfft")
class TripletLoss(keras.losses.Loss):
    """The positive must be nearer to the anchor than the negative, by a margin (Reimers and Gurevych 2019, section 3).

    `max(0, D(anchor, positive) - D(anchor, negative) + margin)`. Schroff et al. 2015, equation 3, has squared distances
    of embeddings of length 1; those are `2 * D` with the cosine distance, so half its margin gives half its loss.
    """

    def __init__(self, margin: float = 1.0, distance: str = "euclidean", name: str = "triplet", **kwargs: Any) -> None:
        """Creates the loss.

        Args:
            margin: How much nearer the positive must be to cost nothing.
            distance: "euclidean", of embeddings as they are, or "cosine", from 0 to 2.
            name: Name of the loss.
            **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

        Raises:
            ConfigError: When an argument is not allowed.
        """
        super().__init__(name=name, **kwargs)
        self.margin = _above_zero("margin", margin)
        self.distance = _known(distance)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of each row.

        Args:
            y_true: Not used: the order of the texts says all.
            y_pred: Embeddings of anchor, positive and negative, float of shape `(batch, 3, dim)`.

        Returns:
            Float32 of shape `(batch,)`.
        """
        del y_true
        anchor, positive, negative = _embeddings(y_pred, 3)
        distance = DISTANCES[self.distance]
        return ops.maximum(distance(anchor, positive) - distance(anchor, negative) + self.margin, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "margin": self.margin, "distance": self.distance}


def _cosine_distance(first: Any, second: Any) -> Any:
    return 1.0 - ops.sum(_unit(first) * _unit(second), axis=-1)


def _euclidean_distance(first: Any, second: Any) -> Any:
    return ops.sqrt(ops.maximum(ops.sum(ops.square(first - second), axis=-1), _LEAST_SQUARE))


#: From two embeddings, float32 of shape `(batch, dim)`, to their distance, float32 of shape `(batch,)`.
DISTANCES: Mapping[str, Callable[[Any, Any], Any]] = {"cosine": _cosine_distance, "euclidean": _euclidean_distance}


def _unit(embedding: Any) -> Any:
    square = ops.sum(ops.square(embedding), axis=-1, keepdims=True)
    return embedding * ops.rsqrt(ops.maximum(square, _LEAST_SQUARE))


def _embeddings(outputs: Any, texts: int) -> list[Any]:
    shape = tuple(outputs.shape)
    if len(shape) != 3 or shape[1] != texts:  # noqa: PLR2004 (rows, texts, dimensions)
        raise ConfigError(
            f"This loss compares the embeddings of {texts} texts a row, of shape (batch, {texts}, dim); the outputs "
            f"have the shape {shape}. Use a head that stacks them."
        )
    # Squares of half precision overflow.
    outputs = ops.cast(outputs, "float32")
    return [outputs[:, place] for place in range(texts)]


def _one_a_row(targets: Any) -> Any:
    return ops.reshape(ops.cast(targets, "float32"), (-1,))


def _above_zero(name: str, value: float) -> float:
    if not 0.0 < value < math.inf:
        raise ConfigError(f"{name} is finite and above 0; received {value}.")
    return value


def _known(distance: str) -> str:
    if distance not in DISTANCES:
        raise ConfigError(unknown_name("distance", distance, list(DISTANCES)))
    return distance
