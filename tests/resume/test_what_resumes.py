"""What a resumed run goes on from, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import tfft
from tfft.core.errors import ConfigError
from tfft.training.checkpoint_files import ARRAYS


class BreakOff(keras.callbacks.Callback):
    """Ends a run after a step."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == 9:
            raise InterruptedError


class GoOn(keras.callbacks.Callback):
    """Stands in the place of the other."""


# A checkpoint knows callbacks by their names.
GoOn.__qualname__ = BreakOff.__qualname__


@pytest.fixture(scope="module")
def options(tiny_preset: str) -> dict[str, Any]:
    return {
        "task": "text_classification",
        "preset": tiny_preset,
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "baselines": False,
        "checkpoint_steps": 3,
    }


@pytest.fixture(scope="module")
def finished(opinions: pd.DataFrame, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was asked to resume where there was nothing to resume."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    tfft.fit(opinions, output_dir=str(folder), resume=True, callbacks=[GoOn()], quiet=True, **options)
    return folder


@pytest.fixture(scope="module")
def broken_off(opinions: pd.DataFrame, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended after step 9, with checkpoints of steps 6 and 9 at most."""
    folder = tmp_path_factory.mktemp("broken_off")
    with pytest.raises(InterruptedError):
        tfft.fit(opinions, output_dir=str(folder / "run"), callbacks=[BreakOff()], quiet=True, **options)
    return folder


@pytest.fixture
def interrupted(broken_off: Path, tmp_path: Path) -> Path:
    """A copy of it: the directory of the run, which is not there yet."""
    shutil.copytree(broken_off, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def weights(model: tfft.FineTunedModel) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in model.keras_model.get_weights()]


def check_same_weights(model: tfft.FineTunedModel, run: Path) -> None:
    for one, other in zip(weights(model), weights(tfft.load(run, quiet=True)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_damaged_checkpoint_is_passed_over(
    opinions: pd.DataFrame,
    options: dict[str, Any],
    interrupted: Path,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    newest = sorted(interrupted.with_name("run.checkpoints").glob("step-*"))[-1]
    arrays = newest / ARRAYS
    arrays.write_bytes(arrays.read_bytes()[:-1])
    model = tfft.fit(opinions, output_dir=str(interrupted), resume=True, callbacks=[GoOn()], **options)
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"warning: the checkpoint {newest.name} is not used" in said
    assert f"going on after step {int(newest.name.split('-')[1]) - 3}" in said
    check_same_weights(model, finished)


@pytest.mark.parametrize(("changed", "named"), [({"learning_rate": 1e-3, "ema": 0.9}, "ema, learning_rate")])
def test_another_option_is_named(
    opinions: pd.DataFrame, options: dict[str, Any], interrupted: Path, changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        tfft.fit(opinions, output_dir=str(interrupted), resume=True, quiet=True, **{**options, **changed})


def test_other_data_is_named(opinions: pd.DataFrame, options: dict[str, Any], interrupted: Path) -> None:
    other = opinions.assign(text=opinions["text"].str.replace("wonderful", "awful"))
    with pytest.raises(ConfigError, match=r"differs in data.*overwrite=True"):
        tfft.fit(other, output_dir=str(interrupted), resume=True, quiet=True, **options)


def test_without_a_checkpoint_it_begins_at_the_start_and_says_so(
    opinions: pd.DataFrame, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {**options, "epochs": 1, "checkpoint_steps": None}
    tfft.fit(opinions, output_dir=str(tmp_path / "run"), resume=True, **short)
    assert "resume: no checkpoint was found; beginning from the start" in " ".join("".join(capsys.readouterr()).split())


def test_a_finished_run_is_loaded(
    opinions: pd.DataFrame, options: dict[str, Any], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tfft.fit(opinions, output_dir=str(finished), resume=True, **options)
    assert "is finished; loading it" in " ".join("".join(capsys.readouterr()).split())
    check_same_weights(model, finished)


def test_a_fresh_run_does_not_throw_away_what_an_interrupted_one_has(
    opinions: pd.DataFrame, options: dict[str, Any], interrupted: Path, finished: Path
) -> None:
    with pytest.raises(ConfigError, match=r"resume=True.*overwrite=True"):
        tfft.fit(opinions, output_dir=str(interrupted), quiet=True, **options)
    assert list(interrupted.with_name("run.checkpoints").glob("step-*")), "they are still there"
    anew = tfft.fit(opinions, output_dir=str(interrupted), overwrite=True, callbacks=[GoOn()], quiet=True, **options)
    check_same_weights(anew, finished)
    assert not interrupted.with_name("run.checkpoints").exists()
