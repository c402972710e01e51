"""The batch at which training went astray, written where it can be looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tfft.core.errors import ArtifactError, row_list
from tfft.core.files import atomic_directory


def write_diverged(
    path: Path,
    *,
    step: int,
    epoch: int,
    rows: Sequence[int],
    texts: Sequence[str] | None,
    targets: Any,
    inputs: Mapping[str, np.ndarray],
    loss: float,
    norm: float,
    learning_rate: float | None = None,
) -> str:
    """Writes the batch of a step whose loss or gradient is not finite, and returns what to say about it.

    `path` becomes a directory with `batch.json` and the model's inputs in `batch.safetensors`, or is replaced by it. A
    failure to write it is part of what is said: it must not hide that training diverged.

    Args:
        path: The directory to write.
        step: Number of the step in the run, from 1.
        epoch: Number of the epoch, from 1.
        rows: Row numbers, as the user counts them.
        texts: Their texts; None when rows are no texts.
        targets: Their targets, as plain data.
        inputs: What the model was given.
        loss: The loss of the batch.
        norm: The norm of its gradient, before clipping.
        learning_rate: The rate of the step.

    Returns:
        The message of a `TrainingError`.
    """
    document = {
        "step": step,
        "epoch": epoch,
        "loss": _figure(loss),
        "gradient_norm": _figure(norm),
        "learning_rate": None if learning_rate is None else _figure(learning_rate),
        "rows": [int(row) for row in rows],
        "texts": None if texts is None else list(texts),
        "targets": targets,
    }
    try:
        with atomic_directory(path, overwrite=True) as folder:
            # Escaped: texts may hold half a surrogate pair.
            (folder / "batch.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
            save_file({name: _storable(array) for name, array in inputs.items()}, folder / "batch.safetensors")
        where = f"The batch is in {path}"
    except (ArtifactError, SafetensorError, TypeError, ValueError) as error:
        where = f"The batch could not be written to {path} ({str(error).rstrip('.')})"
    what = f"training loss became {loss}" if not math.isfinite(loss) else f"norm of the gradient became {norm}"
    rate = "" if learning_rate is None else f", learning rate {learning_rate:.3g}"
    return (
        f"The {what} at step {step} (epoch {epoch}{rate}). {where}: {row_list([int(row) for row in rows])}. Lower "
        "learning_rate, raise warmup_fraction or set a smaller clip_norm; if the same rows do it again, look at them."
    )


def _figure(value: float) -> float | str:
    """Returns a number, or its name when it is not finite: NaN is no JSON."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _storable(array: np.ndarray) -> Any:
    array = np.asarray(array, order="C")
    # Types that NumPy lacks, such as bfloat16, are widened, which is exact.
    return array if array.dtype.kind in "biuf" and array.dtype.isbuiltin == 1 else array.astype(np.float32)
