"""How much memory a training step takes, part by part, and which option lowers it by how much."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfft.config import FitConfig
from tfft.core.errors import TrainingError
from tfft.distribute.graph_memory import peak_bytes
from tfft.distribute.plan import ExecutionPlan

#: Kernels' scratch memory, thread arenas and gaps between tensors: a share of the activations, and a fixed part.
#: Fitted to what benchmarks/memory.py measured on a CPU.
WORKSPACE_SHARE = 0.13
WORKSPACE_FIXED = 150 * 2**20
#: Adam's two moments.
ADAM_SLOTS = 2
_HALF = 2
#: No rows of fewer tokens are suggested.
_SHORTEST = 8
#: Options that an error message lists.
_MOST_ADVICE = 3
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024

#: Numbers that an optimizer keeps for each weight, where they are not Adam's two.
_SLOTS = {"sgd": 1, "lion": 1, "rmsprop": 1, "adagrad": 1, "adafactor": 0}
#: Makes blocks recompute their forward pass, until the context ends.
Recomputing = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a device does in one step.

    Attributes:
        batch_size: Rows on this device.
        width: Tokens of a row, padding included; every other unknown dimension of the inputs too.
        micro_batch_size: Rows that go through the model at once; None for all.
        slots: Numbers that the optimizer keeps for each weight: 2 for Adam.
        precision: The model's dtype policy; what is not float32 is not made smaller any more.
        gradient_checkpointing: Whether the model's blocks are recomputed already.
    """

    batch_size: int
    width: int
    micro_batch_size: int | None = None
    slots: int = ADAM_SLOTS
    precision: str = "float32"
    gradient_checkpointing: bool = False

    @property
    def rows(self) -> int:
        """The rows that go through the model at once."""
        return min(self.micro_batch_size or self.batch_size, self.batch_size)


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device while a step runs.

    Attributes:
        parameters: All weights, trained or not.
        gradients: One number a trained weight; twice with micro-batches, which are summed up.
        optimizer: The optimizer's slots.
        activations: What forward and backward pass keep at once, beyond the gradients.
        workspace: Scratch memory of kernels and gaps, an allowance.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int

    @property
    def total(self) -> int:
        """All parts."""
        return self.parameters + self.optimizer + self.step

    @property
    def step(self) -> int:
        """What a step takes beside weights and slots, which are there all the time."""
        return self.gradients + self.activations + self.workspace

    def to_dict(self) -> dict[str, int]:
        """Returns the parts and the total as plain data."""
        return {**dataclasses.asdict(self), "total": self.total}


def workload_of(config: FitConfig, plan: ExecutionPlan, width: int) -> Workload:
    """Returns what a device does in one step of a run.

    Args:
        config: The run's options.
        plan: Where the step runs.
        width: Tokens of the widest row.

    Returns:
        The workload.
    """
    return Workload(
        batch_size=-(-config.batch_size // plan.num_replicas),
        width=width,
        micro_batch_size=config.micro_batch_size,
        slots=_SLOTS.get(config.optimizer, ADAM_SLOTS) + (config.ema is not None or config.swa_start is not None),
        precision=plan.precision,
        gradient_checkpointing=config.gradient_checkpointing,
    )


def estimate(model: keras.Model, workload: Workload, *, half: bool = False) -> MemoryEstimate:
    """Estimates the memory of a training step from the graph of forward and backward pass, which is not run.

    What XLA fuses is not foreseen, so that a compiled step takes less. The model is looked at as it is: with the layers
    frozen that are frozen, with the blocks recomputed that are recomputed, and in its own precision.

    Args:
        model: A built functional model; takes seconds, since it is traced.
        workload: What is done in one step.
        half: Imagine the computation in half precision, with weights in full.

    Returns:
        The parts.
    """
    trainable = _bytes(model.trainable_variables)
    copies = 1 if workload.rows == workload.batch_size else 2
    graph, outputs = _trace(model, workload.rows, workload.width, training=True)
    peak = peak_bytes(graph, outputs, float_bytes=_HALF if half else None)
    own_gradients = trainable // _HALF if half else trainable
    activations = max(peak - own_gradients, 0) + (_bytes(model.variables) // _HALF if half else 0)
    return MemoryEstimate(
        parameters=_bytes(model.variables),
        gradients=trainable * copies,
        optimizer=trainable * workload.slots,
        activations=activations,
        workspace=_workspace(activations),
    )


def estimate_frozen(model: keras.Model, workload: Workload) -> MemoryEstimate:
    """Estimates what remains when the backbone is frozen: its forward pass once, and a head that hardly counts.

    Args:
        model: The whole model.
        workload: What is done in one step.

    Returns:
        The parts.
    """
    graph, outputs = _trace(model, workload.batch_size, workload.width, training=False)
    activations = peak_bytes(graph, outputs)
    return MemoryEstimate(_bytes(model.variables), 0, 0, activations, _workspace(activations))


def alternatives(
    model: keras.Model, workload: Workload, available: int | None, recomputing: Recomputing | None = None
) -> dict[str, MemoryEstimate]:
    """Estimates what other options would take.

    Args:
        model: The model as it is trained.
        workload: What is done in one step.
        available: Bytes for all parts; the largest micro-batch that fits is suggested.
        recomputing: Makes the model's blocks recomputed; None where that cannot be, or is so already.

    Returns:
        Option, as it is written in Python, to the estimate with it.
    """
    found: dict[str, MemoryEstimate] = {}
    if model.trainable_variables:
        found["freeze='backbone'"] = estimate_frozen(model, workload)
    if workload.rows > 1:
        rows, smaller = _smaller_batch(model, workload, available)
        found[f"micro_batch_size={rows}"] = smaller
    if recomputing is not None and not workload.gradient_checkpointing:
        with recomputing():
            found["gradient_checkpointing=True"] = estimate(model, workload)
    if workload.precision == "float32":
        found["precision='mixed_bfloat16'"] = estimate(model, workload, half=True)
    shorter = workload.width // 2
    if shorter >= _SHORTEST:
        found[f"sequence_length={shorter}"] = estimate(model, dataclasses.replace(workload, width=shorter))
    return found


def advice(now: MemoryEstimate, available: int | None, options: Mapping[str, MemoryEstimate]) -> list[str]:
    """Says which option saves how much, the biggest saving first.

    Args:
        now: The estimate with the options as they are.
        available: Bytes for all parts; None where that is unknown.
        options: What `alternatives` gave.

    Returns:
        One line an option that saves something.
    """
    lines = []
    for name, other in sorted(options.items(), key=lambda item: item[1].total):
        if other.total < now.total:
            short = "" if available is None or other.total <= available else ", still too much"
            saved = in_words(now.total - other.total)
            lines.append(f"{name}: {in_words(other.total)}{short}, saves {saved}{_cost(name)}")
    return lines


def out_of_memory_error(
    model: keras.Model,
    workload: Workload,
    *,
    step: int,
    available: int | None = None,
    recomputing: Recomputing | None = None,
) -> TrainingError:
    """Turns TensorFlow's out-of-memory error, a page of allocator tables, into one line with a way out.

    Args:
        model: The model that was trained.
        workload: The step in which memory ran out.
        step: Its number.
        available: Bytes for all parts; None where that is unknown.
        recomputing: As for `alternatives`.

    Returns:
        The error to raise instead.
    """
    now = estimate(model, workload)
    options = advice(now, available, alternatives(model, workload, available, recomputing))[:_MOST_ADVICE]
    there = "" if available is None else f" of {in_words(available)}"
    return TrainingError(
        f"Memory ran out in step {step}, with {workload.rows} rows of {workload.width} tokens at once: that takes "
        f"about {in_words(now.total)}{there}, of which activations are {in_words(now.activations)}. What helps: "
        f"{'; '.join(options) or 'a smaller preset'}."
    )


def in_words(size: float) -> str:
    """Returns a number of bytes as a person reads it: 1.5 GiB."""
    unit = 0
    while size >= _STEP and unit < len(_UNITS) - 1:
        size, unit = size / _STEP, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit <= 1 else f"{size:.2f} {_UNITS[unit]}"


def _cost(option: str) -> str:
    """Returns what an option costs besides."""
    costs = {
        "micro_batch_size": "same result",
        "gradient_checkpointing": "same result, about a third slower",
        "sequence_length": "longer rows are truncated",
        "freeze": "only the head learns",
        "peft": "the backbone stays as it is",
    }
    cost = costs.get(option.partition("=")[0])
    return "" if cost is None else f" ({cost})"


def _smaller_batch(model: keras.Model, workload: Workload, available: int | None) -> tuple[int, MemoryEstimate]:
    """Returns the largest half, quarter, ... of the rows that fits; a half when nobody knows what fits."""
    rows = workload.rows // 2
    while True:
        found = estimate(model, dataclasses.replace(workload, micro_batch_size=rows))
        if rows == 1 or available is None or found.total <= available:
            return rows, found
        rows //= 2


def _trace(model: keras.Model, rows: int, width: int, *, training: bool) -> tuple[tf.Graph, list[tf.Tensor]]:
    def spec(tensor: Any) -> tf.TensorSpec:
        return tf.TensorSpec([rows, *(size or width for size in tensor.shape[1:])], tensor.dtype)

    def step(values: list[tf.Tensor], others: list[tf.Tensor], inputs: Any) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            outputs, _ = model.stateless_call(values, others, inputs, training=training)
            # Stands for any loss: one more tensor of the size of the outputs.
            losses = [
                tf.reduce_sum(tf.nn.log_softmax(tf.cast(item, tf.float32))) for item in keras.tree.flatten(outputs)
            ]
            loss = tf.add_n(losses)
        if not training:
            return [loss]
        gradients = tape.gradient(loss, values)
        return [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]

    values, others = (
        [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    traced = tf.function(step, autograph=False)
    graph = traced.get_concrete_function(values, others, keras.tree.map_structure(spec, model.input)).graph
    return graph, list(graph.structured_outputs)


def _workspace(activations: int) -> int:
    return WORKSPACE_FIXED + int(WORKSPACE_SHARE * activations)


def _bytes(variables: list[Any]) -> int:
    return sum(int(variable.value.shape.num_elements()) * tf.as_dtype(variable.dtype).size for variable in variables)
