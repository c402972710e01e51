"""The stack of blocks of a base: which they are, and which block each layer belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import keras

from tfft.peft.base import Base

#: Not encoders, masks and the like that have the word in their names.
_ATTENTION = re.compile(r"Attention(?!\w*(Encoder|Decoder|Block|Mask))")


def is_attention(layer: Any) -> bool:
    """Tells whether a layer is one of attention, with its projections inside."""
    return _ATTENTION.search(type(layer).__name__) is not None


def stack(base: Base) -> list[Any]:
    """Returns the blocks of a base in order: the repeated ones, and others with attention, such as those of an encoder.

    A base lists blocks of one kind; the encoder of an encoder-decoder may be made of another kind. A layer that is
    itself made of several blocks of one kind with attention stands for those.

    Args:
        base: The base.

    Returns:
        The layers; none is inside another.
    """
    listed = {id(block) for block in base.blocks}
    found: list[Any] = []

    def visit(layers: Iterable[Any]) -> None:
        for layer in layers:
            attending = _attending(_children(layer))
            if isinstance(layer, keras.Model):
                visit(layer.layers)
            elif len(attending) > 1 and len({type(part) for part in attending}) == 1:
                visit(attending)
            elif id(layer) in listed or _attending([layer]):
                found.append(layer)
            elif any(id(part) in listed for part in _inside(layer)):
                visit(_children(layer))

    visit(base.model.layers)
    return found


def _attending(layers: Iterable[Any]) -> list[Any]:
    """Returns the layers that have attention inside, and are not attention themselves."""
    return [layer for layer in layers if not is_attention(layer) and any(map(is_attention, _inside(layer)))]


def block_numbers(base: Base) -> dict[int, int]:
    """Returns which block each layer of a base belongs to.

    Args:
        base: The base.

    Returns:
        From ids of layers to numbers: 0 for what comes before the blocks, such as embeddings; then blocks in the order
        of `stack`, from 1, with what comes after a block and before the next one. A layer that is used in several
        places belongs where it is used first.
    """
    places = {id(block): number for number, block in enumerate(stack(base), 1)}
    numbers: dict[int, int] = {}

    def visit(layer: Any, reached: int) -> int:
        inner = _inside(layer)
        if id(layer) in places:
            reached = max(reached, places[id(layer)])
        elif any(id(part) in places for part in inner):
            numbers.setdefault(id(layer), reached)
            for child in _children(layer):
                reached = visit(child, reached)
            return reached
        for part in (layer, *inner):
            numbers.setdefault(id(part), reached)
        return reached

    by_depth = getattr(base.model, "_nodes_by_depth", None)
    if by_depth is None:  # no graph of layers is known: they follow each other
        visit(base.model, 0)
        return numbers
    after: dict[int, int] = {}
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            reached = max((after.get(id(parent), 0) for parent in node.parent_nodes), default=0)
            is_layer = isinstance(node.operation, keras.layers.Layer)
            after[id(node)] = visit(node.operation, reached) if is_layer else reached
    numbers.setdefault(id(base.model), 0)
    return numbers


def _inside(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(include_self=False))


def _children(layer: Any) -> list[Any]:
    return list(layer.layers if isinstance(layer, keras.Model) else layer._layers)
