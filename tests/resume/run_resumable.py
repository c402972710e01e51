"""Run in a process of its own by test_exact_resume: training runs, each from whatever is there to its end.

In the folder of a run are `reviews.csv`, its directories, and `events.txt`, to which each event of the loop adds a
line, so that the test knows when to kill.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tfft
from tfft.launching import prepare_tensorflow

CHECKPOINT_STEPS = 3
#: Whatever has a state or draws random numbers, all at once.
EVERYTHING: dict[str, Any] = {
    "task": "text_classification",
    "baselines": False,
    "epochs": 6,
    "batch_size": 8,
    "micro_batch_size": 3,
    "learning_rate": 1e-2,
    "learning_rates": {"head": 2e-2},
    "schedule": "cosine",
    "dropout": 0.2,
    "ema": 0.8,
    "gradient_noise": 1e-4,
    "resample": "oversample",
    "augment": {"random_swap": 0.5, "token_cutoff": 0.5},
    "patience": 5,
    "class_weights": {"good": 2.0},
}
#: AdaLoRA chooses by averages over all steps so far, up to 8 steps before the end, whose weights are kept.
ADALORA: dict[str, Any] = {
    "validation_fraction": 0.0,
    "patience": None,
    "peft": {
        "method": "adalora",
        "initial_rank": 4,
        "target_rank": 1,
        "dropout": 0.1,
        "tinit": 4,
        "tfinal": 8,
        "delta_t": 2,
    },
}


class Events(keras.callbacks.Callback):
    """Tells the test how far the run is, and keeps a state of its own: every loss it has seen."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.smallest = np.array(np.inf)
        self._path = path

    def _tell(self, event: str) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(f"{event}\n")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])
        self.smallest = np.minimum(self.smallest, logs["loss"])
        self._tell(f"step {len(self.losses)}")

    def on_test_begin(self, logs: Any = None) -> None:
        self._tell(f"validation {len(self.losses)}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._tell(f"epoch {len(self.losses)}")


def main() -> None:
    """Forks a process for each line `<folder> <preset> <writes> <adalora>` of the input: imports are paid for once."""
    prepare_tensorflow()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            train(*line.split())
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def train(folder: str, preset: str, writes: str, adalora: str) -> None:
    """Runs `tfft.fit` and keeps all that it gives; `writes` and `adalora` are "yes" or "no"."""
    events = Events(Path(folder) / "events.txt")
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=1.0, factor=0.7)
    kept = {"output_dir": f"{folder}/run", "checkpoint_steps": CHECKPOINT_STEPS, "resume": True}
    model = tfft.fit(
        f"{folder}/reviews.csv",
        preset=preset,
        callbacks=[events, plateau],
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="hits")],
        **(kept if writes == "yes" else {}),
        **(EVERYTHING | (ADALORA if adalora == "yes" else {})),
    )
    np.savez(f"{folder}/weights.npz", *map(np.asarray, model.keras_model.get_weights()))
    found = {
        "history": model.history,
        "best epoch": model.record.best_epoch,
        "report": [model.report.before.scalars(), model.report.after.scalars()],
        "augmented": model.record.plan["augmented"],
        "losses seen by a callback": events.losses,
        "smallest of them": float(events.smallest),
        "plateau": [plateau.wait, plateau.best],
    }
    Path(folder, "found.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
