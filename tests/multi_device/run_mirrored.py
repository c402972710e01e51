"""Run in a process of its own by test_mirrored: the same runs on one device and on two and three replicas.

Arguments: folder for the findings, half of the runs (exact or other), presets without and with dropout, data file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import token_steps

import tfft
from tfft.tasks.base import tasks

BATCH = 10
#: Everything of the loop that could tell replicas from micro-batches. 48 rows in batches of 10: 5 steps an epoch.
EVERYTHING: dict[str, Any] = {
    "epochs": 4,
    "batch_size": BATCH,
    "micro_batch_size": 2,
    "learning_rate": 5e-3,
    "weight_decay": 0.05,
    "clip_norm": 0.5,
    "ema": 0.9,
    "class_weights": {"good": 2.0},
    "dropout": 0.0,
    "patience": 3,
    "batching": "bucketed",
    "num_buckets": 2,
}


class StepLosses(keras.callbacks.Callback):
    """Keeps the loss of the epoch so far after each step, and breaks off after a number of steps."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.drifted: list[str] = []
        self._is_last: Callable[[int], bool] = lambda step: step == last  # a function: no checkpoint brings it back

    def on_train_end(self, logs: Any = None) -> None:
        """Notes which variables are not the same on all replicas."""
        strategy = self.model.distribute_strategy
        for variable in [*self.model.variables, *self.model.optimizer.variables]:
            copies = [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]
            if not all(np.array_equal(copies[0], copy) for copy in copies):
                self.drifted.append(variable.path)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])
        if self._is_last(len(self.losses)):
            raise InterruptedError


class Findings:
    """Arrays by name, for the test to compare."""

    def __init__(self, folder: Path) -> None:
        self.arrays: dict[str, Any] = {}
        self._folder = folder

    def fit(self, name: str, data: Any, *, last: int | None = None, **options: Any) -> tfft.FineTunedModel:
        """Runs `tfft.fit` and keeps losses, history and final weights."""
        started = time.process_time()
        seen = StepLosses(last)
        given = {"task": "text_classification", "baselines": False, "quiet": True, **options}
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="hits")] if "task" not in options else []
        model = tfft.fit(data, callbacks=[seen], metrics=metrics, **given)
        self.arrays[f"{name}/losses"] = np.array(seen.losses)
        self.arrays[f"{name}/weights"] = flat_weights(model.keras_model)
        self.arrays[f"{name}/drifted"] = np.array(seen.drifted, dtype=str)
        self.arrays.update({f"{name}/history/{key}": np.array(values) for key, values in model.history.items()})
        print(f"{name}: {time.process_time() - started:.1f} CPU-seconds", file=sys.stderr)
        return model

    def save(self) -> None:
        """Writes the arrays."""
        np.savez(self._folder / "found.npz", **self.arrays)


def flat_weights(model: keras.Model) -> np.ndarray:
    """Returns all weights as one vector."""
    return np.concatenate([np.asarray(weight).ravel() for weight in model.get_weights()])


def main() -> None:
    folder, part, still, lively, data, *names = Path(sys.argv[1]), *sys.argv[2:]
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
    )
    findings = Findings(folder)
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    everything = {**EVERYTHING, "preset": still}
    if part == "exact":
        findings.fit("one", data, strategy="one_device", **everything)
        trained = findings.fit("two", data, strategy=two, **everything)
        interrupted(findings, data, {**everything, "strategy": two, "output_dir": str(folder / "run")})
        used(findings, trained, data, folder)
        dropout = {"preset": lively, "dropout": 0.2, "batch_size": 8, "epochs": 2, "learning_rate": 5e-3}
        findings.fit("masks of micro-batches", data, strategy="one_device", micro_batch_size=4, **dropout)
        findings.fit("masks of replicas", data, strategy=two, **dropout)
        packed = {"preset": still, "dropout": 0.0, "packing": True, "batch_size": BATCH, "epochs": 2}
        findings.fit("packed, one", data, strategy="one_device", learning_rate=5e-3, **packed)
        findings.fit("packed, two", data, strategy=two, learning_rate=5e-3, **packed)
        for micro in (1, 2, 3, None):
            losses, table = token_steps.in_steps(token_steps.initial_table(), micro, two)
            findings.arrays.update({f"tokens/{micro}/losses": np.array(losses), f"tokens/{micro}/table": table})
    else:
        # TensorFlow's collectives know one group of devices a process: a second strategy has to add up another way.
        one_by_one = tf.distribute.ReductionToOneDevice()
        three = tf.distribute.MirroredStrategy([f"CPU:{place}" for place in range(3)], cross_device_ops=one_by_one)
        findings.fit("one", data, strategy="one_device", **everything)
        findings.fit("three", data, strategy=three, **everything)
        findings.fit("jit", data, strategy=two, jit_compile=True, **everything)
        for precision in ("mixed_float16", "mixed_bfloat16"):
            findings.fit(precision, data, strategy=two, precision=precision, **{**everything, "epochs": 1})
    for name in names:
        alike = {
            "task": name,
            **tasks.get(name).sample_options(),
            "preset": still,
            "dropout": 0.0,
            "batch_size": BATCH,
            "learning_rate": 5e-3,
        }
        sample = tasks.get(name).sample_data()
        findings.fit(f"{name}, one", sample, strategy="one_device", epochs=1, **alike)
        findings.fit(f"{name}, two", sample, strategy=two, micro_batch_size=3, epochs=1, **alike)
    if part != "exact":
        pairs = {"task": "masked_language_modeling", "sentence_objective": "sentence_order", "preset": still}
        pairs |= {"dropout": 0.0, "batch_size": BATCH, "learning_rate": 5e-3, "epochs": 1}
        findings.fit("pairs, one", documents(), strategy="one_device", **pairs)
        findings.fit("pairs, two", documents(), strategy=two, micro_batch_size=3, **pairs)
    findings.save()


def documents() -> pd.DataFrame:
    """Returns 60 documents of one to four sentences."""
    sample = tasks.get("masked_language_modeling").sample_data()["text"]
    texts = sample.sample(240, replace=True, random_state=0).tolist()
    return pd.DataFrame({"text": [". ".join(texts[place : place + 1 + place % 5]) for place in range(0, 240, 4)]})


def interrupted(findings: Findings, data: str, options: dict[str, Any]) -> None:
    """Breaks a run of two replicas off, and resumes it."""
    try:
        findings.fit("broken off", data, last=13, checkpoint_steps=4, **options)
    except InterruptedError:
        findings.fit("resumed", data, checkpoint_steps=4, resume=True, **options)


def used(findings: Findings, model: tfft.FineTunedModel, data: str, folder: Path) -> None:
    """Uses a model that was trained on two replicas."""
    texts = ["the film was wonderful", "a dull plot", "the cast"]
    findings.arrays["used/outputs"] = model.outputs(texts)
    findings.arrays["used/accuracy"] = np.array(model.evaluate(data)["accuracy"])
    model.save(folder / "saved")
    findings.arrays["used/loaded"] = tfft.load(folder / "saved", quiet=True).outputs(texts)
    exported = tf.saved_model.load(str(model.export(folder / "exported")))
    findings.arrays["used/exported"] = np.array(sorted(exported.signatures))
    inputs = {name: np.tile(np.arange(2, 8, dtype=np.int32), (4, 1)) for name in model.keras_model.input}
    inputs = {name: np.ones_like(value) if "mask" in name else value for name, value in inputs.items()}
    inputs = {name: np.zeros_like(value) if "segment" in name else value for name, value in inputs.items()}
    history = model.keras_model.fit(inputs, np.array([0, 1, 0, 1]), epochs=2, batch_size=4, verbose=0)
    findings.arrays["used/keras losses"] = np.array(history.history["loss"])


if __name__ == "__main__":
    main()
