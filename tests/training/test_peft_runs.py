"""Whole runs with parameter-efficient methods: what is trained, saved, loaded, merged and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import tfft
from tfft.cli.app import app
from tfft.core.errors import ArtifactError, ConfigError, PresetError

TEXTS = ["a lovely film", "a dull plot", "never again"]
#: What each method needs to learn something in a few steps.
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-2, "quiet": True}
METHODS = {
    "lora": {"method": "lora", "rank": 2, "learning_rate_ratio": 4.0},
    "adalora": {"method": "adalora", "initial_rank": 3, "target_rank": 2, "tinit": 0, "tfinal": 0, "delta_t": 1},
    "prompt": {"method": "prompt", "num_virtual_tokens": 3},
    "bitfit": "bitfit",
}


def base_weights(preset: str | Path) -> dict[str, np.ndarray]:
    model = keras_hub.models.Backbone.from_preset(str(preset))
    return {
        weight.path.split("/", 1)[-1] if "/" in weight.path else weight.path: np.asarray(weight)
        for weight in model.weights
    }


#: What other methods add to this is in the contract tests of all methods.
@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name == "lora" else [pytest.mark.slow]) for name in METHODS],
    ids=list(METHODS),
)
def run(
    request: pytest.FixtureRequest,
    opinions: pd.DataFrame,
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[tfft.FineTunedModel, Path]:
    """A short run with each method, and its run directory."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    peft = METHODS[request.param]
    return tfft.fit(opinions, peft=peft, output_dir=str(folder), **{**options, **SHORT}), folder


def test_the_saved_backbone_is_the_pretrained_one_to_the_bit(
    run: tuple[tfft.FineTunedModel, Path], tiny_preset: str
) -> None:
    saved, pretrained = base_weights(run[1] / "preset"), base_weights(tiny_preset)
    assert saved.keys() == pretrained.keys()
    for path, value in pretrained.items():
        np.testing.assert_array_equal(saved[path], value, err_msg=path)


def test_a_loaded_run_predicts_the_same_to_the_bit(run: tuple[tfft.FineTunedModel, Path]) -> None:
    model, folder = run
    np.testing.assert_array_equal(tfft.load(folder, quiet=True).outputs(TEXTS), model.outputs(TEXTS))


def test_an_adapter_alone_is_enough_beside_the_preset(run: tuple[tfft.FineTunedModel, Path], tmp_path: Path) -> None:
    model, _ = run
    model.save_adapter(tmp_path / "adapter")
    loaded = tfft.load_adapter(tmp_path / "adapter", quiet=True)
    np.testing.assert_array_equal(loaded.outputs(TEXTS), model.outputs(TEXTS))
    assert loaded.labels == model.labels
    assert str(loaded.report) == str(model.report)


def test_an_adapter_is_refused_by_another_backbone(
    run: tuple[tfft.FineTunedModel, Path], full_run: tfft.FineTunedModel, tmp_path: Path
) -> None:
    run[0].save_adapter(tmp_path / "adapter")
    full_run.save(tmp_path / "other")
    with pytest.raises(ArtifactError, match="another base"):
        tfft.load_adapter(tmp_path / "adapter", preset=str(tmp_path / "other" / "preset"), quiet=True)


def test_merging_changes_no_prediction_and_unmerging_no_bit(run: tuple[tfft.FineTunedModel, Path]) -> None:
    model, _ = run
    before = model.outputs(TEXTS)
    if model.adapter is None or not model.adapter.can_merge:
        with pytest.raises(ConfigError, match="cannot be merged"):
            model.merge()
        return
    model.merge()
    merged = model.outputs(TEXTS)
    model.unmerge()
    np.testing.assert_allclose(merged, before, atol=1e-5)
    np.testing.assert_array_equal(model.outputs(TEXTS), before)


def test_a_merged_model_saves_what_it_was_trained_as(run: tuple[tfft.FineTunedModel, Path], tmp_path: Path) -> None:
    model, _ = run
    before = model.outputs(TEXTS)
    if model.adapter is not None and model.adapter.can_merge:
        model.merge()
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(tfft.load(tmp_path / "run", quiet=True).outputs(TEXTS), before)
    if model.adapter is not None and model.adapter.merged:
        model.unmerge()


def test_it_exports_merged_where_that_can_be_done(
    run: tuple[tfft.FineTunedModel, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = run
    if folder.name not in ("lora", "prompt"):
        pytest.skip("two stand for all: verifying an export takes a process")
    loud = tfft.load(folder)
    loud.export(tmp_path / "exported")
    said = capsys.readouterr().err
    assert ("adapter is folded into" in said) == (folder.name == "lora")
    np.testing.assert_array_equal(loud.outputs(TEXTS), model.outputs(TEXTS))


def test_a_backbone_without_its_adapter_is_not_taken_in_silence(
    opinions: pd.DataFrame, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tfft.fit(opinions, peft="bitfit", output_dir=str(tmp_path / "run"), **{**options, **SHORT})
    for preset in (tmp_path / "run", tmp_path / "run" / "preset"):
        tfft.fit(opinions, **{**options, **SHORT, "preset": str(preset), "freeze": "backbone", "quiet": False})
        assert "whose adapter is not part of it" in capsys.readouterr().err


def test_a_quantized_backbone_is_saved_and_loaded(
    opinions: pd.DataFrame, options: dict[str, Any], tmp_path: Path
) -> None:
    model = tfft.fit(
        opinions, peft="lora", quantize_base="int8", output_dir=str(tmp_path / "run"), **{**options, **SHORT}
    )
    np.testing.assert_array_equal(tfft.load(tmp_path / "run", quiet=True).outputs(TEXTS), model.outputs(TEXTS))
    with pytest.raises(ConfigError, match="quantized"):
        model.merge()
    for preset in (tmp_path / "run", tmp_path / "run" / "preset"):
        with pytest.raises(PresetError, match="Name the preset that the run began with"):
            tfft.peft_report(preset=str(preset), peft="lora")


def test_a_prompt_takes_its_room_from_the_text(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    most = {"method": "prompt", "num_virtual_tokens": 20}
    with pytest.raises(ConfigError, match="sequence_length to at most 4"):
        tfft.fit(opinions, peft=most, sequence_length=5, **{**options, **SHORT})
    with pytest.raises(ConfigError, match="packing is not done"):
        tfft.fit(opinions, peft=METHODS["prompt"], packing=True, **{**options, **SHORT})


def test_what_cannot_be_is_refused_before_training(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    given = {**options, **SHORT}
    with pytest.raises(ConfigError, match="Did you mean 'lora'"):
        tfft.fit(opinions, peft="loar", **given)
    with pytest.raises(ConfigError, match="Did you mean 'rank'"):
        tfft.fit(opinions, peft={"method": "lora", "rnak": 4}, **given)
    with pytest.raises(ConfigError, match=r"lora\.rank should be"):
        tfft.fit(opinions, peft={"method": "lora", "rank": 0}, **given)
    with pytest.raises(ConfigError, match="means no layer"):
        tfft.fit(opinions, peft={"method": "lora", "target_layers": ["querry"]}, **given)


def test_a_config_object_is_its_options(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    config = tfft.LoRAConfig(rank=2, target_layers=("query",))
    model = tfft.fit(opinions, peft=config, **{**options, **SHORT})
    assert model.config.peft == {**config.to_dict(), "target_layers": ["query"]}
    report = model.peft_report()
    # Two layers, 16 dimensions: A and B of 16 x 2 each; the head has 16 x 2 weights and 2 biases.
    assert (report.trainable_of_adapter, report.trainable) == (128, 162)


def test_the_report_needs_no_training(tiny_preset: str, tmp_path: Path) -> None:
    written = tmp_path / "report.json"
    result = CliRunner().invoke(
        app, ["peft-report", "--preset", tiny_preset, "--peft", "lora", "--layers", "--output", str(written), "--quiet"]
    )
    assert result.exit_code == 0, result.output
    assert "transformer_layer_1" in result.output
    assert json.loads(written.read_text())["trainable_of_adapter"] == 2 * 2 * 2 * 16 * 8


def test_the_report_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="No method is named"):
        tfft.peft_report(preset="minilm_l6_en_uncased")
