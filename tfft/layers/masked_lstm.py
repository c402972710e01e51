"""An LSTM whose padding changes nothing, wherever it stands."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.layer_seeds import layer_seeds
from tfft.layers.lstm_recurrence import LstmState, lstm_recurrence, lstm_step


@keras.saving.register_keras_serializable(package="tfft")
class MaskedLSTM(keras.layers.Layer):
    """An LSTM over `(batch, sequence_length, features)`, forwards or backwards; masked steps carry the state on.

    The same numbers as `keras.layers.LSTM` with the same weights, in less time on a CPU: inputs are projected in one
    matrix product for all steps, and so are gradients of the kernels. Dropout is variational (Gal and Ghahramani 2016,
    arXiv:1512.05287): one mask a sequence, the same in each step and for each gate.
    """

    def __init__(
        self,
        units: int,
        *,
        go_backwards: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        """Keeps the options.

        Args:
            units: Size of the hidden state.
            go_backwards: Whether the last step comes first. Outputs stay at the place of their step.
            dropout: Share of input features that are dropped, in training.
            recurrent_dropout: Share of the hidden state that is dropped on its way into the gates, in training.
            seed: Decides the weights and what is dropped.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When a value is out of range.
        """
        super().__init__(**options)
        if units < 1:
            raise ConfigError(f"units is {units}; an LSTM needs at least 1.")
        check_rate("dropout", dropout)
        check_rate("recurrent_dropout", recurrent_dropout)
        self.units, self.go_backwards, self.seed = units, go_backwards, seed
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        *self._weight_seeds, dropout_seed = layer_seeds(seed, 3)
        self.seed_generator = keras.random.SeedGenerator(dropout_seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights: Glorot uniform and orthogonal ones, and a forget bias of 1 (Jozefowicz et al. 2015)."""
        units = self.units
        uniform, orthogonal = self._weight_seeds
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 4 * units), initializer=keras.initializers.GlorotUniform(uniform), name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(units, 4 * units),
            initializer=keras.initializers.Orthogonal(seed=orthogonal),
            name="recurrent_kernel",
        )
        self.bias = self.add_weight(shape=(4 * units,), initializer=self._first_bias, name="bias")
        self.built = True

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        initial_state: Any = None,
        training: bool | None = False,
    ) -> tuple[Any, Any, Any]:
        """Runs over all steps.

        Args:
            inputs: Float `(batch, sequence_length, features)`.
            mask: Steps that count, bool or int `(batch, sequence_length)`. None: all of them.
            initial_state: Hidden and cell state before the first step, `(batch, units)` each. None: zeros.
            training: Whether to drop.

        Returns:
            Outputs, `(batch, sequence_length, units)`, where a masked step has that of the step before it; and the
            last hidden and cell state, `(batch, units)` each.
        """
        inputs = tf.cast(inputs, self.compute_dtype)
        batch = tf.shape(inputs)[0]
        dropped = self.input_keep(batch) if training else None
        if dropped is not None:
            inputs *= dropped[:, tf.newaxis]
        if initial_state is None:
            zeros = tf.zeros(tf.stack([batch, self.units]), self.compute_dtype)
            zeros = tf.ensure_shape(zeros, (inputs.shape[0], self.units))
            initial = LstmState(zeros, zeros)
        else:
            initial = LstmState(*(tf.cast(part, self.compute_dtype) for part in initial_state))
        outputs, last = lstm_recurrence(
            self.project(tf.transpose(inputs, [1, 0, 2])),
            tf.cast(self.recurrent_kernel, self.compute_dtype),
            initial,
            mask=None if mask is None else tf.transpose(tf.cast(mask, tf.bool)),
            keep=self.recurrent_keep(batch) if training else None,
            go_backwards=self.go_backwards,
        )
        return tf.transpose(outputs, [1, 0, 2]), last.hidden, last.cell

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the part of the gates that comes from the inputs, `(..., 4 * units)` of `(..., features)`.

        Inputs may be the first features only: what the others give is then to be added.
        """
        size = int(inputs.shape[-1])
        kernel, bias = (tf.cast(weight, self.compute_dtype) for weight in (self.kernel, self.bias))
        if size < kernel.shape[0]:
            kernel = kernel[:size]
        gates = tf.nn.bias_add(tf.matmul(tf.reshape(inputs, [-1, size]), kernel), bias)
        shape = tf.concat([tf.shape(inputs)[:-1], [4 * self.units]], axis=0)
        return tf.ensure_shape(tf.reshape(gates, shape), (*inputs.shape[:-1], 4 * self.units))

    def step(self, projected: tf.Tensor, state: LstmState, *, keep: tf.Tensor | None = None) -> LstmState:
        """Computes one step with the weights of all others.

        Args:
            projected: What `project` gives for one step, `(rows, 4 * units)`.
            state: State before the step.
            keep: What `recurrent_keep` gave, once for all steps of a sequence.

        Returns:
            The state after the step.
        """
        entering = state.hidden if keep is None else state.hidden * keep
        kernel = tf.cast(self.recurrent_kernel, self.compute_dtype)
        return lstm_step(projected + tf.matmul(entering, kernel), state.cell)

    def input_keep(self, batch: tf.Tensor) -> tf.Tensor | None:
        """Draws the factors of the inputs for training, `(batch, features)`; None without dropout."""
        return self._keep(batch, int(self.kernel.shape[0]), self.dropout) if self.dropout else None

    def recurrent_keep(self, batch: tf.Tensor) -> tf.Tensor | None:
        """Draws the factors of the hidden state for training, `(batch, units)`; None without recurrent dropout."""
        return self._keep(batch, self.units, self.recurrent_dropout) if self.recurrent_dropout else None

    def _keep(self, batch: tf.Tensor, size: int, rate: float) -> tf.Tensor:
        ones = tf.ones(tf.stack([batch, size]), self.compute_dtype)
        return keras.random.dropout(ones, rate, seed=self.seed_generator)

    def _first_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        place = tf.range(shape[0]) // self.units
        return tf.cast(place == 1, dtype or "float32")

    def compute_output_spec(
        self,
        inputs: Any,
        mask: Any = None,
        initial_state: Any = None,
        training: bool | None = False,
    ) -> tuple[Any, Any, Any]:
        """Says which shapes and dtypes come out."""
        del mask, initial_state, training
        state = (inputs.shape[0], self.units)
        outputs = keras.KerasTensor((*inputs.shape[:-1], self.units), dtype=self.compute_dtype)
        return outputs, *(keras.KerasTensor(state, dtype=self.compute_dtype) for _ in LstmState._fields)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Says that no mask goes on; Keras warns of masks that are given to layers without this."""

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        names = ("units", "go_backwards", "dropout", "recurrent_dropout", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def check_rate(name: str, rate: float) -> None:
    """Checks a rate of dropout.

    Args:
        name: Which option it is.
        rate: Its value.

    Raises:
        ConfigError: When it is not a share below 1.
    """
    if not 0 <= rate < 1:
        raise ConfigError(f"{name} is {rate}; it must be from 0 to below 1.")
