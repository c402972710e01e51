"""Recomputed blocks: the same numbers as without, less memory, and no trace left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.layers.recompute import recompute, repeated_blocks

ROWS, LENGTH = 4, 12
INPUTS = {
    "token_ids": np.random.default_rng(1).integers(5, 40, (ROWS, LENGTH)).astype("int32"),
    "padding_mask": np.array([[1] * LENGTH, [1] * 5 + [0] * 7] * 2, "int32"),
    "segment_ids": np.zeros((ROWS, LENGTH), "int32"),
}
TARGETS = np.array([0, 1, 2, 1], "int32")


def bert(dtype: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=40,
        num_layers=3,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=LENGTH,
        dropout=0.3,
        dtype=dtype,
    )
    trunk = keras.Model(backbone.input, backbone.output["sequence_output"])
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in trunk.input}
    pooled = keras.layers.GlobalAveragePooling1D()(trunk(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(pooled))


@keras.saving.register_keras_serializable(package="test_recompute")
class Block(keras.layers.Layer):
    """Weights of its own, running averages and dropout: all that a block can hold."""

    def __init__(self, wide: int = 8, **options: Any) -> None:
        super().__init__(**options)
        self.wide = wide
        self.inner = keras.layers.Dense(wide, activation="gelu", dtype=self.dtype_policy)
        self.outer = keras.layers.Dense(4, dtype=self.dtype_policy)
        self.norm = keras.layers.BatchNormalization(dtype=self.dtype_policy)
        self.drop = keras.layers.Dropout(0.5, dtype=self.dtype_policy)

    def build(self, shape: Any) -> None:
        self.shift = self.add_weight(shape=(4,), initializer="ones", name="shift")
        self.inner.build(shape)
        self.outer.build((*shape[:-1], self.wide))
        self.norm.build(shape)

    def call(self, inputs: Any, scale: Any = None, training: bool | None = None) -> Any:
        hidden = self.outer(self.drop(self.inner(inputs), training=training)) + self.shift
        if scale is not None:
            hidden = hidden * keras.ops.cast(scale, hidden.dtype)
        return inputs + self.norm(hidden, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "wide": self.wide}


def stack(dtype: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(5)
    hidden = inputs = keras.Input((4,))
    for _ in range(2):
        hidden = Block(dtype=dtype)(hidden)
    return keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(hidden))


def pure_step(model: keras.Model, inputs: Any) -> Callable[..., Any]:
    def step(values: Any, others: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            logits, new = model.stateless_call(values, others, inputs, training=True)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(TARGETS, logits))
        gradients = tape.gradient(loss, values)
        return loss, [None if item is None else tf.convert_to_tensor(item) for item in gradients], new

    return step


def run(step: Callable[..., Any], model: keras.Model, mode: str) -> list[np.ndarray | None]:
    values = [tf.convert_to_tensor(item.value) for item in model.trainable_variables]
    others = [tf.convert_to_tensor(item.value) for item in model.non_trainable_variables]
    ran = step if mode == "eager" else tf.function(step, autograph=False, jit_compile=mode == "jit")
    loss, gradients, new = ran(values, others)
    return [None if item is None else np.asarray(item) for item in (loss, *gradients, *new)]


def compare(model: keras.Model, inputs: Any, mode: str, tolerance: float) -> None:
    without = run(pure_step(model, inputs), model, mode)
    with recompute(repeated_blocks(model)):
        got = run(pure_step(model, inputs), model, mode)
    assert len(got) == len(without)
    for mine, reference in zip(got, without, strict=True):
        assert (mine is None) == (reference is None)
        if mine is not None:
            np.testing.assert_allclose(mine, reference, atol=tolerance, rtol=tolerance)


def test_bert_gives_the_same_loss_gradients_and_states() -> None:
    compare(bert(), {name: tf.constant(value) for name, value in INPUTS.items()}, "graph", 1e-6)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        ("eager", "float32"),
        ("graph", "float32"),
        ("jit", "float32"),
        ("graph", "mixed_bfloat16"),
        ("graph", "mixed_float16"),
    ],
)
def test_a_block_with_all_kinds_of_variables_gives_the_same(mode: str, dtype: str) -> None:
    inputs = tf.constant(np.random.default_rng(2).normal(size=(4, 4)).astype("float32"))
    compare(stack(dtype), inputs, mode, 1e-5 if dtype == "float32" else 2e-2)


def test_integer_keywords_reach_the_block() -> None:
    block = Block()
    inputs, scale = tf.random.stateless_normal((3, 4), (1, 2)), tf.constant([[1], [0], [2]])
    block(inputs, scale=scale)
    start = [np.array(item) for item in block.non_trainable_variables]
    results = []
    for blocks in ([], [block]):
        for variable, value in zip(block.non_trainable_variables, start, strict=True):
            variable.assign(value)
        with recompute(blocks), tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(block(inputs, scale=scale, training=True) ** 2)
        results.append((float(loss), np.asarray(tape.gradient(loss, inputs))))
    assert results[0][0] == results[1][0]
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_keras_fit_ends_at_the_same_weights(run_eagerly: bool) -> None:
    ends = []
    for checkpointing in (False, True):
        model = stack()
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=run_eagerly)
        with recompute(repeated_blocks(model) if checkpointing else []):
            model.fit(np.eye(4, dtype="float32"), TARGETS, batch_size=2, epochs=1, shuffle=False, verbose=0)
        ends.append([np.array(item) for item in model.variables])
    for mine, reference in zip(*ends, strict=True):
        np.testing.assert_allclose(mine, reference, atol=1e-6)


@pytest.fixture
def counted() -> Iterator[tuple[keras.Model, list[Any]]]:
    """A model, and the calls of the first layer inside its first block."""
    model, calls = stack(), []
    layer = repeated_blocks(model)[0].inner
    own = layer.call
    layer.call = lambda *args, **kwargs: calls.append(1) or own(*args, **kwargs)
    yield model, calls
    del layer.call


def test_only_training_runs_a_block_twice(counted: tuple[keras.Model, list[Any]]) -> None:
    model, calls = counted
    inputs = tf.ones((4, 4))
    with recompute(repeated_blocks(model)):
        for training, wanted in ((False, 1), (True, 2)):
            calls.clear()
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(inputs, training=training))
            tape.gradient(loss, [item.value for item in model.trainable_variables])
            assert len(calls) == wanted
    calls.clear()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs, training=True))
    tape.gradient(loss, [item.value for item in model.trainable_variables])
    assert len(calls) == 1


def test_saving_and_configs_do_not_see_it(tmp_path: Path) -> None:
    model = stack()
    before = model.to_json()
    inputs = np.ones((2, 4), "float32")
    wanted = model.predict(inputs, verbose=0)
    recomputation = recompute(repeated_blocks(model))
    assert model.to_json() == before
    np.testing.assert_array_equal(model.predict(inputs, verbose=0), wanted)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "w.weights.h5")
    recomputation.restore()
    recomputation.restore()  # the second time does nothing
    assert all("call" not in vars(block) for block in repeated_blocks(model))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), wanted)
    other = stack()
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.predict(inputs, verbose=0), wanted)


def test_the_stack_of_encoder_layers_is_found() -> None:
    assert [block.name for block in repeated_blocks(bert())] == [f"transformer_layer_{number}" for number in range(3)]


def test_what_cannot_be_recomputed_is_refused() -> None:
    class Silent(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    class Costly(keras.layers.Layer):
        def call(self, inputs: Any, training: bool | None = None) -> Any:
            self.add_loss(tf.reduce_sum(inputs))
            return inputs

    with pytest.raises(ConfigError, match="not built"):
        recompute([keras.layers.Dropout(0.1), Block()])
    silent, costly, block = Silent(), Costly(), Block()
    for layer in (silent, costly, block):
        layer(tf.ones((2, 4)))
    with pytest.raises(ConfigError, match="no argument `training`"):
        recompute([silent])
    with recompute([costly]), pytest.raises(ConfigError, match="adds losses"):
        costly(tf.ones((2, 4)), training=True)
    with recompute([block]), pytest.raises(ConfigError, match="already"):
        recompute([block])
    inputs = keras.Input((4,))
    with pytest.raises(ConfigError, match="has none"):
        repeated_blocks(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


MEMORY = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, tensorflow as tf
from allocations import peak_allocated
from tfft.layers.recompute import recompute
class Wide(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = keras.layers.Dense(2048, activation="gelu"), keras.layers.Dense(8)
        self.drop = keras.layers.Dropout(0.1, seed=1)
    def build(self, shape):
        self.inner.build(shape), self.outer.build((None, 2048))
    def call(self, x, training=None):
        return x + self.outer(self.drop(self.inner(x), training=training))
hidden = inputs = keras.Input((8,), batch_size=2048)
blocks = [Wide() for _ in range(6)]
for block in blocks:
    hidden = block(hidden)
model = keras.Model(inputs, hidden)
values, others = ([tf.convert_to_tensor(v.value) for v in vs]
                  for vs in (model.trainable_variables, model.non_trainable_variables))
given = (values, others, tf.ones((2048, 8)))
for jit in (False, True):
    for chosen in (blocks, []):
        def loss_and_gradients(values, others, x):
            with tf.GradientTape() as tape:
                tape.watch(values)
                loss = tf.reduce_sum(model.stateless_call(values, others, x, training=True)[0])
            return tape.gradient(loss, values)
        with recompute(chosen):
            traced = tf.function(loss_and_gradients, jit_compile=jit, autograph=False).get_concrete_function(*given)
        if jit:
            traced(*given)
        else:
            print(peak_allocated(traced, tf.nest.flatten(given)))
"""


def test_the_memory_of_a_step_falls(project: Path, tmp_path: Path) -> None:
    """A compiler that merged the second pass with the first would keep everything; this is what it would show in.

    Bytes are those that TensorFlow's allocator records, and those that XLA reserves: the same on every machine.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (project, project / "tests"))),
        "XLA_FLAGS": f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=.*loss_and_gradients.*",
    }
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    allocated = [int(line) for line in done.stdout.split()]
    reports = [path.read_text("utf-8") for path in sorted(tmp_path.glob("*memory-usage-report.txt"))]
    reserved = [int(report.partition("Total bytes used: ")[2].split()[0]) for report in reports]
    # A tensor inside a block has 16 MiB (2048 x 2048 float32). Without, each of the five blocks that are not at work
    # keeps at least what GELU was given and what it gave.
    for recomputed, plain in (allocated, reserved):
        assert plain - recomputed > 5 * 2 * 16 * 2**20, (allocated, reserved)
