"""Checking an export by loading it anew, in a process that knows nothing of the training."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfft.core.errors import ExportError
from tfft.export.base import Exportable

#: Largest difference between a served number and what `predict` says; where predictions spread over more than 1, as
#: numbers in the units of some data do, this share of their spread.
TOLERANCE = 1e-4
#: Texts that break tokenizers, put beside the held-out ones.
_UNPLEASANT = ("", " ", "a", "naïve café — 東京 🙂", "x" * 300, "many words " * 600)


def verify(folder: Path, exportable: Exportable) -> float:
    """Compares an exported SavedModel with the trained model.

    Args:
        folder: The SavedModel.
        exportable: The trained model and held-out texts.

    Returns:
        The largest difference of any number.

    Raises:
        ExportError: When it does not load, or differs by more than `TOLERANCE`, or in any string.
    """
    inputs = [*exportable.held_out, *exportable.task.unpleasant(_UNPLEASANT)]
    expected = exportable.expected(inputs)
    largest = 0.0
    for loader, parts in _answers(folder, exportable.task.serving_inputs(inputs)).items():
        for outputs in parts:
            if sorted(outputs) != sorted(expected):
                raise ExportError(f"The export answers {sorted(outputs)} instead of {sorted(expected)} ({loader}).")
        for name, values in expected.items():
            served = _joined([np.array(outputs[name], dtype=values.dtype) for outputs in parts])
            largest = max(largest, _difference(name, served, _flat(values), loader))
    return largest


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Puts the answers to several requests together: where lists are as long as the longest one, that differs."""
    parts = [_flat(part) for part in parts]
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    filled = [np.full((len(part), width), "" if part.dtype == object else 0, part.dtype) for part in parts]
    for target, part in zip(filled, parts, strict=True):
        target[:, : part.shape[1]] = part
    return np.concatenate(filled)


def _flat(values: np.ndarray) -> np.ndarray:
    """Returns what is said of each row as one list."""
    return values.reshape(len(values), math.prod(values.shape[1:])) if values.ndim > 1 else values


def _difference(name: str, served: np.ndarray, expected: np.ndarray, loader: str) -> float:
    if served.shape != expected.shape:
        raise ExportError(f"The export's {name} has the shape {served.shape}, predict's {expected.shape} ({loader}).")
    if expected.dtype == object:
        wrong = np.flatnonzero((served.astype(object) != expected).reshape(len(expected), -1).any(axis=1))
        if len(wrong):
            raise ExportError(f"The export's {name} differs from predict on {len(wrong)} texts ({loader}).")
        return 0.0
    finite = np.isfinite(expected)
    same = served.astype(np.float64)[finite], expected[finite]  # what is infinite has to be equal
    difference = float(np.abs(same[0] - same[1]).max(initial=0.0))
    difference = difference if np.array_equal(served[~finite], expected[~finite]) else math.inf
    spread = float(np.ptp(same[1])) if expected.dtype.kind == "f" and same[1].size else 0.0
    allowed = TOLERANCE * max(1.0, spread)
    if not difference <= allowed:
        raise ExportError(
            f"The export's {name} differs from predict by {difference:.1e}, more than {allowed:.0e} ({loader}). "
            "The export was removed."
        )
    return difference


def _answers(folder: Path, inputs: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Runs the export in a fresh process; the worker file imports nothing of tfft."""
    worker = Path(__file__).with_name("_verify_worker.py")
    with tempfile.TemporaryDirectory() as scratch:
        question, answer = Path(scratch) / "texts.json", Path(scratch) / "answers.json"
        question.write_text(json.dumps(inputs), "utf-8")
        # -P: the worker's own folder must not shadow anything it imports.
        command = [sys.executable, "-P", str(worker), str(folder), str(question), str(answer)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip() or "no message").splitlines()[-1]
            raise ExportError(f"The export does not load in a fresh process: {reason}. The export was removed.")
        answers: dict[str, list[dict[str, Any]]] = json.loads(answer.read_text("utf-8"))
        return answers
