"""The reference: Hugging Face PEFT, run on the same tiny BERT in an environment of its own (`make test-reference`)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.peft.base import Adapter, Base, PeftConfig, freeze_base, methods

ROOT = Path(__file__).parents[2]
SIZES = {"layers": 2, "heads": 2, "hidden": 16, "intermediate": 32, "words": 30, "positions": 40}
#: Options of `BertConfig` for the same model.
BERT_CONFIG = {
    "vocab_size": SIZES["words"],
    "hidden_size": SIZES["hidden"],
    "num_hidden_layers": SIZES["layers"],
    "num_attention_heads": SIZES["heads"],
    "intermediate_size": SIZES["intermediate"],
    "max_position_embeddings": SIZES["positions"],
    "hidden_act": "gelu_pytorch_tanh",
    "attn_implementation": "eager",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
#: Layers of a block: where they are in KerasHub, and in Hugging Face.
BLOCK = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
#: The layers of the whole model.
LAYERS = {
    "token_embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "segment_embedding": "embeddings.token_type_embeddings",
    "embeddings_layer_norm": "embeddings.LayerNorm",
    **{
        f"transformer_layer_{number}/{ours}": f"encoder.layer.{number}.{theirs}"
        for number in range(SIZES["layers"])
        for ours, theirs in BLOCK.items()
    },
}


def reference_python() -> str:
    """Returns the interpreter of the reference environment."""
    python = os.environ.get("TFFT_REFERENCE_PYTHON", str(ROOT / ".venv/reference/bin/python"))
    if not Path(python).exists():
        pytest.fail(f"{python} does not exist: run `make test-reference`, or set TFFT_REFERENCE_PYTHON.")
    return python


def tiny_bert(seed: int = 0) -> Base:
    """Returns a frozen BERT whose weights are large enough for every part of it to matter, without its pooler."""
    whole = keras_hub.models.BertBackbone(
        vocabulary_size=SIZES["words"],
        num_layers=SIZES["layers"],
        num_heads=SIZES["heads"],
        hidden_dim=SIZES["hidden"],
        intermediate_dim=SIZES["intermediate"],
        max_sequence_length=SIZES["positions"],
        dropout=0.0,
    )
    model = keras.Model(whole.inputs, whole.output["sequence_output"])
    random = np.random.default_rng(seed)
    for variable in model.weights:
        scale = 0.1 if variable.path.endswith(("bias", "beta", "gamma")) else 0.3
        variable.assign(variable.value + random.normal(size=variable.shape) * scale)
    freeze_base(model)
    blocks = tuple(layer for layer in model.layers if layer.name.startswith("transformer_layer_"))
    return Base(model, blocks, SIZES["hidden"])


def batch(seed: int = 1) -> dict[str, np.ndarray]:
    """Returns token ids, a mask with padding in it, and the gradient of a loss by the output."""
    random = np.random.default_rng(seed)
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4], np.int32)
    ids = random.integers(1, SIZES["words"], mask.shape, np.int32)
    probe = random.normal(size=(*mask.shape, SIZES["hidden"])).astype(np.float32) * mask[..., None]
    return {"ids": ids, "mask": mask, "probe": probe.astype(np.float32)}


def hugging_face_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights under Hugging Face's names and in its shapes."""
    found = {}
    for variable in model.weights:
        layer, _, name = variable.path.rpartition("/")
        value = np.array(variable.numpy())
        if "seed_generator" in variable.path or layer not in LAYERS:
            continue
        if name == "kernel":
            value = as_matrix(layer, value).T
        name = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}.get(name, name)
        found[f"{LAYERS[layer]}.{name}"] = value.reshape(-1) if name == "bias" else value
    return found


def as_matrix(layer: str, kernel: np.ndarray) -> np.ndarray:
    """Returns a kernel as a matrix from inputs to outputs."""
    return kernel.reshape((-1, kernel.shape[-1]) if layer.endswith("attention_output") else (kernel.shape[0], -1))


def run_reference(
    base: Base, peft: Mapping[str, Any], adapter: Mapping[str, np.ndarray], **options: Any
) -> dict[str, np.ndarray]:
    """Runs the reference on a base's weights.

    Args:
        base: What `tiny_bert` returned.
        peft: Options of the PEFT config, with `peft_type`.
        adapter: Values of the adapter's parameters, by their names in the reference.
        **options: More of the job; `arrays` go into its arrays.

    Returns:
        What `run_hugging_face.py` says.
    """
    arrays = dict(options.pop("arrays", {}))
    arrays |= {f"base/{name}": value for name, value in hugging_face_weights(base.model).items()}
    arrays |= {f"adapter/{name}": value for name, value in adapter.items()} | batch()
    with tempfile.TemporaryDirectory() as folder:
        job, before, after = (Path(folder) / name for name in ("job.json", "arrays.npz", "results.npz"))
        job.write_text(json.dumps({"model": BERT_CONFIG, "peft": dict(peft), **options}))
        np.savez(before, **arrays)
        script = Path(__file__).with_name("run_hugging_face.py")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
        command = [reference_python(), str(script), str(job), str(before), str(after)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return dict(np.load(after))


def add(base: Base, config: PeftConfig, seed: int = 5, scale: float = 0.2) -> Adapter:
    """Adds a method to a base, and moves its variables off their first values."""
    adapter = methods.get(config.method).add(base, config, name="default", seed=0)
    random = np.random.default_rng(seed)
    for variable in adapter.trainable_variables:
        variable.assign(variable.value + random.normal(size=variable.shape) * scale)
    return adapter


def forward_backward(base: Base, adapter: Adapter) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the output of a base with an adapter, and gradients of `sum(output * probe)` by its variables."""
    data = batch()
    inputs = {"token_ids": data["ids"], "padding_mask": data["mask"], "segment_ids": np.zeros_like(data["ids"])}
    variables = {name: item for name, item in adapter.variables.items() if item.trainable}
    with tf.GradientTape() as tape:
        output = base.model(inputs)
        loss = tf.reduce_sum(output * data["probe"])
    gradients = tape.gradient(loss, [item.value for item in variables.values()])
    dense = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
    return output.numpy(), dict(zip(variables, dense, strict=True))


def check_alike(ours: np.ndarray, theirs: np.ndarray, mask: np.ndarray, what: str) -> None:
    """Compares to 1e-4 of the largest element; `mask` says which rows count."""
    assert ours.shape == theirs.shape, what
    largest = np.abs(theirs[mask]).max()
    assert largest > 0, f"{what}: nothing to compare"
    assert np.abs(ours - theirs)[mask].max() < 1e-4 * max(largest, 1.0), what
