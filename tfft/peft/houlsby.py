"""Houlsby adapters: two bottlenecks in each block, one after attention and one after the feed-forward layers."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfft.peft._bottleneck import Activation, Bottleneck, BottleneckConfig, sublayer_outputs
from tfft.peft._normalization import NormalizationSide, normalizations
from tfft.peft._sites import Side, SiteAdapter
from tfft.peft.base import Base, PeftMethod, register_peft


@dataclasses.dataclass(frozen=True, kw_only=True)
class HoulsbyConfig(BottleneckConfig):
    """Options of Houlsby adapters (Houlsby et al. 2019, section 2.1 and figure 2).

    Each sublayer's output `h`, after its projection back to the size of a token vector, becomes
    `h + f(h W_down + b_down) W_up + b_up`; then the base goes on with its dropout and the residual. A decoder with
    cross-attention has three sublayers a block. Near the identity at the start, not exactly it.

    Attributes:
        reduction: The bottleneck has the size of a token vector divided by this, rounded, at least 8.
        bottleneck_dim: Its size; None for what `reduction` says. The paper has 64 for BERT.
        activation: `f`; the paper's own code has "gelu".
        init_std: Standard deviation of both matrices at the start, truncated at twice that (section 3.6); biases begin
            at zero.
        train_layer_norms: Whether the weights of all layer normalisations are trained too, as in section 2.1: by
            changes that are added to them.
    """

    method: ClassVar[str] = "houlsby"
    paper: ClassVar[str] = "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, arXiv:1902.00751"

    activation: Activation = "gelu"
    train_layer_norms: bool = True


class HoulsbyAdapter(SiteAdapter):
    """Houlsby adapters on a base."""

    starts_as_identity = False
    mergeable = False


@register_peft("houlsby")
@object.__new__
class Houlsby(PeftMethod[HoulsbyConfig]):
    """Two bottlenecks a block."""

    config_class = HoulsbyConfig
    needs = "transformer blocks"

    def add(self, base: Base, config: HoulsbyConfig, *, name: str, seed: int) -> HoulsbyAdapter:
        """Adds a bottleneck to each sublayer, and changes to normalisations."""
        places = sublayer_outputs(base, "houlsby", "attention_output", "feedforward_output")
        sides: list[tuple[Any, Side]] = [
            (layer, Bottleneck(layer, width, config, f"{name}_houlsby", seed + 2 * number))
            for number, (layer, width) in enumerate(places)
        ]
        if config.train_layer_norms:
            sides += [(layer, NormalizationSide(layer, f"{name}_houlsby")) for layer in normalizations(base)]
        return HoulsbyAdapter(base, config, name, sides)
