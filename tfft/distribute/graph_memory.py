"""How much memory a TensorFlow graph needs at once, told from its tensors without running it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

#: Operations whose result is the memory of their input.
_VIEWS = {
    "Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "Reshape", "ExpandDims", "Squeeze",
    "EnsureShape", "ReadVariableOp",
}  # fmt: skip
#: Operations that may write their result over an input which nothing else needs.
_IN_PLACE = {
    "Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "Neg", "Exp", "Sqrt", "Rsqrt", "Square", "Maximum",
    "Minimum", "Relu", "ReluGrad", "Tanh", "TanhGrad", "Sigmoid", "SigmoidGrad", "Erf", "Softmax", "LogSoftmax",
    "BiasAdd", "SelectV2", "Pow", "RsqrtGrad", "LeakyRelu", "EluGrad", "Elu", "Softplus", "SoftplusGrad",
}  # fmt: skip


def peak_bytes(graph: tf.Graph, outputs: Iterable[tf.Tensor], *, float_bytes: int | None = None) -> int:
    """Returns the bytes that are alive at once at most, when a graph runs operation by operation as it was written.

    Weights and other inputs of the graph are not counted, outputs are. What kernels allocate for themselves, and what
    happens inside loops, is not seen. Where operations run side by side, or XLA fuses them, the truth differs.

    Args:
        graph: A traced function with static shapes.
        outputs: What is wanted of it; other operations are ignored.
        float_bytes: Bytes of a float32 number, where another precision is imagined.

    Returns:
        Bytes.
    """
    wanted = list(outputs)
    order = _needed(graph, wanted)
    last_use: dict[str, int] = {}
    root: dict[str, str] = {}
    # First which memory each tensor is a view of, and when that memory is needed last.
    for place, operation in enumerate(order):
        for tensor in operation.inputs:
            last_use[root.get(tensor.name, tensor.name)] = place
        for number, tensor in enumerate(operation.outputs):
            root[tensor.name] = tensor.name
            if operation.type in _VIEWS and operation.inputs:
                source = operation.inputs[min(number, len(operation.inputs) - 1)]
                root[tensor.name] = root.get(source.name, source.name)
    last_use.update({root[tensor.name]: len(order) for tensor in wanted})
    return _simulate(order, root, last_use, float_bytes)


def _simulate(order: list[Any], root: dict[str, str], last_use: dict[str, int], float_bytes: int | None) -> int:
    sizes: dict[str, int] = {}
    alive = peak = 0
    for place, operation in enumerate(order):
        ending = list(dict.fromkeys(root[tensor.name] for tensor in operation.inputs))
        ending = [name for name in ending if last_use[name] == place and name in sizes]
        if operation.type not in _VIEWS | {"Placeholder", "Const"}:
            for tensor in operation.outputs:
                size = tensor_bytes(tensor, float_bytes)
                taken = next((name for name in ending if sizes[name] >= size), None)
                if operation.type in _IN_PLACE and taken is not None:
                    ending.remove(taken)
                    alive -= sizes.pop(taken)
                sizes[tensor.name] = size
                alive += size
        peak = max(peak, alive)
        for name in ending:
            alive -= sizes.pop(name)
        for tensor in operation.outputs:  # a result that nothing takes
            if tensor.name in sizes and tensor.name not in last_use:
                alive -= sizes.pop(tensor.name)
    return peak


def tensor_bytes(tensor: tf.Tensor, float_bytes: int | None = None) -> int:
    """Returns the bytes of a tensor; zero where its shape is unknown.

    Args:
        tensor: A symbolic tensor.
        float_bytes: Bytes of a float32 number, where another precision is imagined.

    Returns:
        Bytes.
    """
    if tensor.dtype in (tf.resource, tf.variant) or not tensor.shape.is_fully_defined():
        return 0
    width = float_bytes if float_bytes is not None and tensor.dtype == tf.float32 else tensor.dtype.size
    return int(tensor.shape.num_elements()) * int(width)


def _needed(graph: tf.Graph, wanted: list[tf.Tensor]) -> list[Any]:
    """Returns the operations that the wanted tensors depend on, in the order in which they were written."""
    pending, found = [tensor.op for tensor in wanted], set()
    while pending:
        operation = pending.pop()
        if operation.name not in found:
            found.add(operation.name)
            pending += [tensor.op for tensor in operation.inputs]
    return [operation for operation in graph.get_operations() if operation.name in found]
