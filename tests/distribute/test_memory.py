"""Memory estimates: against counts by hand, and against what a process really takes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import keras
import keras_hub
import pytest
import tensorflow as tf
from allocations import peak_allocated

from tfft.core.errors import ConfigError
from tfft.distribute import available
from tfft.distribute.graph_memory import peak_bytes
from tfft.distribute.memory import (
    MemoryEstimate,
    Workload,
    advice,
    alternatives,
    estimate,
    estimate_frozen,
    in_words,
    out_of_memory_error,
)
from tfft.layers.recompute import recompute, repeated_blocks

MIB = 2**20


def dense(depth: int = 4, wide: int = 64) -> keras.Model:
    hidden = inputs = keras.Input((None, 16), name="x")
    for _ in range(depth):
        hidden = Block(wide)(hidden)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(hidden)))


class Block(keras.layers.Layer):
    """A wide layer between narrow ends."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.inner, self.outer = keras.layers.Dense(wide, activation="tanh"), keras.layers.Dense(16)
        self.wide = wide

    def build(self, shape: Any) -> None:
        self.inner.build(shape)
        self.outer.build((*shape[:-1], self.wide))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return inputs + self.outer(self.inner(inputs))


def test_a_graph_is_counted_as_by_hand() -> None:
    @tf.function
    def chain(x: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        wide = tf.matmul(x, first)  # 10,000 numbers
        narrow = tf.matmul(wide, second)  # 100; wide is not needed any more
        unused = tf.exp(wide)
        assert unused is not None
        longer = tf.concat([tf.tanh(narrow)] * 50, 0)  # tanh is written over its input; 5,000
        return tf.reshape(longer, [-1])  # a view

    shapes = ((10, 4), (4, 1000), (1000, 10))
    graph = chain.get_concrete_function(*map(tf.TensorSpec, shapes)).graph
    assert peak_bytes(graph, graph.outputs) == (10_000 + 100) * 4
    assert peak_bytes(graph, graph.outputs, float_bytes=2) == (10_000 + 100) * 2


def test_what_is_kept_for_the_backward_pass_is_counted() -> None:
    """tanh keeps its result: with depth d, d wide results are alive when the backward pass begins."""
    rows, width, wide = 8, 32, 4096
    one = rows * width * wide * 4
    shallow, deep = (estimate(dense(depth, wide), Workload(rows, width)) for depth in (2, 6))
    # When the backward pass begins there is no gradient yet: activations are counted beyond the room for them.
    alive = [found.activations + found.gradients for found in (shallow, deep)]
    assert (alive[1] - alive[0]) / 4 == pytest.approx(one, rel=0.02)


def test_the_parts_that_weights_decide() -> None:
    model = dense()
    trained = model.count_params() * 4
    found = estimate(model, Workload(8, 16))
    assert (found.parameters, found.gradients, found.optimizer) == (trained, trained, 2 * trained)
    assert found.total == sum(dataclasses.astuple(found)) == found.to_dict()["total"]
    assert estimate(model, Workload(8, 16, slots=0)).optimizer == 0
    assert estimate(model, Workload(8, 16, micro_batch_size=4)).gradients == 2 * trained
    model.layers[1].trainable = False
    assert estimate(model, Workload(8, 16)).gradients < trained
    assert estimate_frozen(model, Workload(8, 16)).gradients == 0


def test_rows_and_width_scale_the_activations() -> None:
    model = dense(wide=2048)
    base = estimate(model, Workload(16, 64)).activations
    assert estimate(model, Workload(32, 64)).activations == pytest.approx(2 * base, rel=0.1)
    assert estimate(model, Workload(16, 32)).activations == pytest.approx(base / 2, rel=0.1)
    assert estimate(model, Workload(16, 64, micro_batch_size=4)).activations == pytest.approx(base / 4, rel=0.1)
    assert estimate(model, Workload(16, 64), half=True).activations == pytest.approx(base / 2, rel=0.1)


def test_recomputed_blocks_keep_one_block() -> None:
    model = dense(depth=8, wide=2048)
    base = estimate(model, Workload(16, 64)).activations
    with recompute(repeated_blocks(model)):
        assert estimate(model, Workload(16, 64)).activations < base / 3


def test_advice_names_the_biggest_saving_first_and_what_fits() -> None:
    model = dense(depth=8, wide=2048)
    workload = Workload(16, 64)
    now = estimate(model, workload)
    limit = now.total - now.activations // 3
    found = alternatives(model, workload, limit, lambda: recompute(repeated_blocks(model)))
    assert found["micro_batch_size=8"].total <= limit
    lines = advice(now, limit, found)
    savings = [now.total - found[line.partition(":")[0]].total for line in lines]
    assert savings == sorted(savings, reverse=True)
    assert all(saving > 0 for saving in savings)
    assert any(line.startswith("gradient_checkpointing=True") for line in lines)
    tight = advice(now, 1, found)
    assert all("still too much" in line for line in tight)


def test_the_largest_micro_batch_that_fits_is_suggested() -> None:
    model = dense(depth=8, wide=2048)
    fits = estimate(model, Workload(16, 64, micro_batch_size=2)).total
    assert "micro_batch_size=2" in alternatives(model, Workload(16, 64), fits)
    assert "micro_batch_size=1" in alternatives(model, Workload(16, 64), 1)


def test_running_out_of_memory_is_one_line_with_a_way_out() -> None:
    model = dense(depth=8, wide=2048)
    error = out_of_memory_error(
        model, Workload(16, 64), step=7, available=100 * MIB, recomputing=lambda: recompute(repeated_blocks(model))
    )
    text = str(error)
    assert "\n" not in text
    assert "step 7, with 16 rows of 64 tokens" in text
    assert "gradient_checkpointing=True: " in text
    assert "100.00 MiB" in text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (2048, "2 KiB"), (1.5 * MIB, "1.50 MiB"), (2**50, "1024.00 TiB")],
)
def test_bytes_in_words(size: float, text: str) -> None:
    assert in_words(size) == text


def test_free_memory_is_what_the_system_and_the_container_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = available.available_memory("CPU")
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    monkeypatch.setattr(available, "_CGROUP", tmp_path)
    assert available.available_memory("CPU") == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert available.available_memory("CPU") != 2000
    with pytest.raises(ConfigError, match="'NPU'"):
        available.available_memory("NPU")


def test_free_memory_of_a_gpu_is_its_limit_less_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    from tensorflow.python.client import device_lib

    devices = [types.SimpleNamespace(device_type=kind, memory_limit=size) for kind, size in (("CPU", 5), ("GPU", 900))]
    monkeypatch.setattr(device_lib, "list_local_devices", lambda: devices)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda _: {"current": 100, "peak": 500})
    assert available.available_memory("GPU") == 800


def bert_step(model: keras.Model, batch: int, length: int) -> tuple[Any, list[Any]]:
    """Returns loss and gradients of a classifier as a graph without variables, and the tensors that it takes."""

    def loss_and_gradients(values: Any, others: Any, inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            logits, _ = model.stateless_call(values, others, inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
        return loss, [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, values)]

    kinds = (model.trainable_variables, model.non_trainable_variables)
    values, others = ([tf.convert_to_tensor(variable.value) for variable in variables] for variables in kinds)
    given = (
        values,
        others,
        {name: tf.ones((batch, length), tf.int32) for name in model.input},
        tf.zeros(batch, tf.int32),
    )
    return tf.function(loss_and_gradients, autograph=False).get_concrete_function(*given), tf.nest.flatten(given)


@pytest.mark.parametrize(("checkpointing", "most"), [(False, 1.02), (True, 1.15)])
def test_the_estimate_is_what_a_step_allocates(checkpointing: bool, most: float) -> None:
    """Beside the allowance for what no graph shows: scratch memory and gaps."""
    layers, hidden, length, batch = 4, 96, 128, 8
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=1000, num_layers=layers, num_heads=12, hidden_dim=hidden, intermediate_dim=4 * hidden
    )
    pooled = keras.layers.GlobalAveragePooling1D()(backbone.output["sequence_output"])
    model = keras.Model(backbone.input, keras.layers.Dense(2)(pooled))
    with recompute(repeated_blocks(model) if checkpointing else []):
        found = estimate(model, Workload(batch, length))
        step, given = bert_step(model, batch, length)
    allocated = peak_allocated(step, given)
    assert 0.98 < allocated / (found.gradients + found.activations) < most


def test_an_estimate_is_plain_data() -> None:
    found = MemoryEstimate(parameters=1, gradients=2, optimizer=4, activations=8, workspace=16)
    assert found.to_dict() == {
        "parameters": 1, "gradients": 2, "optimizer": 4, "activations": 8, "workspace": 16, "total": 31,
    }  # fmt: skip
    assert found.step == 26
