"""Acting on single layers of a built model: the only module here that uses Keras' privates.

An attribute of the layer object hides the method `call` of its class, so that names, configs, saved files and the graph
of a functional model stay as they are. Variables of an adapter belong to a layer of their own, which the target counts
among its sublayers without having it as an attribute: it is trained and checkpointed with the model, and is not in the
files that Keras and KerasHub write for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfft.core.errors import ConfigError

#: Layers that compute something linear and apply their `activation` last.
_ACTIVATED_LAST = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
#: What Keras runs of a layer: the second one once it is quantized, which may be after an adapter was added.
_METHODS = ("call", "quantized_call")
#: Where a layer keeps its hooks: something else may stand for its `call` since, and hide them.
_PLACE = "_tfft_hooks"


class Hook:
    """Stands for a layer's `call`; hands what the layer computes to whatever was added, in order.

    What is added sees the outputs before the layer's activation, so that it acts on the linear part. Changes of inputs
    come first, and are seen by the layer alone.
    """

    def __init__(
        self,
        layer: Any,
        name: str,
        added: list[Callable[..., Any]],
        to_inputs: list[Callable[[Any], Any]],
        to_weights: list[Callable[[Any], Any]],
    ) -> None:
        """Takes over one of the layer's methods, whatever it is now.

        Args:
            layer: The layer.
            name: Name of the method.
            added: What changes the outputs; the list may grow and shrink.
            to_inputs: What changes the inputs, likewise.
            to_weights: What changes the weights, likewise: from the layer to what computes in its place.
        """
        self._layer = layer
        self._name = name
        self._before = vars(layer).get(name)
        self._call = getattr(layer, name)
        self._added = added
        self._to_inputs = to_inputs
        self._to_weights = to_weights
        self.__wrapped__ = self._call  # its signature is the layer's
        setattr(layer, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the layer with all that was added."""
        given_args, given = self._given(args, kwargs)
        if self._to_weights:
            layer = functools.reduce(lambda now, change: change(now), self._to_weights, self._layer)
            outputs = getattr(type(layer), self._name)(layer, *given_args, **given)
            return self._changed(outputs, args, kwargs)
        if not self._added:
            return self._call(*given_args, **given)
        layer = self._layer
        activation = layer.activation if isinstance(layer, _ACTIVATED_LAST) else None
        if activation is None or activation is keras.activations.linear:
            return self._changed(self._call(*given_args, **given), args, kwargs)
        # Of the class: a faster `call` that was put on the layer applies the activation.
        outputs = getattr(type(layer), self._name)(stand_in(layer, activation=None), *given_args, **given)
        return activation(self._changed(outputs, args, kwargs))

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for change in self._to_inputs:
            if args:
                args = (change(args[0]), *args[1:])
            else:
                kwargs = {**kwargs, "inputs": change(kwargs["inputs"])}
        return args, kwargs

    def _changed(self, outputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for change in self._added:
            outputs = change(outputs, *args, **kwargs)
        return outputs

    def restore(self) -> bool:
        """Gives the layer back the method it had.

        Returns:
            Whether it could: what stands for the method since may call this one still, which then changes nothing.
        """
        if vars(self._layer).get(self._name) is not self:
            return False
        if self._before is None:
            delattr(self._layer, self._name)
        else:
            setattr(self._layer, self._name, self._before)
        return True


def stand_in(layer: Any, **attributes: Any) -> Any:
    """Returns a layer that shares everything with another but some attributes: that one is seen by other threads.

    Args:
        layer: The layer.
        **attributes: What is different, by name.

    Returns:
        What can compute in its place.
    """
    view = object.__new__(type(layer))
    vars(view).update(vars(layer), **attributes)
    return view


@dataclasses.dataclass(frozen=True)
class _Hooks:
    added: list[Callable[..., Any]] = dataclasses.field(default_factory=list)
    to_inputs: list[Callable[[Any], Any]] = dataclasses.field(default_factory=list)
    to_weights: list[Callable[[Any], Any]] = dataclasses.field(default_factory=list)
    by_name: dict[str, Hook] = dataclasses.field(default_factory=dict)


def hook(layer: Any, change: Callable[..., Any], *, inputs: bool = False, weights: bool = False) -> None:
    """Lets a function change a layer's outputs, before its activation; or its inputs; or its weights.

    Args:
        layer: A built layer.
        change: From outputs and the layer's arguments to outputs; or from inputs to inputs; or from the layer to the
            layer or what computes in its place (`stand_in`).
        inputs: Whether it changes the inputs.
        weights: Whether it changes the weights; for recurrent layers, which apply no activation last.

    Raises:
        ConfigError: When the layer is not built.
    """
    if not layer.built:
        raise ConfigError(f"The layer {layer.name!r} is not built, so it cannot be adapted; call the model first.")
    own = vars(layer).setdefault(_PLACE, _Hooks())
    for name in _METHODS:
        if name not in own.by_name:
            own.by_name[name] = Hook(layer, name, own.added, own.to_inputs, own.to_weights)
    (own.to_inputs if inputs else own.to_weights if weights else own.added).append(change)


def unhook(layer: Any, change: Callable[..., Any]) -> None:
    """Takes a function off again; the last one gives the layer its own `call` back.

    Args:
        layer: A layer that `hook` was called with.
        change: The function.
    """
    own = vars(layer).get(_PLACE)
    if own is None:
        return
    for changes in (own.added, own.to_inputs, own.to_weights):
        changes[:] = [other for other in changes if other is not change]
    if own.added or own.to_inputs or own.to_weights:
        return
    for name, part in list(own.by_name.items()):
        if part.restore():
            del own.by_name[name]
    if not own.by_name:
        del vars(layer)[_PLACE]


def attach(layer: Any, added: keras.layers.Layer, *input_shapes: Any, path: str | None = None) -> None:
    """Makes one layer a sublayer of another, and builds it under its path.

    Args:
        layer: The target, a built layer.
        added: A layer that is not built.
        *input_shapes: What it is built with.
        path: The target's path, as `layer_paths` gives it; None for the one that Keras noted, if it did.

    Raises:
        ConfigError: When the target has one of that name, whose variables would have the same paths.
    """
    if any(isinstance(other, SideLayer) and other.name == added.name for other in layer._layers):
        raise ConfigError(f"The layer {layer.path!r} has an adapter {added.name!r} already; choose another name.")
    with contextlib.ExitStack() as scopes:
        for part in (path or layer.path or layer.name).split("/"):
            scopes.enter_context(keras.name_scope(part))
        added.build(*input_shapes)
    layer._layers.append(added)


def detach(layer: Any, added: keras.layers.Layer) -> None:
    """Undoes `attach`.

    Args:
        layer: The target.
        added: The layer that was attached.
    """
    layer._layers[:] = [other for other in layer._layers if other is not added]


def all_layers(model: keras.Model) -> list[Any]:
    """Returns a model's layers and those inside them, each once, without what adapters added."""
    layers = {id(layer): layer for layer in model._flatten_layers(include_self=False)}
    added = [layer for layer in layers.values() if isinstance(layer, SideLayer)]
    for inside in {id(inner) for side in added for inner in side._flatten_layers()}:
        layers.pop(inside, None)
    return list(layers.values())


def layer_paths(model: keras.Model) -> dict[int, str]:
    """Returns unique paths of a model's layers: the same for models built alike, in any process.

    Keras' own paths are missing for layers without variables, and hold numbers that count all layers of a process
    where a layer was given no name. Where neither is so, these are the same.

    Args:
        model: The model.

    Returns:
        From the ids of the layers that `all_layers` returns to paths.
    """
    owners: dict[int, list[Any]] = {}
    layers = [model]
    for outer in layers:  # grows
        for layer in _sorted(outer._layers):
            if id(layer) not in owners:
                layers.append(layer)
            owners.setdefault(id(layer), []).append(outer)
    paths = {id(model): ""}
    taken = set()

    def path_of(layer: Any) -> str:
        if id(layer) not in paths:
            # A layer may be an attribute of several others; Keras notes the one that built it.
            fits = (outer for outer in owners[id(layer)] if layer.path == f"{outer.path}/{layer.name}")
            outer = path_of(next(fits, owners[id(layer)][0]))
            path = f"{outer}/{_own_name(layer)[0]}".removeprefix("/")
            numbered = (f"{path}_{number}" for number in itertools.count(1))
            paths[id(layer)] = next(free for free in itertools.chain([path], numbered) if free not in taken)
            taken.add(paths[id(layer)])
        return paths[id(layer)]

    for layer in layers:
        path_of(layer)
    return paths


def _sorted(layers: Sequence[Any]) -> list[Any]:
    """Returns layers without those of adapters; those that Keras numbered in the order of their numbers."""
    own = [layer for layer in layers if not isinstance(layer, SideLayer)]
    return sorted(own, key=lambda layer: _own_name(layer)[1])


def _own_name(layer: Any) -> tuple[str, int]:
    """Returns a layer's name, with its number apart when Keras may have counted: "dense_3", "forward_lstm_1"."""
    bare, _, number = layer.name.rpartition("_")
    if number.isdecimal() and bare.replace("_", "").endswith(type(layer).__name__.lower()):
        return bare, int(number)
    return layer.name, 0


def plain_policy(layer: Any) -> keras.DTypePolicy:
    """Returns a layer's dtype policy; that of a quantized one without the quantization."""
    return keras.DTypePolicy(layer.dtype_policy.name.rsplit("_from_", 1)[-1])


class SideLayer(keras.layers.Layer):
    """The variables of an adapter at one layer of the base."""
