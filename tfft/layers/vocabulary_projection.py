"""Logits over a vocabulary, and their cross-entropy without ever having all of them in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfft.core.errors import ConfigError

#: Most logits that are in memory at once: 64 MiB in float32.
MOST_LOGITS = 2**24


@keras.saving.register_keras_serializable(package="tfft")
class VocabularyProjection(keras.layers.Layer):
    """Projects hidden states onto a vocabulary, by a matrix of its own or that of the embeddings.

    Output weights that are the embeddings: Press and Wolf 2017, arXiv:1608.05859. Either has one row for each token.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        tied: bool = False,
        label_smoothing: float = 0.0,
        most_logits: int = MOST_LOGITS,
        skip_padding: bool = True,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        """Keeps the options.

        Args:
            vocabulary_size: Number of tokens.
            tied: Whether the matrix is that of the embeddings, which is then an argument of each call.
            label_smoothing: Share of the target distribution that is spread over all tokens alike (Szegedy et al. 2016,
                arXiv:1512.00567, section 7).
            most_logits: How many logits may be in memory at once; fewer cost time, as they are computed again for the
                gradient.
            skip_padding: Whether padded places are left out of the product. It makes shapes that depend on data, which
                XLA refuses; the numbers are the same.
            seed: Decides the weights.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When a value is out of range.
        """
        super().__init__(**options)
        for name, value in (("vocabulary_size", vocabulary_size), ("most_logits", most_logits)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing is {label_smoothing}; it must be from 0 to below 1.")
        self.vocabulary_size, self.tied, self.label_smoothing = vocabulary_size, tied, label_smoothing
        self.most_logits, self.skip_padding, self.seed = most_logits, skip_padding, seed

    def build(
        self, hidden_shape: tuple[int | None, ...], embeddings_shape: tuple[int | None, ...] | None = None
    ) -> None:
        """Creates the bias, and the matrix unless it is tied."""
        del embeddings_shape
        if not self.tied:
            self.kernel = self.add_weight(
                shape=(self.vocabulary_size, hidden_shape[-1]),
                initializer=keras.initializers.GlorotUniform(self.seed),
                name="kernel",
            )
        self.bias = self.add_weight(shape=(self.vocabulary_size,), initializer="zeros", name="bias")
        self.built = True

    def call(self, hidden: Any, embeddings: Any = None) -> Any:
        """Computes all logits, as decoding wants them.

        Args:
            hidden: Float `(..., hidden_dim)`.
            embeddings: The tied matrix, float `(vocabulary_size, hidden_dim)`.

        Returns:
            Float32 `(..., vocabulary_size)`, whatever the compute dtype.
        """
        hidden = tf.cast(hidden, self.compute_dtype)
        kernel, bias = self._weights(embeddings)
        logits = _logits(tf.reshape(hidden, [-1, hidden.shape[-1]]), kernel, bias)
        shape = tf.concat([tf.shape(hidden)[:-1], [self.vocabulary_size]], axis=0)
        return tf.ensure_shape(tf.reshape(logits, shape), (*hidden.shape[:-1], self.vocabulary_size))

    def stepper(self, embeddings: Any = None) -> Callable[[tf.Tensor], tf.Tensor]:
        """Prepares logits of one step after another: the matrix is laid out for that once.

        Args:
            embeddings: The tied matrix, float `(vocabulary_size, hidden_dim)`.

        Returns:
            From float `(rows, hidden_dim)` to float32 `(rows, vocabulary_size)`, with the numbers of a call.
        """
        kernel, bias = self._weights(embeddings)
        across = tf.transpose(kernel)

        def logits(hidden: tf.Tensor) -> tf.Tensor:
            product = tf.matmul(tf.cast(hidden, self.compute_dtype), across)
            return tf.nn.bias_add(tf.cast(product, tf.float32), bias)

        return logits

    def row_losses(self, hidden: Any, targets: Any, mask: Any = None, embeddings: Any = None) -> Any:
        """Computes the label-smoothed cross-entropy of each row. Gradients of gradients are not supported.

        Args:
            hidden: Float `(batch, target_length, hidden_dim)`.
            targets: True ids, int `(batch, target_length)`; at padding any number.
            mask: Places that count, bool or int `(batch, target_length)`. None: all of them.
            embeddings: The tied matrix, float `(vocabulary_size, hidden_dim)`.

        Returns:
            Nats, summed over the tokens of the row, float32 `(batch,)`.
        """
        kernel, bias = self._weights(embeddings)
        batch, length = tf.unstack(tf.shape(targets))
        states = tf.reshape(tf.cast(hidden, self.compute_dtype), [-1, hidden.shape[-1]])
        ids, rows = tf.reshape(tf.cast(targets, tf.int32), [-1]), tf.repeat(tf.range(batch), length)
        counts = None if mask is None else tf.reshape(tf.cast(mask, tf.bool), [-1])
        if counts is not None and self.skip_padding:
            places = tf.where(counts)[:, 0]
            states, ids, rows = (tf.gather(values, places) for values in (states, ids, rows))
            counts = None
        if counts is not None:
            ids = tf.where(counts, ids, 0)
        losses = _log_normalizers(states, kernel, bias, max(1, self.most_logits // self.vocabulary_size))
        losses -= self._expected_logits(states, kernel, bias, ids)
        if counts is not None:
            losses = tf.where(counts, losses, 0.0)
            return tf.reduce_sum(tf.reshape(losses, tf.stack([batch, length])), axis=1)
        return tf.ensure_shape(tf.math.unsorted_segment_sum(losses, rows, batch), (targets.shape[0],))

    def row_scores(self, hidden: Any, targets: Any, mask: Any, embeddings: Any = None) -> Any:
        """Computes what figures of rows are made of, with the logits of a few tokens in memory at once; no gradient.

        Args:
            hidden: Float `(batch, target_length, hidden_dim)`.
            targets: True ids, int `(batch, target_length)`; at padding any number.
            mask: Places that count, bool or int `(batch, target_length)`.
            embeddings: The tied matrix, float `(vocabulary_size, hidden_dim)`.

        Returns:
            Cross-entropy in nats without label smoothing, tokens whose likeliest prediction is right, and tokens, each
            summed over a row, float32 `(batch, 3)`.
        """
        kernel, bias = self._weights(embeddings)
        places = tf.where(tf.cast(mask, tf.bool))
        states = tf.gather_nd(tf.cast(hidden, self.compute_dtype), places)
        ids = tf.gather_nd(tf.cast(targets, tf.int32), places)
        chunk = max(1, self.most_logits // self.vocabulary_size)
        parts = -(-tf.shape(ids)[0] // chunk)

        def of_part(number: tf.Tensor, written: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            part = slice(number * chunk, (number + 1) * chunk)
            logits = _logits(states[part], kernel, bias)
            own = tf.gather(logits, ids[part], batch_dims=1)
            right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), ids[part])
            losses = tf.reduce_logsumexp(logits, axis=-1) - own
            found = tf.stack([losses, tf.cast(right, tf.float32), tf.ones_like(losses)], axis=-1)
            return number + 1, written.write(number, found)

        empty = tf.TensorArray(tf.float32, parts, element_shape=(None, 3), infer_shape=False)
        _, written = tf.while_loop(lambda number, _: number < parts, of_part, (0, empty), maximum_iterations=parts)
        rows, batch = tf.cast(places[:, 0], tf.int32), tf.shape(targets)[0]
        return tf.ensure_shape(tf.math.unsorted_segment_sum(written.concat(), rows, batch), (targets.shape[0], 3))

    def compute_output_spec(self, hidden: Any, embeddings: Any = None) -> Any:
        """Says which shape and dtype come out."""
        del embeddings
        return keras.KerasTensor((*hidden.shape[:-1], self.vocabulary_size), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        names = ("vocabulary_size", "tied", "label_smoothing", "most_logits", "skip_padding", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _expected_logits(self, states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Returns the mean logit under the target distribution, `(tokens,)`: what is spread alike needs no logits."""
        states, kernel = tf.cast(states, tf.float32), tf.cast(kernel, tf.float32)
        weights, biases = tf.gather(kernel, ids), tf.gather(bias, ids)
        if self.label_smoothing:
            share = self.label_smoothing
            weights = (1.0 - share) * weights + share * tf.reduce_mean(kernel, axis=0)
            biases = (1.0 - share) * biases + share * tf.reduce_mean(bias)
        return tf.reduce_sum(states * weights, axis=-1) + biases

    def _weights(self, embeddings: Any) -> tuple[tf.Tensor, tf.Tensor]:
        if self.tied == (embeddings is None):
            received, advice = ("none", "Give them") if self.tied else ("some", "Leave them out")
            raise ConfigError(
                f"A projection with tied={self.tied} got {received} of the embeddings. {advice}, or create it with "
                f"tied={not self.tied}."
            )
        kernel = embeddings if self.tied else self.kernel
        return tf.cast(kernel, self.compute_dtype), tf.cast(self.bias, tf.float32)


def _logits(states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    return tf.nn.bias_add(tf.cast(tf.matmul(states, kernel, transpose_b=True), tf.float32), bias)


def _log_normalizers(states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, chunk: int) -> tf.Tensor:
    """Returns `log(sum(exp(logits)))` of each token, `(tokens,)`, with the logits of `chunk` tokens in memory at most.

    The softmax of the last chunk is kept, so that nothing is computed twice where one chunk is enough.
    """
    count = tf.shape(states)[0]
    whole = tf.maximum(-(-count // chunk) - 1, 0)
    size = states.shape[-1]

    def of_chunk(states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = _logits(states, kernel, bias)
        shares = tf.nn.softmax(logits)
        # The largest share is that of the largest logit, and cannot vanish. TensorFlow's own kernel of the
        # cross-entropy takes several times as long as its softmax.
        return tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(shares, axis=-1)), shares

    def part(values: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        # No slice: XLA wants one to fit even in a loop that is run no times.
        return tf.gather(values, tf.minimum(number * chunk + tf.range(chunk), count - 1))

    @tf.custom_gradient
    def run(states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> Any:
        def forward(number: tf.Tensor, written: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return number + 1, written.write(number, of_chunk(part(states, number))[0])

        empty = tf.TensorArray(tf.float32, whole, element_shape=(chunk,))
        _, written = tf.while_loop(lambda number, _: number < whole, forward, (0, empty), maximum_iterations=whole)
        done = whole * chunk
        last, kept = of_chunk(states[done:])
        found = tf.concat([tf.reshape(written.stack(), [-1]), last], axis=0)

        def backward(gradient: tf.Tensor) -> tuple[tf.Tensor, ...]:
            def of_part(shares: tf.Tensor, states: tf.Tensor, gradient: tf.Tensor) -> tuple[tf.Tensor, ...]:
                column = gradient[:, tf.newaxis]
                narrow = tf.cast(shares, kernel.dtype)
                # States are scaled, and not the shares: they are narrower.
                scaled = tf.cast(tf.cast(states, tf.float32) * column, states.dtype)
                return (
                    tf.cast(tf.cast(tf.matmul(narrow, kernel), tf.float32) * column, states.dtype),
                    tf.cast(tf.matmul(narrow, scaled, transpose_a=True), tf.float32),
                    tf.squeeze(tf.matmul(shares, column, transpose_a=True), axis=-1),
                )

            def again(
                number: tf.Tensor, of_kernel: tf.Tensor, of_bias: tf.Tensor, written: tf.TensorArray
            ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
                some = part(states, number)
                found = of_part(of_chunk(some)[1], some, part(gradient, number))
                return number + 1, of_kernel + found[1], of_bias + found[2], written.write(number, found[0])

            of_states, of_kernel, of_bias = of_part(kept, states[done:], gradient[done:])
            empty = tf.TensorArray(states.dtype, whole, element_shape=(chunk, size))
            _, of_kernel, of_bias, written = tf.while_loop(
                lambda number, *_: number < whole, again, (0, of_kernel, of_bias, empty), maximum_iterations=whole
            )
            of_states = tf.concat([tf.reshape(written.stack(), [-1, size]), of_states], axis=0)
            return of_states, tf.cast(of_kernel, kernel.dtype), of_bias

        return found, backward

    return run(states, kernel, bias)
