"""One process of a test of `tfft.fit` over parameter servers; each kind of process runs this same program.

Arguments: folder for the findings, preset, data file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tfft

#: Everything of the loop that could tell shards from one batch; 48 rows in batches of 10: a short last batch.
EVERYTHING: dict[str, Any] = {
    "task": "text_classification",
    "baselines": False,
    "epochs": 2,
    "batch_size": 10,
    "micro_batch_size": 3,
    "learning_rate": 5e-3,
    "weight_decay": 0.05,
    "clip_norm": 0.5,
    "ema": 0.9,
    "class_weights": {"good": 2.0},
    "dropout": 0.0,
    "batching": "bucketed",
    "num_buckets": 2,
}
#: The run that is broken off: after this step, checkpoints every other step.
BREAK = 7


class Steps(keras.callbacks.Callback):
    """Keeps the loss of the epoch so far after each step, and breaks off after one of them."""

    def __init__(self, last: int | None) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._is_last: Callable[[int], bool] = lambda step: step == last

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])
        if self._is_last(len(self.losses)):
            raise InterruptedError


class Findings:
    """Arrays by name, for the test to compare."""

    def __init__(self, data: str, options: dict[str, Any]) -> None:
        self.arrays: dict[str, Any] = {}
        self._data = data
        self._options = options

    def fit(self, name: str, *, last: int | None = None, **options: Any) -> tfft.FineTunedModel:
        """Runs `tfft.fit` and keeps losses, history and final weights."""
        steps, started = Steps(last), time.monotonic()
        metric = keras.metrics.SparseCategoricalAccuracy(name="hits")
        model = tfft.fit(self._data, callbacks=[steps], metrics=[metric], **{**self._options, **options})
        self.arrays[f"{name}/losses"] = np.array(steps.losses)
        weights = [np.asarray(weight).ravel() for weight in model.keras_model.get_weights()]
        self.arrays[f"{name}/weights"] = np.concatenate(weights)
        self.arrays.update({f"{name}/history/{key}": np.array(values) for key, values in model.history.items()})
        self.arrays[f"{name}/outputs"] = model.outputs(["the film was wonderful", "a dull plot"])
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        return model


def main() -> None:
    folder, preset, data = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    tfft.plan()  # connects, so that metrics can be made; workers and ps never return from here
    findings = Findings(data, {**EVERYTHING, "preset": preset})
    served = findings.fit("served")
    where = {variable.value.device for variable in served.keras_model.variables}
    findings.arrays["devices"] = np.array(sorted(where))
    served.save(folder / "saved")
    findings.arrays["loaded/outputs"] = tfft.load(folder / "saved", quiet=True).outputs(
        ["the film was wonderful", "a dull plot"]
    )
    findings.fit("alone", strategy="one_device")
    kept: dict[str, Any] = {"output_dir": str(folder / "run"), "checkpoint_steps": 2}
    try:
        findings.fit("broken off", last=BREAK, **kept)
    except InterruptedError:
        findings.fit("resumed", resume=True, **kept)
    findings.fit("compiled", jit_compile=True, epochs=1)
    findings.fit("compiled alone", strategy="one_device", epochs=1)
    masks: dict[str, Any] = {"dropout": 0.4, "batch_size": 8, "epochs": 1, "batching": "sorted"}
    findings.fit("masks of workers", **{**masks, "micro_batch_size": None})
    findings.fit("masks of micro-batches", strategy="one_device", **{**masks, "micro_batch_size": 4})
    np.savez(folder / "found.npz", **findings.arrays)


if __name__ == "__main__":
    main()
