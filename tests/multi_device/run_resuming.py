"""Run by test_chosen_checkpoint: one of two workers, which opens the checkpoints of several interrupted runs in turn.

Arguments: folder in which each run has a folder, and in it one for each worker (`0`, `1`), or one for both (`shared`).
Prints a JSON object: name of the run to the step that is gone on from, 0 for none, or to the error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import TfftError
from tfft.distribute.plan import resolve
from tfft.training.checkpoint import CheckpointStore
from tfft.training.resuming import open_checkpoints

#: The chief comes so many seconds late: a worker that does not wait for it has looked by then.
LATE = 1.0


def main() -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    plan = resolve(False, strategy=strategy)
    console = Console(quiet=True)
    found: dict[str, Any] = {}
    for case in sorted(Path(sys.argv[1]).iterdir()):
        own = next(path for path in (case / "shared", case / str(plan.worker)) if path.is_dir())
        follows = case.name == "worker that was not told" and not plan.is_chief
        kept = {} if follows else {"output_dir": str(own / "run"), "resume": True, "checkpoint_steps": 4}
        config = FitConfig.from_mapping({"task": "text_classification", **kept})
        with contextlib.ExitStack() as held:
            if plan.is_chief:
                time.sleep(LATE)
                if case.name == "chief that fails":
                    held.enter_context(CheckpointStore(own / "run.checkpoints", 2, console))
            try:
                with open_checkpoints(config, {}, plan, console) as checkpoints:
                    resumed = checkpoints.resumed
                    found[case.name] = 0 if resumed is None else [resumed[1]["step"], float(resumed[0]["value"])]
            except TfftError as error:
                found[case.name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found), flush=True)
    os._exit(0)  # TensorFlow would wait for the other worker


if __name__ == "__main__":
    main()
