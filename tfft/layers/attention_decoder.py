"""The LSTM decoder of sequences, whole: embeddings, recurrence with attention, and the projection onto tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfft.core.special_ids import END
from tfft.layers.layer_seeds import layer_seeds
from tfft.layers.lstm_decoder import LstmDecoder, Score
from tfft.layers.lstm_recurrence import LstmState
from tfft.layers.vocabulary_projection import VocabularyProjection

#: From the tokens before, a state and constants to logits of the next tokens, and the state after them.
LogitsStep = Callable[[tf.Tensor, Any, Any], tuple[tf.Tensor, Any]]
#: What fills targets up.
NO_TARGET = -1


@keras.saving.register_keras_serializable(package="tfft")
class AttentionDecoder(keras.layers.Layer):
    """Token features of a source to what predicts each token of a target (Luong et al. 2015, arXiv:1508.04025).

    The first hidden and cell states of each layer are `tanh(W mean + b)` of the mean of the features that count, as in
    Nematus (Sennrich et al. 2017, arXiv:1703.04357, section 2.2): so any encoder will do.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        embedding_dim: int = 256,
        units: int = 256,
        num_layers: int = 1,
        score: Score = "general",
        input_feeding: bool = False,
        tied_embeddings: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        label_smoothing: float = 0.0,
        skip_padding: bool = True,
        learning_rate_factor: float = 1.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        """Keeps the options.

        Args:
            vocabulary_size: Number of tokens.
            embedding_dim: Size of the vector of a token.
            units: Size of hidden states and of what predicts tokens.
            num_layers: Number of LSTM layers.
            score: How attention compares; see `LstmDecoder`.
            input_feeding: Whether the attentional vector enters the next step.
            tied_embeddings: Whether the vectors of tokens are the output weights too.
            dropout: Share that is dropped in training.
            recurrent_dropout: Share of hidden states that is dropped on the way into the gates in training.
            label_smoothing: Share of the target distribution that is spread over all tokens alike.
            skip_padding: Whether padded places are left out of the loss' products, which XLA cannot compile.
            learning_rate_factor: Learning rate of the weights as a multiple of that of others.
            seed: Decides the weights and what is dropped.
            **options: Those of a Keras layer.
        """
        super().__init__(**options)
        self._config = {
            "vocabulary_size": vocabulary_size, "embedding_dim": embedding_dim, "units": units,
            "num_layers": num_layers, "score": score, "input_feeding": input_feeding,
            "tied_embeddings": tied_embeddings, "dropout": dropout, "recurrent_dropout": recurrent_dropout,
            "label_smoothing": label_smoothing, "skip_padding": skip_padding,
            "learning_rate_factor": learning_rate_factor, "seed": seed,
        }  # fmt: skip
        own: dict[str, Any] = {"dtype": self.dtype_policy}
        bridges = len(LstmState._fields) * num_layers
        of_embedding, of_decoder, of_projection, *of_bridges = layer_seeds(seed, 3 + bridges)
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            embedding_dim,
            # As output weights too, rows of unit length would make logits that are far too large.
            embeddings_initializer=keras.initializers.RandomNormal(stddev=embedding_dim**-0.5, seed=of_embedding),
            name="token_embedding",
            **own,
        )
        self.decoder = LstmDecoder(
            units, num_layers=num_layers, score=score, input_feeding=input_feeding, dropout=dropout,
            recurrent_dropout=recurrent_dropout, seed=of_decoder, name="decoder", **own,
        )  # fmt: skip
        self.projection = VocabularyProjection(
            vocabulary_size, tied=tied_embeddings, label_smoothing=label_smoothing, skip_padding=skip_padding,
            seed=of_projection, name="vocabulary", **own,
        )  # fmt: skip
        self.bridges = [
            keras.layers.Dense(
                units,
                activation="tanh",
                kernel_initializer=keras.initializers.GlorotUniform(number),
                name=f"bridge_{place}",
                **own,
            )
            for place, number in enumerate(of_bridges)
        ]

    def build(self, features_shape: tuple[int | None, ...], *_: Any) -> None:
        """Creates the weights."""
        units, size = self.decoder.units, self.embedding.output_dim
        self.embedding.build((None, None))
        for bridge in self.bridges:
            bridge.build((None, features_shape[-1]))
        self.decoder.build((None, None, size), None, tuple(features_shape))
        self.projection.build((None, None, units))
        for variable in self.variables:
            variable.learning_rate_factor = self._config["learning_rate_factor"]
        self.built = True

    def call(self, features: Any, padding_mask: Any, token_ids: Any, training: bool | None = False) -> Any:
        """Runs over all target tokens (teacher forcing).

        Args:
            features: Of the source, float `(batch, source_length, feature_dim)`.
            padding_mask: Source tokens that count, int `(batch, source_length)`.
            token_ids: The token before each target, int `(batch, target_length)`.
            training: Whether to drop.

        Returns:
            What predicts each token, `(batch, target_length, units)`.
        """
        return self.decoder(
            self.embedding(token_ids),
            self._first_states(features, padding_mask),
            features,
            mask=padding_mask,
            training=training,
        )

    def logits(self, hidden: Any) -> Any:
        """Returns float32 logits `(..., vocabulary_size)` of what `call` or a step gave."""
        return self.projection(hidden, *self._tied())

    def row_losses(self, hidden: Any, targets: Any, mask: Any) -> Any:
        """Returns the label-smoothed cross-entropy of each row in nats, summed over its tokens, float32 `(batch,)`."""
        return self.projection.row_losses(hidden, targets, mask, *self._tied())

    def row_scores(self, hidden: Any, targets: Any, mask: Any) -> Any:
        """Returns what figures are made of: cross-entropy in nats, right tokens and tokens, float32 `(batch, 3)`."""
        return self.projection.row_scores(hidden, targets, mask, *self._tied())

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens."""
        return self.projection.vocabulary_size

    def begin(self, features: Any, padding_mask: Any) -> tuple[LogitsStep, Any, Any]:
        """Prepares decoding one token after another.

        Args:
            features: Of the sources, float `(batch, source_length, feature_dim)`.
            padding_mask: Source tokens that count, int `(batch, source_length)`.

        Returns:
            The step, for rows of which those of a source stand together, the state before the first token, and no
            constants. Rows whose last token is the end have logits of 0: to compute logits takes most of the time.
        """
        memory = self.decoder.memory(features, padding_mask)
        logits_of = self.projection.stepper(*self._tied())

        def step(tokens: tf.Tensor, state: Any, _: Any) -> tuple[tf.Tensor, Any]:
            hidden, state = self.decoder.step(self.embedding(tokens), state, memory)
            live, rows = tf.where(tokens != END), tf.shape(tokens, tf.int64)[0]

            def of_live() -> tf.Tensor:
                shape = tf.stack([rows, self.vocabulary_size])
                return tf.scatter_nd(live, logits_of(tf.gather_nd(hidden, live)), shape)

            logits = tf.cond(tf.shape(live, tf.int64)[0] < rows, of_live, lambda: logits_of(hidden))
            return tf.ensure_shape(logits, [None, self.vocabulary_size]), state

        return step, self.decoder.first_state(self._first_states(features, padding_mask)), ()

    def _first_states(self, features: Any, padding_mask: Any) -> tuple[Any, ...]:
        counts = tf.cast(padding_mask, tf.float32)[..., tf.newaxis]
        sums = tf.reduce_sum(tf.cast(features, tf.float32) * counts, axis=1)
        mean = tf.cast(sums / tf.maximum(tf.reduce_sum(counts, axis=1), 1.0), self.compute_dtype)
        return tuple(bridge(mean) for bridge in self.bridges)

    def _tied(self) -> tuple[Any, ...]:
        return (tf.convert_to_tensor(self.embedding.embeddings),) if self.projection.tied else ()

    def compute_output_spec(
        self, features: Any, padding_mask: Any, token_ids: Any, training: bool | None = False
    ) -> Any:
        """Says which shape and dtype come out."""
        del features, padding_mask, training
        return keras.KerasTensor((*token_ids.shape, self.decoder.units), dtype=self.compute_dtype)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Says that no mask goes on; Keras warns of masks that are given to layers without this."""

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        return {**super().get_config(), **self._config}


class _OfOwner(keras.layers.Layer):
    """What is computed with weights of something else, which owns them; so it is not saved as an object."""

    def __init__(self, owner: Any, **options: Any) -> None:
        """Keeps the owner, not as an attribute, which Keras would count as a layer of this one.

        Args:
            owner: An `AttentionDecoder`, or a `LanguageModelVocabulary`.
            **options: Those of a Keras layer.
        """
        super().__init__(**options)
        self._shared = lambda: owner

    @property
    def owner(self) -> Any:
        """What has the weights."""
        return self._shared()

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Says that no mask goes on."""


class NextTokenLogits(_OfOwner):
    """What predicts tokens, `(batch, target_length, units)`, to float32 logits `(batch, target_length, vocabulary)`."""

    def call(self, hidden: Any) -> Any:
        """Computes the logits."""
        return self.owner.logits(hidden)

    def compute_output_spec(self, hidden: Any) -> Any:
        """Says which shape and dtype come out."""
        size = self.owner.vocabulary_size
        return keras.KerasTensor((*hidden.shape[:-1], size), dtype="float32")


class RowLosses(_OfOwner):
    """What predicts tokens, and targets `(batch, target_length)` filled up with -1, to losses `(batch, 1)`."""

    def call(self, hidden: Any, targets: Any) -> Any:
        """Computes the losses in nats, summed over the tokens of a row, float32."""
        return self.owner.row_losses(hidden, targets, tf.not_equal(targets, NO_TARGET))[:, tf.newaxis]

    def compute_output_spec(self, hidden: Any, targets: Any) -> Any:
        """Says which shape and dtype come out."""
        return keras.KerasTensor((hidden.shape[0], 1), dtype="float32")


class RowScores(_OfOwner):
    """What predicts tokens, and targets `(batch, target_length)` filled up with -1, to figures of rows `(batch, 3)`."""

    def call(self, hidden: Any, targets: Any) -> Any:
        """Computes cross-entropy in nats, right tokens and tokens of each row, float32."""
        return self.owner.row_scores(hidden, targets, tf.not_equal(targets, NO_TARGET))

    def compute_output_spec(self, hidden: Any, targets: Any) -> Any:
        """Says which shape and dtype come out."""
        return keras.KerasTensor((hidden.shape[0], 3), dtype="float32")
