"""A trained model, what an exporter gets of it, and the verification without a process of its own."""

from __future__ import annotations

import dataclasses
import subprocess
import types
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

import tfft
from tfft.export import _verify, _verify_worker
from tfft.export.base import Exportable


@pytest.fixture(scope="session")
def trained(opinions: pd.DataFrame, tiny_preset: str) -> tfft.FineTunedModel:
    return tfft.fit(
        opinions,
        task="text_classification",
        preset=tiny_preset,
        quiet=True,
        freeze="backbone",
        learning_rate=0.5,
        epochs=6,
        batch_size=8,
        validation_fraction=0.0,
        baselines=False,
    )


@pytest.fixture(scope="session")
def exportable(trained: tfft.FineTunedModel) -> Exportable:
    return Exportable(
        model=trained.keras_model,
        encoding=trained._encoding,
        task=trained.task,
        learned=trained.learned,
        held_out=trained.record.held_out,
        predict=trained.predict,
        metadata={"labels": trained.labels},
    )


@pytest.fixture
def with_held_out(exportable: Exportable) -> Callable[[Sequence[str]], Exportable]:
    """A function that gives the exportable with other held-out texts."""
    return lambda texts: dataclasses.replace(exportable, held_out=list(texts))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the verification run its worker here: the same code without the seconds of a fresh import."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        try:
            _verify_worker.main(*command[-3:])
        except BaseException as error:  # as the exit status of a process would tell
            return subprocess.CompletedProcess(command, 1, "", f"{type(error).__name__}: {error}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(_verify, "subprocess", types.SimpleNamespace(run=run))
