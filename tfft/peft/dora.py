"""DoRA: a frozen kernel's direction changed by a product of two small matrices, and its magnitude by a vector."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from keras import ops
from pydantic import Field

from tfft.peft._linear import Linear
from tfft.peft._matrix_side import MatrixSide
from tfft.peft._sites import Side, SiteAdapter
from tfft.peft._targets import find_linear
from tfft.peft.base import Base, PeftConfig, PeftMethod, register_peft


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoRAConfig(PeftConfig):
    """Options of DoRA (Liu et al. 2024, equation 5): `W' = m * (W + scaling * A B) / ||W + scaling * A B||`.

    The norm is that of each column of the kernel as a matrix, from all inputs to one output, and `m` has an element for
    each output: for each unit of `Dense`, each combination of output axes of `EinsumDense` (head and its dimension),
    each filter of a convolution, each dimension of an embedding. The gradient takes the norm as constant (section 4.3).

    Attributes:
        rank: Columns of `A` and rows of `B`.
        alpha: The scaling is `alpha / rank`.
        rank_stabilized: The scaling is `alpha / sqrt(rank)` instead (rsLoRA, Kalajdzievski 2023, theorem 3.2).
        dropout: Dropout rate of what goes into the change of the kernel, its new magnitude included, as in the paper's
            own code; not on embeddings and recurrent layers.
        target_layers: Layers to adapt: roles such as "query", names, regular expressions of paths, "attention",
            "all-linear".
    """

    method: ClassVar[str] = "dora"
    paper: ClassVar[str] = "Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation, arXiv:2402.09353"

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0.0)] = 16.0
    rank_stabilized: bool = False
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    target_layers: str | tuple[str, ...] = ("query", "value")

    @property
    def scaling(self) -> float:
        """The factor of the product."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)


class DoRASide(MatrixSide):
    """The two matrices and the magnitude at one layer."""

    def __init__(self, view: Linear, config: DoRAConfig, name: str, seed: int) -> None:
        """Keeps the sizes; `build` makes the variables."""
        super().__init__(view, dropout=config.dropout, name=name, seed=seed)
        self.config = config

    def build(self, _: Any) -> None:
        """Makes the variables; the magnitude is that of the kernel as it is (section 4.1)."""
        super().build(_)
        self.lora_a, self.lora_b = self.add_pair(self.config.rank)
        norm = _column_norms(self.view.base_matrix())
        self.magnitude = self.add_weight(
            shape=(self.view.outputs,),
            initializer=lambda shape, dtype=None: ops.cast(ops.reshape(norm, shape), dtype),
            dtype="float32",
            name="magnitude",
        )

    def call(self, outputs: Any, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """Adds what the changed kernel adds to the layer's outputs."""
        matrix = self.view.base_matrix()
        ratio = self._ratio(matrix + self._change())
        if options.get("reverse"):
            return self._reversed(outputs, inputs, matrix, ratio, options)
        values = self.dropped(inputs, training)
        if self.drops(training):  # the change of the magnitude sees the values that were not dropped
            kernel = ops.cast(self.view.kernel_of(matrix), outputs.dtype)
            unchanged = self.view.product(ops.cast(values, outputs.dtype), kernel, **options)
        else:
            unchanged = outputs if self.view.bias is None else outputs - self._bias(outputs.dtype)
        delta = self.delta(outputs, values, self.lora_a, self.lora_b, options)
        gain, scaled = (
            ops.cast(self.view.over_outputs(vector), outputs.dtype)
            for vector in (ratio - 1.0, ratio * self.config.scaling)
        )
        return outputs + gain * unchanged + scaled * delta

    def _reversed(self, outputs: Any, inputs: Any, matrix: Any, ratio: Any, options: dict[str, Any]) -> Any:
        """From token vectors to logits by a table in reverse, of which a token vector's dimensions are the columns."""
        if not self.view.changes_reverse(**options):  # type: ignore[attr-defined]
            return outputs
        dtype = outputs.dtype
        values = ops.cast(inputs, dtype)
        kernel = ops.cast(self.view.kernel_of(matrix), dtype)
        more = self.view.product(values * ops.cast(ratio - 1.0, dtype), kernel, **options)
        scaled = values * ops.cast(ratio * self.config.scaling, dtype)
        return outputs + more + self.delta(outputs, scaled, self.lora_a, self.lora_b, options)

    def _bias(self, dtype: Any) -> Any:
        return self.view.over_bias(ops.cast(self.view.bias, dtype))

    def _change(self) -> Any:
        return ops.matmul(self.lora_a, self.lora_b) * self.config.scaling

    def _ratio(self, changed: Any) -> Any:
        norm = ops.stop_gradient(_column_norms(changed))
        # A column of zeros has no direction: it stays zero until it gets one.
        return self.magnitude / ops.where(norm == 0.0, 1.0, norm)

    def changed_matrix(self, matrix: Any) -> Any:
        """Returns `m * (W + scaling * A B) / ||W + scaling * A B||`."""
        changed = matrix + self._change()
        return self._ratio(changed) * changed


def _column_norms(matrix: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(matrix), axis=0))


@register_peft("dora")
@object.__new__
class DoRA(PeftMethod[DoRAConfig]):
    """Weight-decomposed low-rank adaptation."""

    config_class = DoRAConfig
    needs = "layers with a kernel"

    def add(self, base: Base, config: DoRAConfig, *, name: str, seed: int) -> SiteAdapter:
        """Adds two matrices and a vector to each target."""
        views = find_linear(base, config.target_layers, recurrent=True)
        sides: list[tuple[Any, Side]] = [
            (view.layer, DoRASide(view, config, f"{name}_dora", seed + number)) for number, view in enumerate(views)
        ]
        return SiteAdapter(base, config, name, sides)
