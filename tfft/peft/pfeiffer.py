"""Pfeiffer adapters: one bottleneck in each block, after its feed-forward layers."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tfft.peft._blocks import stack
from tfft.peft._bottleneck import Activation, Bottleneck, BottleneckConfig, sublayer_outputs
from tfft.peft._sites import Side, SiteAdapter
from tfft.peft.base import Base, PeftMethod, register_peft

#: Blocks that normalise the sum of the feed-forward layers and the residual: attribute of that normalisation.
_NORMALIZED_LAST = {
    "TransformerEncoder": "_feedforward_layer_norm",
    "TransformerDecoder": "_feedforward_layer_norm",
    "DisentangledAttentionEncoder": "_feedforward_layer_norm",
    "FNetEncoder": "_output_layer_norm",
    "RoformerV2Encoder": "feedforward_norm",
    "XLNetEncoder": "layer_norm_ff",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PfeifferConfig(BottleneckConfig):
    """Options of Pfeiffer adapters (Pfeiffer et al. 2020, MAD-X, equation 1; AdapterHub's `seq_bn`).

    In a block that ends in a layer normalisation `N` (BERT, RoBERTa, DistilBERT, DeBERTa, BART), with the feed-forward
    layers' output `r` (after dropout) and the residual `x`, the block's output `N(x + r)` becomes
    `N(x + r + A(N(x + r)))`: the bottleneck `A(h) = f(h W_down + b_down) W_up + b_up` reads the normalised sum, and
    what it gives is added before the residual and the normalisation. In a block that normalises first (GPT-2, Llama,
    T5, ViT), or whose last normalisation is not known, there is no such sum: the output of the last feed-forward layer
    becomes `r + A(r)`, before dropout and residual. Near the identity at the start, not exactly it.

    Attributes:
        reduction: The bottleneck has the size of a token vector divided by this, rounded, at least 8.
        bottleneck_dim: Its size; None for what `reduction` says.
        activation: `f`.
        init_std: Standard deviation of both matrices at the start, truncated at twice that; biases begin at zero.
    """

    method: ClassVar[str] = "pfeiffer"
    paper: ClassVar[str] = (
        "Pfeiffer et al. 2020, MAD-X: An Adapter-Based Framework for Multi-Task Cross-Lingual Transfer, "
        "arXiv:2005.00052"
    )

    activation: Activation = "relu"
    init_std: Annotated[float, Field(ge=0.0)] = 0.02


class NormalizedBottleneck(Bottleneck):
    """A bottleneck around the layer normalisation that ends a block."""

    def __init__(self, layer: Any, hidden_dim: int, config: PfeifferConfig, name: str, seed: int) -> None:
        """Keeps the normalisation as it was before anything was added to it.

        Args:
            layer: The normalisation.
            hidden_dim: Size of a token vector.
            config: The options.
            name: Name of this layer.
            seed: Decides the initial values.
        """
        super().__init__(layer, hidden_dim, config, name, seed)
        #: Not the layer itself: Keras would count it among this layer's own.
        self.normalize = functools.partial(type(layer).call, layer)

    def call(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Normalises the sum once more, with what the bottleneck makes of it the first time."""
        return self.normalize(args[0] + self.bottleneck(outputs), *args[1:], **kwargs)


class PfeifferAdapter(SiteAdapter):
    """Pfeiffer adapters on a base."""

    starts_as_identity = False
    mergeable = False


@register_peft("pfeiffer")
@object.__new__
class Pfeiffer(PeftMethod[PfeifferConfig]):
    """One bottleneck a block."""

    config_class = PfeifferConfig
    needs = "transformer blocks"

    def add(self, base: Base, config: PfeifferConfig, *, name: str, seed: int) -> PfeifferAdapter:
        """Adds a bottleneck to each block."""
        norms = {id(layer): norm for block in stack(base) if (norm := _last_norm(block)) for layer in _inside(block)}
        sides: list[tuple[Any, Side]] = []
        for number, (layer, width) in enumerate(sublayer_outputs(base, "pfeiffer", "feedforward_output")):
            norm = norms.get(id(layer))
            kind: type[Bottleneck] = Bottleneck if norm is None else NormalizedBottleneck
            place = layer if norm is None else norm
            sides.append((place, kind(place, width, config, f"{name}_pfeiffer", seed + 2 * number)))
        return PfeifferAdapter(base, config, name, sides)


def _inside(block: Any) -> list[Any]:
    return list(block._flatten_layers())


def _last_norm(block: Any) -> Any:
    attribute = _NORMALIZED_LAST.get(type(block).__name__)
    return None if attribute is None or getattr(block, "normalize_first", False) else getattr(block, attribute)
