"""Adapters that act on the outputs of single layers: the common part of most methods."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from tfft.core.errors import ConfigError
from tfft.peft._surgery import SideLayer, attach, detach, hook, layer_paths, unhook
from tfft.peft.base import Adapter, Base, PeftConfig


class Side(SideLayer):
    """What an adapter computes at one layer of the base.

    Subclasses make their variables in `build` and change the layer's outputs in `call`. They get dropout, the training
    phase and the dtype of the computation as any Keras layer does.
    """

    #: Whether `call` gets the layer's inputs, and nothing else, and changes those instead.
    changes_inputs: ClassVar[bool] = False
    #: Whether it changes the weights instead, in `standing_in`: for layers whose outputs are not linear in them.
    changes_weights: bool = False

    def standing_in(self, layer: Any) -> Any:
        """Makes what computes in the layer's place with changed weights (`tfft.peft._surgery.stand_in`).

        Args:
            layer: The layer, or what stands in for it already.

        Returns:
            A layer.
        """
        raise NotImplementedError

    def call(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Changes what the layer computed.

        Args:
            outputs: The layer's outputs before its activation, and before any other adapter.
            *args: What the layer was called with.
            **kwargs: What else it was called with.

        Returns:
            The changed outputs.
        """
        raise NotImplementedError

    @abc.abstractmethod
    def merged_weights(self) -> list[tuple[keras.Variable, Any]]:
        """Returns variables of the base with the values that they have when this is folded into them."""


#: From a layer's outputs before its activation, and what it was called with, to changed outputs.
Change = Callable[..., Any]


class SiteAdapter(Adapter):
    """An adapter made of `Side` layers, each at one layer of the base."""

    def __init__(self, base: Base, config: PeftConfig, name: str, sides: Sequence[tuple[Any, Side]]) -> None:
        """Attaches the sides to their layers.

        Args:
            base: The base.
            config: The options.
            name: Name of the adapter.
            sides: Layers of the base and what acts on them; not built.

        Raises:
            ConfigError: When there is none.
        """
        super().__init__(base, config)
        if not sides:
            raise ConfigError(f"{config.method} found nothing to act on in {base.model.name!r}.")
        self.name = name
        self.sides = list(sides)
        self._originals: list[tuple[keras.Variable, np.ndarray]] | None = None
        self._changes: list[tuple[Any, Change]] = []
        self._paths = layer_paths(base.model)
        try:
            for layer, side in self.sides:
                attach(layer, side, None, path=self._paths[id(layer)])
                change = functools.partial(self._replace if side.changes_weights else self._change, side)
                hook(layer, change, inputs=side.changes_inputs, weights=side.changes_weights)
                self._changes.append((layer, change))
        except BaseException:
            self.remove()
            raise

    def _change(self, side: Side, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.enabled or self.merged:
            return outputs
        return side(outputs, *args, **kwargs)

    def _replace(self, side: Side, layer: Any) -> Any:
        return layer if not self.enabled or self.merged else side.standing_in(layer)

    def hand_over(self) -> list[tuple[Any, Change, bool]]:
        """Leaves it to somebody else when layers are changed, as `tfft.peft.adapter_set` decides.

        Returns:
            The layers, what changes their outputs or inputs, in order, and whether it is the inputs; nothing calls that
            any more.

        Raises:
            ConfigError: When it changes weights, which are the same for all rows.
        """
        for layer, side in self.sides:
            if side.changes_weights:
                raise ConfigError(
                    f"{layer.path!r} is a recurrent layer, of which {self.config.method} changes the weights, not the "
                    "outputs: several adapters cannot share it. Use one at a time, or leave it out of the targets."
                )
        of_inputs = [side.changes_inputs for _, side in self.sides]
        handed = [(*pair, inputs) for pair, inputs in zip(self._changes, of_inputs, strict=True)]
        for layer, change in self._changes:
            unhook(layer, change)
        self._changes = []
        return handed

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """Its variables, by the path of the layer they act on and their own name."""
        return {
            f"{self._paths[id(layer)]}/{variable.path.removeprefix(f'{side.path}/')}": variable
            for layer, side in self.sides
            for variable in side.variables
            if "seed_generator" not in variable.path
        }

    @property
    def targets(self) -> list[str]:
        """Paths of the layers it acts on."""
        return [layer.path or self._paths[id(layer)] for layer, _ in self.sides]

    @property
    def can_merge(self) -> bool:
        """Whether the method allows it, and no layer it acts on is quantized."""
        return self.mergeable and all(getattr(layer, "quantization_mode", None) is None for layer, _ in self.sides)

    @property
    def merged(self) -> bool:
        """Whether the base's weights hold it now."""
        return self._originals is not None

    def merge(self) -> None:
        """Folds it into the base's weights."""
        if not self.mergeable:
            super().merge()
        if self.merged:
            raise ConfigError(f"This {self.config.method} adapter is merged already.")
        for layer, _ in self.sides:
            if getattr(layer, "quantization_mode", None) is not None:
                raise ConfigError(
                    f"{layer.path!r} is quantized ({layer.quantization_mode}): its weights cannot hold an adapter "
                    "exactly. Keep the adapter apart, or load the base without quantization to merge."
                )
        originals: list[tuple[keras.Variable, np.ndarray]] = []
        try:
            for _, side in self.sides:  # one after another, as they act: two may change one variable
                for variable, value in side.merged_weights():
                    originals.append((variable, np.array(keras.ops.convert_to_numpy(variable.value))))
                    variable.assign(value)
        except BaseException:
            _put_back(originals)
            raise
        self._originals = originals

    def unmerge(self) -> None:
        """Gives the base its own weights back, to the bit."""
        if self._originals is None:
            super().unmerge()
            return
        _put_back(self._originals)
        self._originals = None

    def remove(self) -> None:
        """Takes the sides off their layers."""
        if self.merged:
            self.unmerge()
        for layer, change in self._changes:
            unhook(layer, change)
        for layer, side in self.sides:
            detach(layer, side)
        self._changes, self.sides = [], []

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Sets its variables; a merged adapter is merged anew."""
        merged = self.merged
        if merged:
            self.unmerge()
        try:
            super().load_state(state)
        finally:
            if merged:
                self.merge()


def _put_back(originals: Sequence[tuple[keras.Variable, np.ndarray]]) -> None:
    for variable, value in reversed(originals):
        variable.assign(value)
