"""A stacked bidirectional LSTM that encodes a source, and the states from which a decoder starts."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.layer_seeds import layer_seeds
from tfft.layers.lstm_recurrence import LstmState
from tfft.layers.masked_lstm import MaskedLSTM, check_rate


@keras.saving.register_keras_serializable(package="tfft")
class LstmEncoder(keras.layers.Layer):
    """Embedded source tokens to outputs of both directions, and to initial states of a decoder's layers.

    Each state is `tanh(W s + b)` of the last states `s` of both directions of a layer, as in Bahdanau et al. 2015,
    arXiv:1409.0473, appendix A.2.2, which takes one direction. The top layers of encoder and decoder belong together,
    and so on downwards; where the encoder has fewer, its lowest serves the rest. Padding changes nothing.
    """

    def __init__(
        self,
        hidden_dim: int,
        *,
        num_layers: int = 1,
        decoder_units: int | None = None,
        decoder_layers: int = 1,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        """Keeps the options.

        Args:
            hidden_dim: Size of the outputs, half of it for each direction.
            num_layers: Number of bidirectional layers.
            decoder_units: Size of the decoder's hidden states. None: that of the outputs.
            decoder_layers: Number of the decoder's layers.
            dropout: Share of the inputs of each layer that is dropped in training, the same in each step.
            recurrent_dropout: Share of hidden states that is dropped on the way into the gates in training.
            seed: Decides the weights and what is dropped.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When a value is out of range.
        """
        super().__init__(**options)
        if hidden_dim < 1 or hidden_dim % 2:
            raise ConfigError(f"hidden_dim is {hidden_dim}; it must be even and above 0, half for each direction.")
        decoder_units = hidden_dim if decoder_units is None else decoder_units
        sizes = {"num_layers": num_layers, "decoder_units": decoder_units, "decoder_layers": decoder_layers}
        for name, value in sizes.items():
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        check_rate("dropout", dropout)
        self.hidden_dim, self.num_layers, self.seed = hidden_dim, num_layers, seed
        self.decoder_units, self.decoder_layers = decoder_units, decoder_layers
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        seeds = iter(layer_seeds(seed, 2 * num_layers + 2 * decoder_layers))
        self.lstms = [
            MaskedLSTM(
                hidden_dim // 2,
                go_backwards=name == "backward",
                dropout=dropout,
                recurrent_dropout=recurrent_dropout,
                seed=next(seeds),
                dtype=self.dtype_policy,
                name=f"{name}_lstm_{number}",
            )
            for number in range(num_layers)
            for name in ("forward", "backward")
        ]
        self.bridges = [
            keras.layers.Dense(
                decoder_units,
                activation="tanh",
                kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
                dtype=self.dtype_policy,
                name=f"{name}_bridge_{number}",
            )
            for number in range(decoder_layers)
            for name in LstmState._fields
        ]

    def build(self, embeddings_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        for number, lstm in enumerate(self.lstms):
            lstm.build(embeddings_shape if number < 2 else (None, None, self.hidden_dim))  # noqa: PLR2004  directions
        for bridge in self.bridges:
            bridge.build((None, self.hidden_dim))
        self.built = True

    def call(self, embeddings: Any, mask: Any = None, training: bool | None = False) -> tuple[Any, tuple[Any, ...]]:
        """Encodes sources.

        Args:
            embeddings: Float `(batch, source_length, embedding_dim)`.
            mask: Tokens that count, bool or int `(batch, source_length)`. None: all of them.
            training: Whether to drop.

        Returns:
            Outputs, `(batch, source_length, hidden_dim)`, where only those of tokens that count mean anything; and
            hidden and cell state of each layer of the decoder, `2 * decoder_layers` tensors `(batch, decoder_units)`.
        """
        outputs, last = embeddings, []
        for forward, backward in zip(self.lstms[::2], self.lstms[1::2], strict=True):
            ahead, *ahead_state = forward(outputs, mask=mask, training=training)
            back, *back_state = backward(outputs, mask=mask, training=training)
            outputs = tf.concat([ahead, back], axis=-1)
            last.append([tf.concat(parts, axis=-1) for parts in zip(ahead_state, back_state, strict=True)])
        chosen = [last[max(number, 0)] for number in range(self.num_layers - self.decoder_layers, self.num_layers)]
        states = [part for state in chosen for part in state]
        return outputs, tuple(bridge(state) for bridge, state in zip(self.bridges, states, strict=True))

    def compute_output_spec(
        self, embeddings: Any, mask: Any = None, training: bool | None = False
    ) -> tuple[Any, tuple[Any, ...]]:
        """Says which shapes and dtypes come out."""
        del mask, training
        outputs = keras.KerasTensor((*embeddings.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)
        shape = (embeddings.shape[0], self.decoder_units)
        return outputs, tuple(keras.KerasTensor(shape, dtype=self.compute_dtype) for _ in self.bridges)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Says that no mask goes on; Keras warns of masks that are given to layers without this."""

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        names = (
            *("hidden_dim", "num_layers", "decoder_units", "decoder_layers"),
            *("dropout", "recurrent_dropout", "seed"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
