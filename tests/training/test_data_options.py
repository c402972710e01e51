"""Options about data, seen from the trained model: augmentation, resampling, streaming, cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest

import tfft
from tfft.backbones.keras_hub import masked_language_model
from tfft.core.errors import ConfigError


@pytest.fixture
def fit(opinions: pd.DataFrame, tiny_preset: str) -> Callable[..., tfft.FineTunedModel]:
    def run(data: Any = None, **options: Any) -> tfft.FineTunedModel:
        given = {"preset": tiny_preset, "epochs": 1, "batch_size": 16, "learning_rate": 0.01, "baselines": False}
        return tfft.fit(
            opinions if data is None else data, task="text_classification", quiet=True, **{**given, **options}
        )

    return run


def test_streamed_rows_train_the_same_weights_as_rows_in_memory(fit: Any, digest: Any, tmp_path: Path) -> None:
    options = {"split": "hash", "augment": {"random_swap": 0.5, "span_masking": 0.5}, "seed": 3}
    in_memory = fit(streaming=False, **options)
    streamed = fit(streaming=True, cache_dir=str(tmp_path), **options)
    assert digest(streamed.keras_model) == digest(in_memory.keras_model)
    assert streamed.history == in_memory.history
    assert streamed.report.to_dict() == in_memory.report.to_dict()


def test_augmentations_are_counted_on_training_rows_only(fit: Any) -> None:
    model = fit(augment={"random_swap": 1.0, "keyboard_typos": 0.5})
    changed = model.record.plan["augmented"]
    assert changed["random_swap"]["seen"] == model.record.data["sizes"]["train"]
    assert changed["random_swap"]["changed"] == changed["random_swap"]["seen"]
    assert 0 < changed["keyboard_typos"]["changed"] < changed["keyboard_typos"]["seen"]


@pytest.mark.slow
def test_the_same_seed_augments_the_same(fit: Any, digest: Any) -> None:
    options = {"augment": {"keyboard_typos": 0.5, "random_deletion": 0.5}}
    assert digest(fit(**options).keras_model) == digest(fit(**options).keras_model)
    assert digest(fit(**options).keras_model) != digest(fit().keras_model)


def test_an_augmentation_that_could_never_fire_is_refused(fit: Any) -> None:
    with pytest.raises(ConfigError, match="synonym_replacement can change none of the 48 training rows"):
        fit(augment={"synonym_replacement": {"thesaurus": {"aardvark": ["anteater"]}}})


def test_augmentations_of_other_data_are_refused(fit: Any) -> None:
    with pytest.raises(ConfigError, match="random_flip changes image; this task has text and tokens"):
        fit(augment={"random_flip": 0.5})


def test_functions_and_objects_augment_and_are_described_in_the_run(fit: Any, tmp_path: Path) -> None:
    from tfft.augment.back_translation import BackTranslation

    def shout(texts: list[str]) -> list[str]:
        return [text.upper() + "!" for text in texts]

    fit(augment={"paraphrase": {"function": shout}}, output_dir=str(tmp_path / "one"))
    assert tfft.load(tmp_path / "one", quiet=True).config.augment == {"paraphrase": {"function": "<shout>"}}
    model = fit(augment=[BackTranslation(translator=shout, probability=1.0)])
    assert model.record.plan["augmented"]["back_translation"]["changed"] == 48


def test_variants_of_streamed_rows_are_refused(fit: Any) -> None:
    with pytest.raises(ConfigError, match="streaming=False"):
        fit(augment={"paraphrase": {"function": lambda texts: texts}}, streaming=True)


def test_a_run_that_gives_no_texts_is_no_translator(fit: Any, tmp_path: Path) -> None:
    fit(output_dir=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="gives no texts"):
        fit(augment={"back_translation": {"translator": str(tmp_path / "run"), "backward": str(tmp_path / "run")}})


def test_classes_are_balanced_by_resampling(fit: Any, opinions: pd.DataFrame) -> None:
    few = pd.concat([opinions[opinions["label"] == "good"], opinions[opinions["label"] == "bad"].head(10)])
    for resample, steps in (("none", 2), ("oversample", 3), ("undersample", 1)):
        assert fit(few, resample=resample).record.plan["steps"] == steps


def test_rows_too_long_for_the_model_are_dropped_or_refused(fit: Any, opinions: pd.DataFrame) -> None:
    long = opinions.assign(text=[text * (1 + 9 * (row == 7)) for row, text in enumerate(opinions["text"])])
    assert sum(fit(long).record.data["sizes"].values()) == 60
    data = fit(long, quality={"lengths": "drop"}).record.data
    assert sum(data["sizes"].values()) == 59
    assert [rows for reasons in data["dropped_by_checks"].values() for rows in reasons.values()] == [[8]]
    with pytest.raises(tfft.DataError, match=r"longer than 24 tokens \(row 8\)"):
        fit(long, quality={"lengths": "fail"})


def test_cross_validation_reports_every_fold(opinions: pd.DataFrame, tiny_preset: str) -> None:
    options = {"task": "text_classification", "preset": tiny_preset, "epochs": 1, "freeze": "backbone"}
    result = tfft.cross_validate(opinions, folds=2, quiet=True, **options)
    assert [report.rows for report in result.reports] == [30, 30]
    accuracy = [report.after.scalars()["accuracy"] for report in result.reports]
    assert result["accuracy"] == pytest.approx(sum(accuracy) / 2)
    assert f"{np.mean(accuracy):.3f} ± {np.std(accuracy, ddof=1):.3f}" in str(result)
    with pytest.raises(ConfigError, match="test_data"):
        tfft.cross_validate(opinions, test_data=opinions, **options)
    with pytest.raises(ConfigError, match="at least 2"):
        tfft.cross_validate(opinions, folds=1, **options)


def test_a_preset_with_the_head_gives_its_masked_language_model(tiny_preset: str, tmp_path: Path) -> None:
    assert masked_language_model(tiny_preset) is None
    assert masked_language_model(None) is None
    keras.utils.set_random_seed(2)
    backbone = keras_hub.models.Backbone.from_preset(tiny_preset)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(tiny_preset)
    model = keras_hub.models.BertMaskedLM(backbone, keras_hub.models.BertMaskedLMPreprocessor(tokenizer))
    model.save_to_preset(str(tmp_path / "with_head"))
    load = masked_language_model(str(tmp_path / "with_head"))
    assert load is not None
    ids = np.array([[2, 5, 4, 3], [2, 6, 3, 0]], np.int32)
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.int32)
    positions = np.tile(np.arange(4, dtype=np.int32), (2, 1))
    features = {"token_ids": ids, "padding_mask": mask, "segment_ids": ids * 0, "mask_positions": positions}
    np.testing.assert_allclose(load()(ids, mask), model(features, training=False), atol=1e-6)
    options = {"preset": str(tmp_path / "with_head"), "augment": {"masked_lm_replacement": 1.0}}
    words = ("funny", "dull", "weak", "moving", "awful", "boring", "silly")
    rows = [{"text": f"the {label} was {word}", "label": label} for label in ("film", "plot") for word in words]
    trained = tfft.fit(rows, task="text_classification", epochs=1, quiet=True, baselines=False, **options)
    assert trained.record.plan["augmented"]["masked_lm_replacement"]["changed"] > 0
