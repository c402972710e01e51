"""What methods have in common that change a layer's kernel as a matrix: LoRA, DoRA, AdaLoRA."""

from __future__ import annotations

import abc
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.variables import AutocastScope  # has no public name

from tfft.core.errors import ConfigError
from tfft.peft._linear import Linear
from tfft.peft._linear_recurrent import RecurrentLinear
from tfft.peft._sites import Side
from tfft.peft._surgery import plain_policy


class MatrixSide(Side):
    """A changed kernel at one layer: beside the layer's outputs, in place of its weights, or merged into them.

    Variables are float32 whatever the layer's dtype. Products with values are computed in the dtype of the layer's
    outputs, everything else in float32.
    """

    def __init__(self, view: Linear, *, dropout: float, name: str, seed: int) -> None:
        """Keeps the layer's view; `build` makes the variables.

        Args:
            view: The layer.
            dropout: Dropout rate of its inputs; not on tables, whose inputs are numbers of rows, and not on recurrent
                layers, whose weights are changed.
            name: Name of this layer.
            seed: Seed of dropout and initialisation.
        """
        super().__init__(name=name, dtype=plain_policy(view.layer), autocast=False)
        self.view = view
        self.seed = seed
        self._rate = 0.0 if view.is_table or not view.changes_outputs else dropout
        self.changes_weights = not view.changes_outputs

    def build(self, _: Any) -> None:
        """Makes the state of dropout, here so that its path is below that of the target."""
        if self._rate:
            self.seed_generator = keras.random.SeedGenerator(self.seed, name="seed_generator")

    def add_pair(self, rank: int) -> tuple[keras.Variable, keras.Variable]:
        """Makes the two matrices of LoRA (Hu et al. 2021, section 4.1): one random, the other zero.

        Args:
            rank: Columns of the first, rows of the second.

        Returns:
            `A` of shape `(inputs, rank)`, uniform as in the paper's own code, and `B` of shape `(rank, outputs)`, zero.
            Of a table it is `B` that is random, normal.
        """
        bound = self.view.inputs**-0.5
        first: Any = keras.initializers.RandomUniform(-bound, bound, seed=self.seed)
        second: Any = "zeros"
        if self.view.is_table:
            first, second = "zeros", keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        return (
            self.add_weight(shape=(self.view.inputs, rank), initializer=first, dtype="float32", name="lora_a"),
            self.add_weight(shape=(rank, self.view.outputs), initializer=second, dtype="float32", name="lora_b"),
        )

    @abc.abstractmethod
    def changed_matrix(self, matrix: Any) -> Any:
        """Returns a matrix with the change: what the layer's becomes when this is merged.

        Args:
            matrix: A float32 tensor of shape `(inputs, outputs)`.

        Returns:
            A tensor of that shape and dtype.
        """

    def merged_weights(self) -> list[tuple[keras.Variable, Any]]:
        """Returns the changed kernel."""
        return self.view.with_matrix(self.changed_matrix(self.view.base_matrix()))

    def standing_in(self, layer: Any) -> Any:
        """Makes a recurrent layer with the changed kernels."""
        if not isinstance(self.view, RecurrentLinear):
            raise ConfigError(f"{self.view.layer.name!r} is no recurrent layer; only those are stood in for.")
        with AutocastScope(None):
            matrix = self.changed_matrix(self.view.matrix_of(layer))
        return self.view.standing_in(layer, matrix)

    def drops(self, training: bool | None) -> bool:
        """Tells whether dropout acts in this phase."""
        return bool(training) and self._rate > 0.0

    def dropped(self, inputs: Any, training: bool | None) -> Any:
        """Returns the layer's inputs after dropout."""
        return keras.random.dropout(inputs, self._rate, seed=self.seed_generator) if self.drops(training) else inputs

    def delta(self, outputs: Any, inputs: Any, down: Any, up: Any, options: dict[str, Any]) -> Any:
        """Returns what adding `down @ up` to the kernel adds to the outputs.

        Args:
            outputs: The layer's outputs, for their dtype.
            inputs: Its inputs.
            down: Float32 matrix of shape `(inputs, rank)`.
            up: Float32 matrix of shape `(rank, outputs)`.
            options: What else the layer was called with.

        Returns:
            A tensor like the outputs.
        """
        dtype = outputs.dtype
        values = ops.cast(inputs, dtype) if keras.backend.is_float_dtype(inputs.dtype) else inputs
        return self.view.delta(values, ops.cast(down, dtype), ops.cast(up, dtype), **options)
