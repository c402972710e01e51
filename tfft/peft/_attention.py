"""Attention layers that attend to given keys and values besides their own: one view for each way of computing it."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from inspect import signature
from typing import Any

import keras
from keras import ops

from tfft.core.errors import ConfigError
from tfft.peft._around import Replacement, Replacements

#: From what the layer has of keys or values, of shape `(batch, length, ...)`, to the keys and the values before them,
#: `(batch, tokens, heads, size)` of the same dtype.
Before = Callable[[Any], tuple[Any, Any]]

#: Layers of KerasHub that compute `_compute_attention(query, key, value, attention_mask, ...)` as Keras'
#: `MultiHeadAttention` does: keys and values `(batch, length, heads, size)` with their positions in them.
_DOT_PRODUCT = {
    "LlamaAttention",
    "CachedMistralAttention",
    "CachedMixtralAttention",
    "Phi3Attention",
    "GPTNeoXAttention",
    "QwenAttention",
    "Qwen3Attention",
    "QwenMoeAttention",
    "Qwen3MoeAttention",
    "CachedGemmaAttention",
    "CachedGemma3Attention",
}
_PROJECTIONS = ("key_dense", "value_dense")  # or with an underscore before it


class Attention(abc.ABC):
    """An attention layer, which can be given keys and values before its own.

    All queries attend to them: causal, padding and window masks go on counting from the layer's own first key.

    Attributes:
        layer: The layer.
        heads: Heads of keys and values; there may be several times as many of queries.
        key_size: Size of a head's key.
        value_size: Size of a head's value.
    """

    layer: Any
    heads: int
    key_size: int
    value_size: int

    def __init__(self, layer: Any) -> None:
        """Reads the sizes; a quantized kernel may be packed, so they are not those of its array."""
        self.layer = layer
        key, value = self._projections()
        self.heads, self.key_size = (int(size) for size in key.partial_output_shape[-2:])
        self.value_size = int(value.partial_output_shape[-1])

    def _projections(self) -> tuple[Any, Any]:
        found = [getattr(self.layer, f"_{name}", None) or getattr(self.layer, name) for name in _PROJECTIONS]
        return found[0], found[1]

    @classmethod
    @abc.abstractmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether a layer is of this kind."""

    @abc.abstractmethod
    def around(self, before: Before, tokens: int) -> Callable[..., Any]:
        """Returns what has to stand around the layer's call.

        Args:
            before: Gives the keys and values.
            tokens: How many there are.

        Returns:
            As `tfft.peft._around.surround` takes it.
        """


class DotProductAttention(Attention):
    """Keras' `MultiHeadAttention` and the layers like it: what is between the projections gets longer keys and values.

    Rotary embeddings are applied before that, so that positions stay as they are.
    """

    def __init__(self, layer: Any) -> None:
        """Reads the sizes."""
        if hasattr(layer, "_qkv_dense"):
            self.layer, self.heads = layer, int(layer.num_heads)
            self.key_size = self.value_size = int(layer.attn_head_size)
        else:
            super().__init__(layer)

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether a layer is of this kind."""
        names = {kind.__name__ for kind in type(layer).__mro__}
        if "TwoStreamRelativeAttention" in names:
            return False
        if isinstance(layer, keras.layers.MultiHeadAttention):
            return bool(layer._attention_axes == (1,))
        return bool(names & _DOT_PRODUCT)

    def around(self, before: Before, tokens: int) -> Callable[..., Any]:
        """Replaces the computation between the projections while the layer is called."""
        layer = self.layer
        replaced: list[Replacement] = [
            (layer, "_compute_attention", functools.partial(self._longer, before=before, tokens=tokens))
        ]
        if hasattr(layer, "_mask_sliding_window"):
            replaced.append((layer, "_mask_sliding_window", functools.partial(_past_window, tokens=tokens)))
        return _replacing(replaced)

    def _longer(self, compute: Callable[..., Any], before: Before, tokens: int) -> Callable[..., Any]:
        arguments_of = signature(type(self.layer)._compute_attention)
        query_name, key_name, value_name = list(arguments_of.parameters)[1:4]

        def longer(*args: Any, **kwargs: Any) -> Any:
            bound = arguments_of.bind(self.layer, *args, **kwargs)
            given = bound.arguments
            key = given[key_name]
            mask = given.get("attention_mask")
            if given.pop("use_causal_mask", False):  # Keras' own kernel would count from the first key of all
                causal = self.layer._compute_causal_mask(given[query_name], key)
                mask = causal if mask is None else ops.logical_and(ops.cast(mask, "bool"), causal)
            if mask is not None:
                given["attention_mask"] = _all_see(mask, key, tokens)
            repeats = key.shape[2] // self.heads  # one for each head of queries
            for name, put in zip((key_name, value_name), before(key), strict=True):
                given[name] = ops.concatenate([ops.repeat(put, repeats, axis=2), given[name]], axis=1)
            outputs = compute(*bound.args[1:], **bound.kwargs)
            if isinstance(outputs, tuple) and outputs[1] is not None:
                return outputs[0], outputs[1][..., tokens:]
            return outputs

        return longer


class DisentangledAttention(Attention):
    """DeBERTa's attention: keys before its own have positions before the first, so there are queries of that place too.

    What those compute is cut off.
    """

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether a layer is of this kind."""
        return type(layer).__name__ == "DisentangledSelfAttention"

    def around(self, before: Before, tokens: int) -> Callable[..., Any]:
        """Replaces the computation between the projections while the layer is called."""
        return _replacing(
            [(self.layer, "_compute_attention", functools.partial(self._longer, before=before, tokens=tokens))]
        )

    def _longer(self, compute: Callable[..., Any], before: Before, tokens: int) -> Callable[..., Any]:
        def longer(
            query: Any, key: Any, value: Any, rel_embeddings: Any, attention_mask: Any = None, training: Any = None
        ) -> Any:
            keys, values = before(key)
            if attention_mask is not None:
                attention_mask = _all_see(attention_mask, key, tokens)
                if attention_mask.shape[-2] != 1:
                    rows = ops.repeat(ops.ones_like(attention_mask[..., :1, :]), tokens, axis=-2)
                    attention_mask = ops.concatenate([rows, attention_mask], axis=-2)
            query = ops.concatenate([ops.zeros_like(keys), query], axis=1)
            key, value = ops.concatenate([keys, key], axis=1), ops.concatenate([values, value], axis=1)
            outputs, scores = compute(query, key, value, rel_embeddings, attention_mask, training)
            return outputs[:, tokens:], scores[:, :, tokens:, tokens:]

        return longer


class ProjectedAttention(Attention):
    """T5's and BLOOM's attention, computed in one piece: the projections of keys and values give longer ones.

    Their keys have positions, as far as the layer counts any, before the first of its own.
    """

    def __init__(self, layer: Any) -> None:
        """Reads the sizes."""
        if hasattr(layer, "key_projector"):
            self.layer, self.heads = layer, int(layer.num_heads)
            self.key_size = self.value_size = int(layer.key_value_dim)
        else:
            super().__init__(layer)

    def _projections(self) -> tuple[Any, Any]:
        if hasattr(self.layer, "key_projector"):
            return self.layer.key_projector, self.layer.value_projector
        return super()._projections()

    @classmethod
    def fits(cls, layer: Any) -> bool:
        """Tells whether a layer is of this kind."""
        return type(layer).__name__ in {"T5MultiHeadAttention", "BloomAttention"}

    def around(self, before: Before, tokens: int) -> Callable[..., Any]:
        """Replaces the projections while the layer is called, and lets all queries see the new keys."""
        replaced: list[Replacement] = []
        for number, projection in enumerate(self._projections()):
            for method in ("call", "quantized_call"):
                replaced.append((projection, method, functools.partial(self._longer, before=before, number=number)))
        if hasattr(self.layer, "compute_bias"):
            replaced.append((self.layer, "compute_bias", functools.partial(_later, tokens=tokens)))
        inside = _replacing(replaced)
        arguments_of = signature(type(self.layer).call)
        mask_name = next(name for name in ("attention_mask", "mask") if name in arguments_of.parameters)

        def around(compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            bound = arguments_of.bind(self.layer, *args, **kwargs)
            given = bound.arguments
            if given.get("cache") is not None:
                raise ConfigError(
                    f"prefix tuning of a {type(self.layer).__name__} does not work with a cache of keys and values. "
                    "Generate without a cache."
                )
            if given.get(mask_name) is not None:
                given[mask_name] = _all_see(given[mask_name], None, tokens)
            return inside(compute, *bound.args[1:], **bound.kwargs)

        return around

    def _longer(self, project: Callable[..., Any], before: Before, number: int) -> Callable[..., Any]:
        def longer(*args: Any, **kwargs: Any) -> Any:
            own = project(*args, **kwargs)
            put = before(own)[number]
            shape = (*ops.shape(put)[:2], *own.shape[2:])  # some projections keep heads apart, some do not
            return ops.concatenate([ops.reshape(put, shape), own], axis=1)

        return longer


_KINDS: tuple[type[Attention], ...] = (DotProductAttention, DisentangledAttention, ProjectedAttention)


def attention(layer: Any) -> Attention | None:
    """Returns the view of an attention layer.

    Args:
        layer: A built layer.

    Returns:
        The view; None for a layer that computes attention in a way that is not known here.
    """
    kind = next((kind for kind in _KINDS if kind.fits(layer)), None)
    return None if kind is None else kind(layer)


def _replacing(replaced: list[Replacement]) -> Callable[..., Any]:
    replacements = Replacements(replaced)

    def around(compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with replacements():
            return compute(*args, **kwargs)

    return around


def _all_see(mask: Any, key: Any, tokens: int) -> Any:
    """Lets all queries see keys before the first one of a mask `(..., queries, keys)`."""
    mask = ops.cast(mask, "bool")
    if key is not None and mask.shape[-1] == 1:  # one for all keys
        mask = ops.logical_and(mask, ops.ones((ops.shape(key)[1],), "bool"))
    seen = ops.repeat(ops.ones_like(mask[..., :1]), tokens, axis=-1)
    return ops.concatenate([seen, mask], axis=-1)


def _past_window(mask_window: Callable[..., Any], tokens: int) -> Callable[..., Any]:
    def past_window(attention_mask: Any, *args: Any, **kwargs: Any) -> Any:
        return _all_see(mask_window(attention_mask[..., tokens:], *args, **kwargs), None, tokens)

    return past_window


def _later(compute_bias: Callable[..., Any], tokens: int) -> Callable[..., Any]:
    def later(query_length: Any, key_length: Any, query_start_index: Any = 0) -> Any:
        return compute_bias(query_length, key_length, query_start_index + tokens)

    return later
