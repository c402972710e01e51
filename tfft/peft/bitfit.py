"""BitFit: only the biases of the base are trained."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfft.core.errors import ConfigError
from tfft.peft._bias import BiasSide
from tfft.peft._sites import Side, SiteAdapter
from tfft.peft._targets import biased
from tfft.peft.base import Base, PeftConfig, PeftMethod, register_peft


@dataclasses.dataclass(frozen=True, kw_only=True)
class BitFitConfig(PeftConfig):
    """BitFit (Ben Zaken et al. 2022, section 3): all biases are trained, shifts of normalisations included.

    The averages of batch normalisations stay as they are, and so do parameters that only act like biases (those of
    XLNet's attention, and of GPT-OSS's experts, which are one array for all experts). There are no options.
    """

    method: ClassVar[str] = "bitfit"
    paper: ClassVar[str] = (
        "Ben Zaken et al. 2022, BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked "
        "Language-models, arXiv:2106.10199"
    )


@register_peft("bitfit")
@object.__new__
class BitFit(PeftMethod[BitFitConfig]):
    """Bias-only fine-tuning."""

    config_class = BitFitConfig
    needs = "biases"

    def add(self, base: Base, config: BitFitConfig, *, name: str, seed: int) -> SiteAdapter:
        """Adds a change to each bias; nothing is random."""
        del seed
        sides: list[tuple[Any, Side]] = [(layer, BiasSide(layer, f"{name}_bitfit")) for layer in biased(base)]
        if not sides:
            raise ConfigError(
                f"bitfit trains biases, and {base.model.name!r} has none (Llama and its kin are built without). Use "
                "lora or ia3, or partial to train some layers."
            )
        return SiteAdapter(base, config, name, sides)
