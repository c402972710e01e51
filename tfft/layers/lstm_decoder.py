"""A stacked LSTM that decodes with attention to an encoder's outputs: all steps at once in training, or one by one."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from tfft.core.errors import ConfigError, unknown_name
from tfft.layers.attention import AttentionMemory, BahdanauAttention, LuongAttention
from tfft.layers.layer_seeds import layer_seeds
from tfft.layers.lstm_recurrence import LstmState
from tfft.layers.masked_lstm import MaskedLSTM, check_rate

Score = Literal["general", "dot", "additive"]

SCORES = ("general", "dot", "additive")
#: Tensors of the state of a layer.
_PARTS = len(LstmState._fields)


@keras.saving.register_keras_serializable(package="tfft")
class LstmDecoder(keras.layers.Layer):
    """Embedded target tokens to attentional vectors, which predict tokens (Luong et al. 2015, arXiv:1508.04025).

    The attentional vector is `tanh(W [context; hidden])`, eq. 5, where the context is what the top layer's hidden state
    attends to. With input feeding, section 3.3, it also enters the first layer together with the next token, and steps
    have to be run one by one; without it, attention of all steps is one batched product.

    The state of decoding is a tuple of `(rows, units)`: hidden and cell state of each layer, the lowest first, and with
    input feeding the last attentional vector.
    """

    def __init__(
        self,
        units: int,
        *,
        num_layers: int = 1,
        score: Score = "general",
        input_feeding: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        """Keeps the options.

        Args:
            units: Size of hidden states and attentional vectors.
            num_layers: Number of LSTM layers.
            score: "general" or "dot" for multiplicative attention, "additive" for that of Bahdanau et al. 2015.
            input_feeding: Whether the attentional vector enters the next step.
            dropout: Share of the inputs of each layer, and of the attentional vectors, that is dropped in training, the
                same in each step.
            recurrent_dropout: Share of hidden states that is dropped on the way into the gates in training.
            seed: Decides the weights and what is dropped.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When a value is out of range.
        """
        super().__init__(**options)
        if num_layers < 1:
            raise ConfigError(f"num_layers is {num_layers}; a decoder needs at least 1.")
        if score not in SCORES:
            raise ConfigError(unknown_name("score", score, SCORES))
        check_rate("dropout", dropout)
        self.units, self.num_layers, self.score, self.input_feeding = units, num_layers, score, input_feeding
        self.dropout, self.recurrent_dropout, self.seed = dropout, recurrent_dropout, seed
        *seeds, attention_seed, self._combining_seed, dropout_seed = layer_seeds(seed, num_layers + 3)
        self.lstms = [
            MaskedLSTM(
                units,
                dropout=dropout,
                recurrent_dropout=recurrent_dropout,
                seed=own,
                dtype=self.dtype_policy,
                name=f"lstm_{number}",
            )
            for number, own in enumerate(seeds)
        ]
        shared: dict[str, Any] = {"seed": attention_seed, "dtype": self.dtype_policy, "name": "attention"}
        self.attention: LuongAttention | BahdanauAttention = (
            BahdanauAttention(units, **shared) if score == "additive" else LuongAttention(score, **shared)
        )
        self.seed_generator = keras.random.SeedGenerator(dropout_seed)

    def build(
        self,
        token_embeddings_shape: tuple[int | None, ...],
        initial_state_shape: Any = None,
        values_shape: tuple[int | None, ...] = (),
    ) -> None:
        """Creates the weights."""
        del initial_state_shape
        size = int(token_embeddings_shape[-1] or 0) + (self.units if self.input_feeding else 0)
        for lstm in self.lstms:
            lstm.build((None, None, size))
            size = self.units
        self.attention.build((None, None, self.units), values_shape)
        self.combining_kernel = self.add_weight(
            shape=(int(values_shape[-1] or 0) + self.units, self.units),
            initializer=keras.initializers.GlorotUniform(self._combining_seed),
            name="combining_kernel",
        )
        self.built = True

    def call(
        self,
        token_embeddings: Any,
        initial_state: Any,
        values: Any,
        mask: Any = None,
        training: bool | None = False,
    ) -> Any:
        """Runs over all target tokens (teacher forcing).

        Args:
            token_embeddings: Of the token before each target, float `(batch, target_length, embedding_dim)`. Padding
                comes last, and has outputs like other places.
            initial_state: Hidden and cell state of each layer, `2 * num_layers` tensors `(batch, units)`.
            values: Outputs of the encoder, float `(batch, source_length, value_dim)`.
            mask: Source tokens that count, bool or int `(batch, source_length)`. None: all of them.
            training: Whether to drop.

        Returns:
            Attentional vectors, `(batch, target_length, units)`.
        """
        memory = self.attention.memory(values, mask)
        hidden = tf.cast(token_embeddings, self.compute_dtype)
        if self.input_feeding:
            attentional = self._fed(hidden, self.first_state(initial_state), memory, bool(training))
        else:
            for number, lstm in enumerate(self.lstms):
                own = initial_state[_PARTS * number : _PARTS * (number + 1)]
                hidden, _, _ = lstm(hidden, initial_state=tuple(own), training=training)
            attentional = self._combine(self.attention.attend(hidden, memory)[0], hidden)
        if training and self.dropout:
            ones = tf.ones(tf.stack([tf.shape(attentional)[0], 1, self.units]), self.compute_dtype)
            attentional *= keras.random.dropout(ones, self.dropout, seed=self.seed_generator)
        return attentional

    def memory(self, values: Any, mask: Any = None) -> AttentionMemory:
        """Prepares the encoder's outputs for `step`, once for each sequence.

        Args:
            values: Float `(batch, source_length, value_dim)`.
            mask: Bool or int `(batch, source_length)`.

        Returns:
            What `step` attends to.
        """
        return self.attention.memory(values, mask)

    def first_state(self, initial_state: Any) -> tuple[tf.Tensor, ...]:
        """Makes the state before the first token of the initial states of all layers.

        Args:
            initial_state: Hidden and cell state of each layer, `2 * num_layers` tensors `(rows, units)`.

        Returns:
            The same, and with input feeding zeros for an attentional vector.
        """
        state = tuple(tf.cast(part, self.compute_dtype) for part in initial_state)
        return (*state, tf.zeros_like(state[0])) if self.input_feeding else state

    def step(
        self, token_embeddings: tf.Tensor, state: tuple[tf.Tensor, ...], memory: AttentionMemory
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Decodes one token, with the numbers of `call`.

        Args:
            token_embeddings: Of the token before, float `(rows, embedding_dim)`.
            state: What `first_state` or the step before gave.
            memory: What `memory` gave, of each sequence once: its rows stand together, and each has as many.

        Returns:
            Attentional vectors, `(rows, units)`, and the state after the token.
        """
        inputs = tf.cast(token_embeddings, self.compute_dtype)
        if self.input_feeding:
            inputs = tf.concat([inputs, state[-1]], axis=-1)
        return self._advance(self.lstms[0].project(inputs), state, memory, [(None, None)] * self.num_layers)

    def _advance(
        self,
        gates: tf.Tensor,
        state: tuple[tf.Tensor, ...],
        memory: AttentionMemory,
        keeps: list[tuple[tf.Tensor | None, tf.Tensor | None]],
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Goes one token on, from the projected inputs of the first layer."""
        after: list[tf.Tensor] = []
        for number, lstm in enumerate(self.lstms):
            of_inputs, recurrent = keeps[number]
            if number:
                inputs = after[-_PARTS] if of_inputs is None else after[-_PARTS] * of_inputs
                gates = lstm.project(inputs)
            after += lstm.step(gates, LstmState(*state[_PARTS * number : _PARTS * (number + 1)]), keep=recurrent)
        hidden = after[-_PARTS]
        attentional = self._combine(self.attention.attend(hidden, memory)[0], hidden)
        return attentional, (*after, attentional) if self.input_feeding else tuple(after)

    def _fed(
        self, embeddings: tf.Tensor, state: tuple[tf.Tensor, ...], memory: AttentionMemory, training: bool
    ) -> tf.Tensor:
        """Runs over all tokens one by one; only what the embeddings give the first layer is projected before."""
        batch, length = tf.unstack(tf.shape(embeddings)[:2])
        keeps = [
            (lstm.input_keep(batch), lstm.recurrent_keep(batch)) if training else (None, None) for lstm in self.lstms
        ]
        size, first = embeddings.shape[-1], keeps[0][0]
        # The first layer takes embedding and attentional vector, one after the other.
        fed_kernel = tf.cast(self.lstms[0].kernel, self.compute_dtype)[size:]
        if first is not None:
            embeddings *= first[:, tf.newaxis, :size]
        projected = self.lstms[0].project(tf.transpose(embeddings, [1, 0, 2]))

        def body(place: tf.Tensor, state: Any, written: tf.TensorArray) -> tuple[tf.Tensor, Any, tf.TensorArray]:
            fed = state[-1] if first is None else state[-1] * first[:, size:]
            _, after = self._advance(projected[place] + tf.matmul(fed, fed_kernel), state, memory, keeps)
            after = tuple(tf.ensure_shape(new, old.shape) for new, old in zip(after, state, strict=True))
            return place + 1, after, written.write(place, after[-1])

        empty = tf.TensorArray(self.compute_dtype, length, element_shape=state[-1].shape)
        *_, written = tf.while_loop(
            lambda place, *_: place < length, body, (0, state, empty), maximum_iterations=length
        )
        return tf.transpose(written.stack(), [1, 0, 2])

    def _combine(self, context: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.combining_kernel, self.compute_dtype)
        return tf.tanh(tf.tensordot(tf.concat([context, hidden], axis=-1), kernel, 1))

    def compute_output_spec(
        self,
        token_embeddings: Any,
        initial_state: Any,
        values: Any,
        mask: Any = None,
        training: bool | None = False,
    ) -> Any:
        """Says which shape and dtype come out."""
        del initial_state, values, mask, training
        return keras.KerasTensor((*token_embeddings.shape[:-1], self.units), dtype=self.compute_dtype)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Says that no mask goes on; Keras warns of masks that are given to layers without this."""

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        names = ("units", "num_layers", "score", "input_feeding", "dropout", "recurrent_dropout", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
