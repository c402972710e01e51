"""Run by test_multi_worker: one worker of a run that several processes share, named by TF_CONFIG; or one alone.

Arguments: folder for the findings, preset without dropout, data file, "yes" to resume. At the end the folder has
`found-<worker>.npz`; errors of tfft are printed as one line and end the process with status 3.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfft
from tfft.core.errors import TfftError

FAILED = 3
#: 48 rows in batches of 10: 5 steps an epoch, the last of 8 rows.
OPTIONS: dict[str, Any] = {
    "task": "text_classification",
    "baselines": False,
    "quiet": True,
    "epochs": 4,
    "batch_size": 10,
    "micro_batch_size": 3,
    "learning_rate": 5e-3,
    "dropout": 0.0,
    "ema": 0.9,
    "gradient_noise": 1e-4,
    "class_weights": {"good": 2.0},
    "checkpoint_steps": 4,
}


class StepLosses(keras.callbacks.Callback):
    """Keeps the loss of the epoch so far after each step, and tells the test how far the worker is."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._path = path

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(f"step {len(self.losses)}\n")


def main() -> None:
    folder, preset, data, resume = Path(sys.argv[1]), *sys.argv[2:]
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}"))
    worker = cluster["task"]["index"] if cluster else 0
    # Before the metric, whose variables would start TensorFlow without the cluster.
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if cluster else "auto"
    seen = StepLosses(folder / f"events-{worker}.txt")
    try:
        model = tfft.fit(
            data,
            preset=preset,
            output_dir=str(folder / "run"),
            resume=resume == "yes",
            strategy=strategy,
            callbacks=[seen],
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="hits")],
            **OPTIONS,
        )
    except TfftError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(FAILED)
    weights = np.concatenate([np.asarray(weight).ravel() for weight in model.keras_model.get_weights()])
    history = {f"history/{name}": np.array(values) for name, values in model.history.items()}
    figures = np.array(list(model.report.after.scalars().values()))
    np.savez(folder / f"found-{worker}.npz", losses=seen.losses, weights=weights, figures=figures, **history)


if __name__ == "__main__":
    main()
