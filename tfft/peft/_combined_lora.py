"""One LoRA in place of a weighted combination of several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfft.core.errors import ConfigError
from tfft.peft._sites import SiteAdapter
from tfft.peft.lora import LoRAConfig, LoRASide

_A, _B = "/lora_a", "/lora_b"


def combined_lora(parts: Mapping[str, tuple[SiteAdapter, float]]) -> tuple[LoRAConfig, dict[str, np.ndarray]]:
    """Computes one LoRA from several.

    Args:
        parts: Adapters by name, each with its weight.

    Returns:
        Its options, and the values of its variables where they are not zero: ranks concatenated.

    Raises:
        ConfigError: When there is none, or one is of another method.
    """
    if not parts:
        raise ConfigError("Name at least one adapter to combine.")
    for name, (adapter, _) in parts.items():
        if adapter.config.method != LoRAConfig.method:
            raise ConfigError(
                f"The adapter {name!r} is of the method {adapter.config.method!r}; only 'lora' has a combination that "
                "is an adapter of the same method. Weigh others against each other with use({name: weight})."
            )
    configs: list[Any] = [adapter.config for adapter, _ in parts.values()]
    rank = sum(config.rank for config in configs)
    state: dict[str, np.ndarray] = {}
    start = 0
    for (adapter, weight), config in zip(parts.values(), configs, strict=True):
        there = slice(start, start + config.rank)
        start += config.rank
        for name, value in adapter.state().items():
            if name.endswith(_A):
                state.setdefault(name, np.zeros((len(value), rank), value.dtype))[:, there] = value
            elif name.endswith(_B):
                whole = state.setdefault(name, np.zeros((rank, value.shape[1]), value.dtype))
                whole[there] = value * (weight * config.scaling)
            else:  # the change of a bias
                state[name] = state.get(name, 0.0) + weight * value
    paths = dict.fromkeys(
        layer.path for adapter, _ in parts.values() for layer, side in adapter.sides if isinstance(side, LoRASide)
    )
    biases = {config.bias for config in configs}
    combined = LoRAConfig(
        rank=rank,
        alpha=float(rank),
        target_layers=tuple(re.escape(path) for path in paths),
        bias="all" if "all" in biases else "targets" if "targets" in biases else "none",
    )
    return combined, state
