"""Gradient checkpointing: a block keeps its inputs alone, and its backward pass runs its forward pass once more."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.variables import AutocastScope  # has no public name

from tfft.core.errors import ConfigError

#: Blocks are worth it only in a stack of several.
_FEWEST_BLOCKS = 2


class Recomputation:
    """Blocks that are recomputed, until `restore` or the end of a `with` statement."""

    def __init__(self, blocks: Sequence[Any]) -> None:
        """Takes over the blocks' `call`.

        Args:
            blocks: Built layers.
        """
        self._blocks = list(blocks)
        #: What stood for the blocks' `call` before, such as an adapter.
        self._before = [vars(block).get("call") for block in self._blocks]
        for block in self._blocks:
            # An attribute of the object hides the method: configs, weights and names stay as they are.
            block.call = _Recomputed(block, block.call)

    def restore(self) -> None:
        """Gives the blocks their own `call` back; does nothing the second time."""
        for block, before in zip(self._blocks, self._before, strict=True):
            if before is None:
                del block.call
            else:
                block.call = before
        self._blocks, self._before = [], []

    def __enter__(self) -> Recomputation:
        """Returns itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Restores the blocks."""
        self.restore()


def recompute(blocks: Sequence[Any]) -> Recomputation:
    """Makes blocks recompute their forward pass in the backward pass (Chen et al. 2016, section 4.1).

    Of each block only the inputs are kept, so that the memory of activations is that of one block, plus one tensor a
    block; a step takes about one more forward pass. Dropout draws the same mask both times, and loss and gradients are
    the same. Whatever runs with `training=False` is unaffected.

    It works where Keras' own `RematScope` fails: in graphs, under XLA, inside `stateless_call`. What is recomputed
    depends on the gradient that comes in, which keeps TensorFlow and XLA from merging it with the first pass.

    Args:
        blocks: Built layers, called with tensors, whose `call` has the argument `training`.

    Returns:
        What restores them.

    Raises:
        ConfigError: When a block cannot be recomputed.
    """
    for block in blocks:
        if not block.built:
            raise ConfigError(f"The layer {block.name!r} is not built, so that it cannot be recomputed; call it first.")
        if isinstance(vars(block).get("call"), _Recomputed):
            raise ConfigError(f"The layer {block.name!r} is recomputed already; restore it first.")
        if "training" not in signature(block.call).parameters:
            raise ConfigError(
                f"The layer {block.name!r} ({type(block).__name__}) does not say whether it trains: its call has no "
                "argument `training`. Leave it out of the blocks to recompute."
            )
    return Recomputation(blocks)


def repeated_blocks(model: keras.Model) -> list[Any]:
    """Returns the stack of like blocks that holds most of a model's weights, such as BERT's encoder layers.

    Args:
        model: A functional model; models inside it are searched too.

    Returns:
        The blocks, in the order of the model.

    Raises:
        ConfigError: When there is no such stack.
    """
    stacks: dict[type, list[Any]] = defaultdict(list)
    for layer in _layers(model):
        if layer.weights and "training" in signature(layer.call).parameters and layer not in stacks[type(layer)]:
            stacks[type(layer)].append(layer)
    found = [stack for stack in stacks.values() if len(stack) >= _FEWEST_BLOCKS]
    if not found:
        raise ConfigError(
            f"gradient_checkpointing needs a stack of like blocks, and {model.name!r} has none. Set it to False."
        )
    return max(found, key=lambda stack: sum(block.count_params() for block in stack))


def _layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


class _Recomputed:
    """Stands for the `call` of one block."""

    def __init__(self, block: Any, call: Callable[..., Any]) -> None:
        self._block = block
        self._call = call
        self._inside = threading.local()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        flat = keras.tree.flatten((args, kwargs))
        symbolic = any(isinstance(item, keras.KerasTensor) for item in flat)
        bound = signature(self._call).bind(*args, **kwargs).arguments
        if symbolic or getattr(self._inside, "on", False) or not bound.get("training"):
            return self._call(*args, **kwargs)
        run = _Run(self._block, args, kwargs, self._marked)
        return run()

    @contextlib.contextmanager
    def _marked(self) -> Iterator[None]:
        """While the block is called as a whole again, its own `call` is meant."""
        before, self._inside.on = getattr(self._inside, "on", False), True
        try:
            yield
        finally:
            self._inside.on = before


class _Run:
    """One call of a block: a function of tensors alone, with a gradient of its own.

    Whatever changes is an argument: the floating inputs, the trainable weights, and the other variables, among them the
    states that dropout draws from.
    """

    def __init__(
        self,
        block: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        marked: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._block = block
        self._structure = (args, kwargs)
        self._flat = keras.tree.flatten(self._structure)
        self._places = [place for place, item in enumerate(self._flat) if tf.is_tensor(item) and item.dtype.is_floating]
        self._marked = marked
        self._outputs: Any = None
        self._changed: list[Any] = []

    def __call__(self) -> Any:
        inputs = [self._flat[place] for place in self._places]
        with AutocastScope(None):  # variables as they are, whatever the layer computes in
            weights = [tf.convert_to_tensor(variable.value) for variable in self._block.trainable_variables]
            states = [tf.convert_to_tensor(variable.value) for variable in self._block.non_trainable_variables]

        @tf.custom_gradient
        def run(*arguments: tf.Tensor) -> Any:
            def backward(*upstream: tf.Tensor) -> list[Any]:
                tie = _tie(upstream)
                tied = [argument + tf.cast(tie, argument.dtype) for argument in arguments[: len(inputs)]]
                watched = [*tied, *map(tf.identity, arguments[len(inputs) :])]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(watched)
                    results = self._forward(watched, [_after(state, tie) for state in states])
                count = len(results) - len(self._changed)
                gradients: list[Any] = tape.gradient(results[:count], watched, output_gradients=upstream[:count])
                # The block below waits for all of these: else the tensors of several blocks are there at once.
                with tf.control_dependencies([gradient for gradient in gradients if gradient is not None]):
                    return [None if gradient is None else tf.identity(gradient) for gradient in gradients]

            # Without a gradient, so that a tape outside does not keep what is computed inside.
            return self._forward([tf.stop_gradient(argument) for argument in arguments], states), backward

        results = list(run(*inputs, *weights))
        count = len(results) - len(self._changed)
        for variable, value in zip(self._changed, results[count:], strict=True):
            variable.assign(value)
        return keras.tree.pack_sequence_as(self._outputs, results[:count])

    def _forward(self, arguments: Sequence[tf.Tensor], states: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Calls the block.

        Args:
            arguments: Floating inputs, then values of the trainable weights.
            states: Values of the other variables.

        Returns:
            The outputs, then the new values of the other variables that changed.

        Raises:
            ConfigError: When the block adds losses.
        """
        flat = list(self._flat)
        for place, tensor in zip(self._places, arguments, strict=False):
            if (mask := getattr(flat[place], "_keras_mask", None)) is not None:
                tensor._keras_mask = mask
            flat[place] = tensor
        args, kwargs = keras.tree.pack_sequence_as(self._structure, flat)
        trainable, others = self._block.trainable_variables, self._block.non_trainable_variables
        given = [*zip(trainable, arguments[len(self._places) :], strict=True), *zip(others, states, strict=True)]
        with keras.StatelessScope(given, collect_losses=True) as scope, self._marked():
            # As a whole, not only its `call`: this sets dtype, name and training phase for the layers inside.
            self._outputs = self._block(*args, **kwargs)
        if scope.losses:
            raise ConfigError(
                f"The layer {self._block.name!r} adds losses of its own, which cannot be recomputed. Set "
                "gradient_checkpointing=False."
            )
        new = [scope.get_current_value(variable) for variable in others]
        places = [place for place, state in enumerate(states) if new[place] is not state]
        self._changed = [others[place] for place in places]
        return [*keras.tree.flatten(self._outputs), *(new[place] for place in places)]


def _tie(upstream: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns a zero that depends on the incoming gradient, and that no compiler knows to be zero."""
    first = tf.reduce_max(tf.reshape(upstream[0], [-1])[:1])
    return tf.minimum(tf.abs(first), 0)


def _after(state: tf.Tensor, tie: tf.Tensor) -> tf.Tensor:
    """Ties what dropout draws from to the backward pass, so that masks are drawn anew instead of kept."""
    return state if state.dtype.is_bool else state + tf.cast(tie, state.dtype)
