"""Heads: functional builders on top of backbone features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tfft.config import FitConfig
from tfft.core.registry import Registry


@dataclasses.dataclass(frozen=True)
class HeadSpec:
    """What a head is built from.

    Attributes:
        config: The run's options.
        num_outputs: Number of classes, tags or targets.
        token_embedding: Gives the layer of the backbone whose matrix turns features into logits of tokens, or says why
            there is none; None where the backbone is not known.
        next_token_logits: From features of what is written to logits, where the backbone is an encoder-decoder.
    """

    config: FitConfig
    num_outputs: int
    token_embedding: Callable[[], Any] | None = None
    next_token_logits: Callable[[Any], Any] | None = None


@dataclasses.dataclass(frozen=True)
class HeadPart:
    """One of the heads of a model.

    Attributes:
        name: Name of its output; "" when it is the only head.
        head: Name in the head registry.
        config: The options it is built with.
        num_outputs: Number of classes, tags or targets.
    """

    name: str
    head: str
    config: FitConfig
    num_outputs: int


class Head(Protocol):
    """Builds the layers between the backbone and the outputs, in two parts.

    What `pool` gives is what head-only training caches, so all trainable layers belong to `build`.

    A head with an attribute `prefixes` reads as many texts, each apart: the backbone and `pool` are applied to each,
    and `build` gets what `pool` gave for them, stacked along axis 1. The names of the inputs of each text begin with
    its prefix.

    A head whose outputs are too large to be kept has two more methods: `judge(outputs, inputs, spec)` reduces them,
    without any weights, to what figures and predictions need, and `judged_inputs(spec)` gives the inputs that it takes
    for that alone. Training is on the outputs themselves.

    A head that writes sequences has more methods: `train` and `score` give row losses and figures of a built head and
    what it takes; `scored_inputs(spec)` gives the inputs that they take for that; `decoder(head_model)` returns its
    layer that goes one token on, unless the backbone does that. Its `pool` returns tensors by name.
    """

    def first_token_only(self, spec: HeadSpec) -> bool:
        """Tells whether `pool` reads the features of the first token alone, so that no others need be computed.

        Args:
            spec: Options and sizes.

        Returns:
            Whether features of shape `(batch, 1, hidden_dim)` are enough.
        """

    def inputs(self, spec: HeadSpec) -> dict[str, Any]:
        """Returns new symbolic inputs that the head takes besides those of the backbone, by name.

        Args:
            spec: Options and sizes.

        Returns:
            Name to KerasTensor; mostly none.
        """

    def pool(self, features: Any, inputs: Mapping[str, Any], spec: HeadSpec) -> Any:
        """Reduces token features without any trainable layer.

        Args:
            features: KerasTensor, float of shape `(batch, sequence_length, hidden_dim)`.
            inputs: The model's inputs; `padding_mask`, int32 of shape `(batch, sequence_length)`, is among them.
            spec: Options and sizes.

        Returns:
            A KerasTensor.
        """

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Turns pooled features into outputs; float32 whatever the compute dtype.

        Args:
            pooled: KerasTensor, what `pool` returned.
            spec: Options and sizes.

        Returns:
            A KerasTensor of logits.
        """


#: Prefixes of heads that compare two texts, and three.
PAIR_PREFIXES = ("", "second_")
TRIPLET_PREFIXES = (*PAIR_PREFIXES, "third_")


def prefixes_of(head: Head) -> tuple[str, ...]:
    """Returns the prefix of each text that a head reads apart; one empty prefix for heads that read one text.

    Args:
        head: The head.

    Returns:
        The prefixes.
    """
    found: tuple[str, ...] = getattr(head, "prefixes", ("",))
    return found


heads: Registry[Head] = Registry("head", "tfft.heads")
register_head = heads.register
