"""Full fine-tuning: all weights of the base are trained."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfft.core.errors import ConfigError
from tfft.peft._own_weights import OwnWeightsAdapter
from tfft.peft.base import Base, PeftConfig, PeftMethod, register_peft


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullConfig(PeftConfig):
    """Full fine-tuning, what the other methods are measured against. There are no options.

    Batch normalisations compute with the batch, and keep averages.
    """

    method: ClassVar[str] = "full"
    paper: ClassVar[str] = "Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification"


@register_peft("full")
@object.__new__
class Full(PeftMethod[FullConfig]):
    """All weights."""

    config_class = FullConfig
    needs = "weights that are not quantized"

    def add(self, base: Base, config: FullConfig, *, name: str, seed: int) -> OwnWeightsAdapter:
        """Lets all weights be trained; nothing is random."""
        del name, seed
        adapter = OwnWeightsAdapter(base, config, lambda layer, path: True)
        if not adapter.variables:
            raise ConfigError(
                f"full trains the base's weights, and {base.model.name!r} has none. Train the head alone."
            )
        return adapter
