"""LoRA: a product of two small matrices beside a frozen kernel."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import keras
from keras import ops
from pydantic import Field

from tfft.peft._bias import BiasSide
from tfft.peft._linear import Linear
from tfft.peft._matrix_side import MatrixSide
from tfft.peft._sites import Side, SiteAdapter
from tfft.peft._targets import biased, find_linear
from tfft.peft.base import Base, PeftConfig, PeftMethod, register_peft


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRAConfig(PeftConfig):
    """Options of LoRA (Hu et al. 2021, equation 3): `y = x W + scaling * dropout(x) A B`.

    Attributes:
        rank: Columns of `A` and rows of `B`.
        alpha: The scaling is `alpha / rank`.
        rank_stabilized: The scaling is `alpha / sqrt(rank)` instead (rsLoRA, Kalajdzievski 2023, theorem 3.2).
        dropout: Dropout rate of what goes into `A`; not on embeddings and recurrent layers.
        target_layers: Layers to adapt: roles such as "query", names, regular expressions of paths, "attention",
            "all-linear".
        bias: Biases that are trained too: those of no layer, of the adapted layers, or of all layers of the base.
        learning_rate_ratio: Learning rate of `B` as a multiple of that of `A` (LoRA+, Hayou et al. 2024, section 4);
            not on embeddings, where it is `A` that begins at zero.
    """

    method: ClassVar[str] = "lora"
    paper: ClassVar[str] = "Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685"

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0.0)] = 16.0
    rank_stabilized: bool = False
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    target_layers: str | tuple[str, ...] = ("query", "value")
    bias: Literal["none", "targets", "all"] = "none"
    learning_rate_ratio: Annotated[float, Field(gt=0.0)] = 1.0

    @property
    def scaling(self) -> float:
        """The factor of the product."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)


class LoRASide(MatrixSide):
    """The two matrices at one layer."""

    def __init__(self, view: Linear, config: LoRAConfig, name: str, seed: int) -> None:
        """Keeps the sizes; `build` makes the variables."""
        super().__init__(view, dropout=config.dropout, name=name, seed=seed)
        self.config = config

    def build(self, _: Any) -> None:
        """Makes `A` and `B`: one of them zero, the other as in the paper's own code."""
        super().build(_)
        self.lora_a, self.lora_b = self.add_pair(self.config.rank)

    def call(self, outputs: Any, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """Adds the scaled product to the layer's outputs."""
        delta = self.delta(outputs, self.dropped(inputs, training), self.lora_a, self.lora_b, options)
        return outputs + delta * ops.cast(self.config.scaling, outputs.dtype)

    def changed_matrix(self, matrix: Any) -> Any:
        """Returns `W + scaling * A B`."""
        return matrix + ops.matmul(self.lora_a, self.lora_b) * self.config.scaling


class LoRAAdapter(SiteAdapter):
    """LoRA on a base."""

    config: LoRAConfig

    def rate_factor(self, variable: keras.Variable) -> float:
        """Returns the learning-rate ratio for `B`."""
        factors = (side for _, side in self.sides if isinstance(side, LoRASide) and not side.view.is_table)
        return self.config.learning_rate_ratio if any(variable is side.lora_b for side in factors) else 1.0


@register_peft("lora")
@object.__new__
class LoRA(PeftMethod[LoRAConfig]):
    """Low-rank adaptation."""

    config_class = LoRAConfig
    needs = "layers with a kernel"

    def add(self, base: Base, config: LoRAConfig, *, name: str, seed: int) -> LoRAAdapter:
        """Adds two matrices to each target."""
        views = find_linear(base, config.target_layers, recurrent=True)
        sides: list[tuple[Any, Side]] = [
            (view.layer, LoRASide(view, config, f"{name}_lora", seed + number)) for number, view in enumerate(views)
        ]
        if config.bias != "none":
            adapted = {id(view.layer) for view in views}
            layers = [layer for layer in biased(base) if config.bias == "all" or id(layer) in adapted]
            sides += [(layer, BiasSide(layer, f"{name}_bias")) for layer in layers]
        return LoRAAdapter(base, config, name, sides)
