"""Attention of a decoder over the outputs of an encoder: multiplicative (Luong 2015) and additive (Bahdanau 2015)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from tfft.core.errors import ConfigError, unknown_name
from tfft.layers.layer_seeds import layer_seeds

#: The scores of Luong et al. 2015, eq. 8, that are made of products alone.
LUONG_SCORES = ("general", "dot")

#: Exponentials of it are 0 in float32.
_MASKED = -1e9
_ONE_STEP_RANK = 2


class AttentionMemory(NamedTuple):
    """What is attended to, prepared once for each sequence.

    Attributes:
        keys: What queries are compared with, float `(batch, source_length, key_dim)`.
        values: What contexts are made of, float `(batch, source_length, value_dim)`.
        mask: Places that may be attended to, bool `(batch, source_length)`; None for all of them.
    """

    keys: tf.Tensor
    values: tf.Tensor
    mask: tf.Tensor | None


class _Attention(keras.layers.Layer):
    """Scores, shares and contexts; what a score is, is the business of the class below."""

    def call(self, queries: Any, values: Any, mask: Any = None) -> tuple[Any, Any]:
        """Attends to values.

        Args:
            queries: Float `(batch, target_length, query_dim)`, or `(batch, query_dim)` for one step.
            values: Float `(batch, source_length, value_dim)`.
            mask: Places that may be attended to, bool or int `(batch, source_length)`. None: all of them.

        Returns:
            Contexts, `(batch, target_length, value_dim)`, and weights, `(batch, target_length, source_length)`, without
            the axis of length for one step. Masked places have weight 0; where all are masked, all is 0.
        """
        return self.attend(queries, self.memory(values, mask))

    def memory(self, values: Any, mask: Any = None) -> AttentionMemory:
        """Projects keys, once for all queries of a sequence.

        Args:
            values: Float `(batch, source_length, value_dim)`.
            mask: As for `call`.

        Returns:
            What `attend` takes.
        """
        values = tf.cast(values, self.compute_dtype)
        return AttentionMemory(self._keys(values), values, None if mask is None else tf.cast(mask, tf.bool))

    def attend(self, queries: Any, memory: AttentionMemory) -> tuple[Any, Any]:
        """Attends to a memory.

        Args:
            queries: Float `(batch, target_length, query_dim)`, or `(rows, query_dim)` for one step, where the rows of a
                sequence stand together and each has as many.
            memory: What `memory` gave.

        Returns:
            Contexts and weights, as of `call`.
        """
        queries = tf.cast(queries, self.compute_dtype)
        one_step = len(queries.shape) == _ONE_STEP_RANK
        if one_step:
            rows, shape = tf.shape(queries)[0], tf.shape(memory.values)
            queries = tf.reshape(queries, tf.stack([shape[0], rows // tf.maximum(shape[0], 1), queries.shape[-1]]))
        scores = tf.cast(self._scores(queries, memory.keys), tf.float32)
        mask = None if memory.mask is None else memory.mask[:, tf.newaxis]
        if mask is not None:
            scores = tf.where(mask, scores, _MASKED)
        weights = tf.nn.softmax(scores)
        if mask is not None:  # a row without any place has equal shares until here
            weights = tf.where(mask, weights, 0.0)
        weights = tf.cast(weights, self.compute_dtype)
        contexts = tf.matmul(weights, memory.values)
        if one_step:
            contexts = tf.reshape(contexts, tf.stack([rows, memory.values.shape[-1]]))
            weights = tf.reshape(weights, tf.stack([rows, shape[1]]))
        return contexts, weights

    def compute_output_spec(self, queries: Any, values: Any, mask: Any = None) -> tuple[Any, Any]:
        """Says which shapes and dtypes come out."""
        del mask
        shapes = (*queries.shape[:-1], values.shape[-1]), (*queries.shape[:-1], values.shape[1])
        contexts, weights = (keras.KerasTensor(shape, dtype=self.compute_dtype) for shape in shapes)
        return contexts, weights

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Says that no mask goes on; Keras warns of masks that are given to layers without this."""

    def _keys(self, values: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _scores(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="tfft")
class LuongAttention(_Attention):
    """Multiplicative attention (Luong et al. 2015, arXiv:1508.04025, eq. 7 and 8): `q' W v`, or `q' v`."""

    def __init__(
        self, score: Literal["general", "dot"] = "general", *, seed: int | None = None, **options: Any
    ) -> None:
        """Keeps the options.

        Args:
            score: "general" has a matrix between query and value; "dot" has none, so both have one size.
            seed: Decides the weights.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When the score is unknown.
        """
        super().__init__(**options)
        if score not in LUONG_SCORES:
            raise ConfigError(unknown_name("score", score, LUONG_SCORES))
        self.score, self.seed = score, seed

    def build(self, queries_shape: tuple[int | None, ...], values_shape: tuple[int | None, ...]) -> None:
        """Creates the weights.

        Args:
            queries_shape: Shape of the queries.
            values_shape: Shape of the values.

        Raises:
            ConfigError: When the sizes differ and the score is "dot".
        """
        query_dim, value_dim = queries_shape[-1], values_shape[-1]
        if self.score == "general":
            self.kernel = self.add_weight(
                shape=(value_dim, query_dim), initializer=keras.initializers.GlorotUniform(self.seed), name="kernel"
            )
        elif query_dim != value_dim:
            raise ConfigError(
                f'score="dot" got queries of size {query_dim} and values of size {value_dim}, which must be equal. '
                'Use score="general", which has a matrix between them.'
            )
        self.built = True

    def _keys(self, values: tf.Tensor) -> tf.Tensor:
        if self.score == "dot":
            return values
        return tf.tensordot(values, tf.cast(self.kernel, self.compute_dtype), 1)

    def _scores(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        return tf.matmul(queries, keys, transpose_b=True)

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        return {**super().get_config(), "score": self.score, "seed": self.seed}


@keras.saving.register_keras_serializable(package="tfft")
class BahdanauAttention(_Attention):
    """Additive attention (Bahdanau et al. 2015, arXiv:1409.0473, appendix A.1.2): `v' tanh(W q + U h)`."""

    def __init__(self, units: int, *, seed: int | None = None, **options: Any) -> None:
        """Keeps the options.

        Args:
            units: Size in which queries and values are compared.
            seed: Decides the weights.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When `units` is out of range.
        """
        super().__init__(**options)
        if units < 1:
            raise ConfigError(f"units is {units}; additive attention needs at least 1.")
        self.units, self.seed = units, seed

    def build(self, queries_shape: tuple[int | None, ...], values_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        sizes = {
            "query_kernel": (queries_shape[-1], self.units),
            "key_kernel": (values_shape[-1], self.units),
            "score_kernel": (self.units, 1),
        }
        for (name, shape), seed in zip(sizes.items(), layer_seeds(self.seed, len(sizes)), strict=True):
            weight = self.add_weight(shape=shape, initializer=keras.initializers.GlorotUniform(seed), name=name)
            setattr(self, name, weight)
        self.built = True

    def _keys(self, values: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(values, tf.cast(self.key_kernel, self.compute_dtype), 1)

    def _scores(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        projected = tf.tensordot(queries, tf.cast(self.query_kernel, self.compute_dtype), 1)
        compared = tf.tanh(projected[:, :, tf.newaxis] + keys[:, tf.newaxis])
        return tf.squeeze(tf.tensordot(compared, tf.cast(self.score_kernel, self.compute_dtype), 1), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        return {**super().get_config(), "units": self.units, "seed": self.seed}
