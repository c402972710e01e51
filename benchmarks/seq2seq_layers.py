"""A training step of an LSTM encoder-decoder with attention: tfft's layers beside the equal PyTorch model.

Embeddings of 256, a bidirectional encoder layer and a decoder layer of 256, Luong's general attention, a vocabulary of
8,000, label smoothing 0.1; forward pass, loss, backward pass and Adam on the same made-up tokens. One thread each, on
one core, in turns, so that both see the same machine. With `--padding 0.5`, lengths are drawn from half of the full
length upwards, and figures count real target tokens.

    python benchmarks/seq2seq_layers.py --reference-python PATH [--rounds 5] [--padding 0] [--target FILE]

PATH is the interpreter of an environment with requirements-reference.txt; without it only TensorFlow is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

DIM, VOCABULARY, BATCH, LENGTH, SMOOTHING, RATE = 256, 8_000, 64, 20, 0.1, 1e-3
WARM_UP, STEPS = 4, 12
KINDS = ("tfft", "tfft, input feeding", "tfft around keras.layers.LSTM", "torch")


def batch(padding: float) -> dict[str, np.ndarray]:
    """Makes tokens: ids of sources, of targets, and of what stands before each target; and which of them are real."""
    random = np.random.default_rng(0)
    source, targets, before = random.integers(1, VOCABULARY, size=(3, BATCH, LENGTH)).astype(np.int32)
    lengths = random.integers(round(LENGTH * (1 - padding)), LENGTH + 1, size=(2, BATCH, 1))
    masks = np.arange(LENGTH) < lengths
    return {"source": source, "targets": targets, "before": before, "source_mask": masks[0], "mask": masks[1]}


def tensorflow_step(data: dict[str, np.ndarray], kind: str) -> Callable[[], float]:
    """Returns a training step of the layers of tfft."""
    import keras
    import tensorflow as tf

    from tfft.layers.lstm_decoder import LstmDecoder
    from tfft.layers.lstm_encoder import LstmEncoder
    from tfft.layers.vocabulary_projection import VocabularyProjection
    from tfft.training.native_adam import NativeAdam

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    class Adam(NativeAdam, keras.optimizers.Adam):
        pass

    tables = [keras.layers.Embedding(VOCABULARY, DIM) for _ in range(2)]
    encoder = LstmEncoder(DIM, seed=0)
    decoder = LstmDecoder(DIM, input_feeding="feeding" in kind, seed=1)
    projection = VocabularyProjection(VOCABULARY, label_smoothing=SMOOTHING, seed=2)
    for table in tables:
        table.build()
    for layer in (encoder, projection):
        layer.build((None, None, DIM))
    decoder.build((None, None, DIM), None, (None, None, DIM))
    layers = [*tables, encoder, decoder, projection]
    variables = [variable for layer in layers for variable in layer.trainable_variables]
    if "keras" in kind:
        replaced = {id(variable) for lstm in (*encoder.lstms, *decoder.lstms) for variable in lstm.variables}
        variables = [variable for variable in variables if id(variable) not in replaced]
        encoder.lstms = [around_keras(lstm) for lstm in encoder.lstms]
        decoder.lstms = [around_keras(lstm) for lstm in decoder.lstms]
        variables += [weight for call in (*encoder.lstms, *decoder.lstms) for weight in call.trainable_variables]
    optimizer = Adam(RATE)
    optimizer.build(variables)

    @tf.function(
        input_signature=[{name: tf.TensorSpec((None, None), tf.bool if "mask" in name else tf.int32) for name in data}],
        autograph=False,
    )
    def step(rows: dict[str, Any]) -> Any:
        with tf.GradientTape() as tape:
            values, states = encoder(tables[0](rows["source"]), mask=rows["source_mask"], training=True)
            hidden = decoder(tables[1](rows["before"]), states, values, mask=rows["source_mask"], training=True)
            losses = projection.row_losses(hidden, rows["targets"], rows["mask"])
            loss = tf.reduce_sum(losses) / tf.reduce_sum(tf.cast(rows["mask"], tf.float32))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)
        return loss

    rows = {name: tf.constant(values) for name, values in data.items()}
    return lambda: float(step(rows))


def around_keras(lstm: Any) -> Callable[..., Any]:
    """Returns what calls Keras' LSTM as one of tfft's is called."""
    import keras
    import tensorflow as tf

    backwards = lstm.go_backwards
    layer = keras.layers.LSTM(lstm.units, return_sequences=True, return_state=True, go_backwards=backwards)
    layer.build((None, None, DIM))

    def call(inputs: Any, mask: Any = None, initial_state: Any = None, training: bool = False) -> Any:
        states = None if initial_state is None else list(initial_state)
        outputs, *last = layer(inputs, mask=mask, initial_state=states, training=training)
        return (tf.reverse(outputs, [1]) if backwards else outputs), *last

    call.trainable_variables = layer.trainable_variables  # type: ignore[attr-defined]
    return call


def torch_step(data: dict[str, np.ndarray]) -> Callable[[], float]:
    """Returns a training step of the same model in PyTorch, as its users write it."""
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = nn.ModuleList(nn.Embedding(VOCABULARY, DIM) for _ in range(2))
            self.encoder = nn.LSTM(DIM, DIM // 2, batch_first=True, bidirectional=True)
            self.bridges = nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(2))
            self.decoder = nn.LSTM(DIM, DIM, batch_first=True)
            self.keys = nn.Linear(DIM, DIM, bias=False)
            self.combine = nn.Linear(2 * DIM, DIM, bias=False)
            self.projection = nn.Linear(DIM, VOCABULARY)

        def forward(self, rows: dict[str, Any]) -> Any:
            embedded, mask = self.tables[0](rows["source"]), rows["source_mask"]
            if mask.all():
                values, last = self.encoder(embedded)
            else:
                packed = pack_padded_sequence(embedded, mask.sum(1), batch_first=True, enforce_sorted=False)
                values, last = self.encoder(packed)
                values, _ = pad_packed_sequence(values, batch_first=True, total_length=mask.shape[1])
            state = tuple(
                torch.tanh(bridge(torch.cat([part[0], part[1]], dim=-1)))[None]
                for bridge, part in zip(self.bridges, last, strict=True)
            )
            hidden, _ = self.decoder(self.tables[1](rows["before"]), state)
            scores = hidden @ self.keys(values).transpose(1, 2)
            weights = torch.softmax(scores.masked_fill(~mask[:, None], -torch.inf), dim=-1)
            hidden = torch.tanh(self.combine(torch.cat([weights @ values, hidden], dim=-1)))
            real = rows["mask"]
            return nn.functional.cross_entropy(
                self.projection(hidden[real]), rows["targets"][real].long(), label_smoothing=SMOOTHING
            )

    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    rows = {name: torch.from_numpy(values) for name, values in data.items()}

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = model(rows)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def one(kind: str, padding: float) -> dict[str, Any]:
    """Measures one kind, in a process of its own."""
    data = batch(padding)
    step = torch_step(data) if kind == "torch" else tensorflow_step(data, kind)
    losses, seconds = [], []
    for _ in range(WARM_UP + STEPS):
        begun = time.process_time()
        losses.append(step())
        seconds.append(time.process_time() - begun)
    tokens = int(data["mask"].sum())
    return {
        "tokens_per_cpu_second": round(tokens / statistics.median(seconds[WARM_UP:])),
        "first_loss": round(losses[0], 3),
        "last_loss": round(losses[-1], 3),
    }


def main() -> None:
    """Measures all kinds in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference-python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--padding", type=float, default=0.0)
    parser.add_argument("--core", default="0")
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("seq2seq-layers-cpu.json"))
    parser.add_argument("--one", choices=KINDS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.padding)))
        return
    kinds = [kind for kind in KINDS if kind != "torch" or options.reference_python]
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind in kinds:
            python = options.reference_python if kind == "torch" else sys.executable
            command = [python, __file__, "--one", kind, "--padding", str(options.padding)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                ["taskset", "-c", options.core, *command],  # noqa: S607
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
            print(kind, found[kind][-1], flush=True)
    middle = {kind: statistics.median(run["tokens_per_cpu_second"] for run in runs) for kind, runs in found.items()}
    document = {
        "machine": platform.processor() or platform.machine(),
        "padding": options.padding,
        "rounds": found,
        "median_tokens_per_cpu_second": middle,
        "ratio_of_tfft": {kind: round(middle["tfft"] / rate, 3) for kind, rate in middle.items() if kind != "tfft"},
    }
    options.target.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(json.dumps(document["ratio_of_tfft"]))


if __name__ == "__main__":
    main()
