"""Which base an adapter belongs to: a checksum of its architecture, and one of its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator
from typing import Any

import keras
import numpy as np

from tfft.peft._surgery import all_layers, layer_paths

#: What a layer's config says beside what it computes with given weights.
_NOT_COMPUTED = frozenset({"name", "trainable", "dtype", "dtype_policy", "seed", "rate", "dropout"})
_NOT_COMPUTED_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_SHOWN_DIGITS = 12


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What tells one base from another.

    Attributes:
        name: Name of the model, for people.
        parameters: Number of its weights.
        architecture: SHA-256 of its layers and their options, without names that count the layers of a process.
        weights: SHA-256 of its weights.
    """

    name: str
    parameters: int
    architecture: str
    weights: str

    def __str__(self) -> str:
        """Returns one line for people."""
        shown = (digest[:_SHOWN_DIGITS] for digest in (self.architecture, self.weights))
        return "{} of {:,} weights (architecture {}, weights {})".format(self.name, self.parameters, *shown)


def fingerprint(model: keras.Model, *, apart_from: Collection[keras.Variable] = ()) -> Fingerprint:
    """Returns the fingerprint of a base, whatever adapters are on it.

    Args:
        model: The base's model; no adapter is merged into it.
        apart_from: Weights of the base whose values do not count, for instance those that an adapter replaces.

    Returns:
        The fingerprint: the same for equal bases, in any process.
    """
    paths = layer_paths(model)
    own = [(paths[id(layer)], layer) for layer in (model, *all_layers(model))]
    own.sort(key=lambda item: item[0])
    architecture, weights = hashlib.sha256(), hashlib.sha256()
    left_out, seen, parameters = {id(variable) for variable in apart_from}, set(), 0
    for path, layer in own:
        architecture.update(_as_text([path, type(layer).__name__ if path else "", _options(layer)]))
        for variable in _variables_of(layer):
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            parameters += int(np.prod(variable.shape))
            described = [path, variable.name, list(variable.shape), str(variable.dtype)]
            architecture.update(_as_text(described))
            if id(variable) not in left_out:
                weights.update(_as_text(described))
                weights.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    return Fingerprint(model.name, parameters, architecture.hexdigest(), weights.hexdigest())


def _variables_of(layer: Any) -> list[keras.Variable]:
    """Returns a layer's own weights, without those of layers inside it and without the states of random generators."""
    return sorted(
        (*layer._trainable_variables, *layer._non_trainable_variables), key=lambda variable: str(variable.name)
    )


def _options(layer: Any) -> Any:
    # The config of a model lists its layers, which are here one by one.
    if isinstance(layer, keras.Model):
        return {}
    try:
        config = layer.get_config()
    except (NotImplementedError, AttributeError):  # some of KerasHub's ask for attributes that they lack
        return {}
    return dict(_computed(config))


def _computed(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key not in _NOT_COMPUTED and not key.endswith(_NOT_COMPUTED_ENDINGS):
            yield key, dict(_computed(value)) if isinstance(value, dict) else value


def _as_text(value: Any) -> bytes:
    # The text of an object may hold its address in memory; its class does not.
    return json.dumps(value, sort_keys=True, default=lambda item: type(item).__name__).encode()
