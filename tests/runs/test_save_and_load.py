"""A loaded model is the saved one, to the bit, in any process; and its backbone is a preset like any other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras_hub
import numpy as np
import pandas as pd
import pytest

import tfft
from tfft.core.errors import ArtifactError

TEXTS = ["the film was wonderful", "a dull plot", "", "the script was silly " * 9]
PROGRAM = """
import json, sys
import tfft
outputs = tfft.load(sys.argv[1], quiet=True).outputs(json.loads(sys.argv[2]))
print(outputs.dtype, outputs.tobytes().hex())
"""


@pytest.fixture(scope="module")
def trained(opinions: pd.DataFrame, tiny_preset: str) -> tfft.FineTunedModel:
    """A model whose rows are cut to 12 tokens, and whose every weight is no longer the preset's."""
    model = tfft.fit(
        opinions,
        task="text_classification",
        preset=tiny_preset,
        quiet=True,
        freeze="backbone",
        epochs=1,
        sequence_length=12,
    )
    random = np.random.default_rng(0)
    for item in model.keras_model.weights:
        item.assign(np.asarray(item) + random.normal(scale=0.1, size=item.shape))
    return model


@pytest.fixture(scope="module")
def run(trained: tfft.FineTunedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "opinions"
    trained.save(directory)
    return directory


def test_a_loaded_model_gives_the_same_bits(trained: tfft.FineTunedModel, run: Path) -> None:
    outputs = tfft.load(run, quiet=True).outputs(TEXTS)
    np.testing.assert_array_equal(outputs, trained.outputs(TEXTS))
    assert len(np.unique(outputs, axis=0)) == len(TEXTS)


def test_a_fresh_process_gives_the_same_bits(trained: tfft.FineTunedModel, run: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(run), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    outputs = trained.outputs(TEXTS)
    assert done.stdout.split() == [str(outputs.dtype), outputs.tobytes().hex()]


def test_report_history_and_record_survive(trained: tfft.FineTunedModel, run: Path) -> None:
    loaded = tfft.load(run, quiet=True)
    assert loaded.report == trained.report
    assert str(loaded.report) == str(trained.report)
    assert loaded.history == trained.history
    assert loaded.record == trained.record
    assert loaded.config == trained.config
    assert loaded.labels == trained.labels


def test_a_loaded_model_saves_itself_again(trained: tfft.FineTunedModel, run: Path, tmp_path: Path) -> None:
    tfft.load(run, quiet=True).save(tmp_path / "again")
    again = tfft.load(tmp_path / "again", quiet=True)
    for ours, theirs in zip(trained.keras_model.weights, again.keras_model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_altered_weights_are_not_loaded(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    weights = bytearray((copy / "preset" / "model.weights.h5").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "preset" / "model.weights.h5").write_bytes(weights)
    with pytest.raises(ArtifactError, match="altered"):
        tfft.load(copy)


def test_what_is_no_run_directory_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a run directory"):
        tfft.load(tmp_path)


def test_kerashub_loads_the_fine_tuned_backbone(trained: tfft.FineTunedModel, run: Path, tiny_preset: str) -> None:
    ours = {item.path: np.asarray(item) for item in trained.keras_model.weights}
    tuned = {item.path: np.asarray(item) for item in keras_hub.models.Backbone.from_preset(str(run / "preset")).weights}
    original = {item.path: np.asarray(item) for item in keras_hub.models.Backbone.from_preset(tiny_preset).weights}
    shared = tuned.keys() & ours.keys()
    assert len(shared) == len(tuned) - 2, "all but the pooler"
    for path in shared:
        np.testing.assert_array_equal(tuned[path], ours[path])
        assert not np.array_equal(tuned[path], original[path])


@pytest.mark.parametrize("where", [".", "preset"])
def test_the_backbone_of_a_run_is_a_preset_for_another(where: str, run: Path, opinions: pd.DataFrame) -> None:
    options = {"task": "text_classification", "quiet": True, "freeze": "backbone", "epochs": 1, "baselines": False}
    again = tfft.fit(opinions, preset=str(run / where), **options)
    kept = keras_hub.models.Backbone.from_preset(str(run / "preset")).weights
    wanted = {item.path: np.asarray(item) for item in kept}
    for item in again.keras_model.weights:
        if item.path in wanted:
            np.testing.assert_array_equal(item, wanted[item.path])
