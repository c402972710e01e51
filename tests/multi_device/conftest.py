"""A backbone without dropout, reviews of unlike lengths, and what one process on several logical devices found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from alike_tasks import ALIKE

from tfft.tasks.base import tasks

#: Longest a script may take (seconds), on a busy machine.
PATIENCE = 600
#: Tasks of the fast tier, listed before any test registers one of its own.
OWN = [task for task in tasks.names() if task not in ALIKE]
#: From the name of a script and its arguments to what the script left: arrays by name.
RunScript = Callable[..., dict[str, Any]]


def _one_layer(tiny_preset: str, directory: Path, dropout: float) -> str:
    import keras
    import keras_hub

    keras.utils.set_random_seed(13)
    backbone = keras_hub.models.Backbone.from_preset(tiny_preset, load_weights=False, num_layers=1, dropout=dropout)
    backbone.save_to_preset(str(directory))
    keras_hub.models.Tokenizer.from_preset(tiny_preset).save_to_preset(str(directory))
    return str(directory)


@pytest.fixture(scope="session")
def still_preset(tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny backbone with one layer and no dropout, so that runs differ by rounding alone."""
    return _one_layer(tiny_preset, tmp_path_factory.mktemp("presets") / "still_bert", 0.0)


@pytest.fixture(scope="session")
def lively_preset(tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with dropout."""
    return _one_layer(tiny_preset, tmp_path_factory.mktemp("presets") / "lively_bert", 0.1)


@pytest.fixture(scope="session")
def reviews(opinions: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty short film opinions, of 5 to 17 tokens, as a file."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    texts = [f"{text}{' and the script was moving'[: 7 * (row % 5)]}" for row, text in enumerate(opinions["text"])]
    texts = [f"{text} the cast was weak" if row % 7 == 0 else text for row, text in enumerate(texts)]
    opinions.assign(text=texts).to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="session")
def run_script(tmp_path_factory: pytest.TempPathFactory) -> RunScript:
    """Runs a script of this folder in a process of its own and returns the arrays it saved."""

    def run(name: str, *arguments: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), str(folder), *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=clean_environment(), timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr[-4000:]
        with np.load(folder / "found.npz") as found:
            return dict(found)

    return run


@pytest.fixture(scope="session")
def found(run_script: RunScript, still_preset: str, lively_preset: str, reviews: str) -> dict[str, Any]:
    """What the runs on two replicas left, by name of the run."""
    return run_script("run_mirrored", "exact", still_preset, lively_preset, reviews, *OWN)


def clean_environment() -> dict[str, str]:
    """Returns the environment of a child process, in which tfft of this tree is found."""
    kept = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}
