"""The batch at which training diverged: what is written, what is said, and that a full disk hides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import tfft
from tfft.core.errors import TrainingError
from tfft.training.diverged import write_diverged

IDS = np.arange(12, dtype=np.int32).reshape(3, 4)


def batch(**changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "step": 7,
        "epoch": 2,
        "rows": np.array([4, 9, 23]),
        "texts": ["fine", "caf\ud800", "日本"],
        "targets": [0, 1, 1],
        "inputs": {"token_ids": IDS, "transposed": IDS.T, "audio": IDS.astype(ml_dtypes.bfloat16)},
        "loss": float("nan"),
        "norm": float("inf"),
        "learning_rate": 5e-5,
    }
    return {**given, **changed}


def test_the_batch_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.diverged"
    said = write_diverged(path, **batch())
    assert json.loads((path / "batch.json").read_text("utf-8"), parse_constant=pytest.fail) == {
        "step": 7,
        "epoch": 2,
        "loss": "nan",
        "gradient_norm": "inf",
        "learning_rate": 5e-5,
        "rows": [4, 9, 23],
        "texts": ["fine", "caf\ud800", "日本"],
        "targets": [0, 1, 1],
    }
    inputs = load_file(path / "batch.safetensors")
    assert inputs["token_ids"].dtype == np.int32
    np.testing.assert_array_equal(inputs["token_ids"], IDS)
    np.testing.assert_array_equal(inputs["transposed"], IDS.T)
    np.testing.assert_array_equal(inputs["audio"], IDS.astype(np.float32))
    assert "\n" not in said
    for part in ("training loss became nan at step 7 (epoch 2, learning rate 5e-05)", str(path), "rows 4, 9, 23"):
        assert part in said


def test_a_batch_of_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    write_diverged(tmp_path / "d", **batch(step=1))
    write_diverged(tmp_path / "d", **batch(step=2))
    assert json.loads((tmp_path / "d" / "batch.json").read_text())["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]


def test_rows_without_texts_and_a_finite_loss(tmp_path: Path) -> None:
    said = write_diverged(tmp_path / "d", **batch(texts=None, loss=0.5, targets=np.eye(3).tolist(), learning_rate=None))
    document = json.loads((tmp_path / "d" / "batch.json").read_text())
    assert document["texts"] is None
    assert document["loss"] == 0.5
    assert document["targets"] == np.eye(3).tolist()
    assert "The norm of the gradient became inf at step 7 (epoch 2)." in said


def test_what_cannot_be_written_is_part_of_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = write_diverged(tmp_path / "file", **batch())
    assert "training loss became nan" in said
    assert "could not be written" in said
    assert "is a file" in said
    said = write_diverged(tmp_path / "strings", **batch(inputs={"text": np.array(["a"], object)}))
    assert "could not be written" in said
    assert not (tmp_path / "strings").exists()


class Poison(keras.callbacks.Callback):
    """Makes a weight infinite before a step, counted from 0."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step, self._taken = step, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._taken == self._step:
            weight = self.model.trainable_variables[0]
            weight.assign(np.full(weight.shape, np.inf))
        self._taken += 1


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_learning_rate_is_that_of_the_step(
    opinions: pd.DataFrame, options: dict[str, Any], tmp_path: Path, precision: str
) -> None:
    """48 rows in batches of 8, 4 epochs: 24 steps, of which the first 6 warm up. Loss scaling skips the step."""
    step, total, warmup = 10, 24, 6
    given = {**options, "freeze": "backbone", "warmup_fraction": warmup / total, "precision": precision}
    with pytest.raises(TrainingError, match=f"at step {step + 1}"):
        tfft.fit(opinions, callbacks=[Poison(step)], output_dir=str(tmp_path / "run"), quiet=True, **given)
    batch = json.loads((tmp_path / "run.diverged" / "batch.json").read_text("utf-8"))
    expected = options["learning_rate"] * (1 - (step - warmup) / (total - warmup))
    assert batch["learning_rate"] == pytest.approx(expected, rel=1e-5)
