"""Runs that several files look at: one that trains everything, one that trains the head on cached features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tfft

Digest = Callable[[Any], str]


@pytest.fixture(scope="session")
def options(tiny_preset: str) -> dict[str, Any]:
    """Options of the run that trains everything."""
    return {
        "task": "text_classification",
        "preset": tiny_preset,
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "baselines": False,
    }


@pytest.fixture(scope="session")
def full_run(opinions: pd.DataFrame, options: dict[str, Any]) -> tfft.FineTunedModel:
    return tfft.fit(opinions, quiet=True, **options)


@pytest.fixture(scope="session")
def frozen_run(opinions: pd.DataFrame, options: dict[str, Any]) -> tfft.FineTunedModel:
    return tfft.fit(opinions, quiet=True, **{**options, "freeze": "backbone"})


@pytest.fixture(scope="session")
def digest() -> Digest:
    """A function that gives the SHA-256 of all weights of a Keras model."""
    return lambda model: hashlib.sha256(b"".join(np.asarray(item).tobytes() for item in model.weights)).hexdigest()
