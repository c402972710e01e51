"""What the heads that compare two texts share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfft.heads.base import PAIR_PREFIXES, HeadSpec
from tfft.layers.pooling import POOLING


class ApartHead:
    """One vector a text, of two texts that the backbone reads apart."""

    prefixes = PAIR_PREFIXES

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells whether the first token is what is pooled."""
        return spec.config.pooling == "first"

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns none."""
        return {}

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Pools the token features of one text to `(batch, hidden_dim)`."""
        return POOLING[spec.config.pooling](name="pooling")([features, inputs["padding_mask"]])
