"""Several adapters on one backbone predict as each one's own model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tfft
from tfft.core.errors import ArtifactError, ConfigError, DataError

TEXTS = ["the film was wonderful", "a dull plot", "never again", "the script was moving and the ending was weak", "a"]
#: Different methods, options, labels and ways to pool.
RUNS: dict[str, dict[str, Any]] = {
    "lora": {"peft": {"method": "lora", "rank": 2}},
    "bitfit": {"peft": "bitfit"},
    "ia3": {"peft": {"method": "ia3"}, "pooling": "first", "sequence_length": 6},
    "prompt": {"peft": {"method": "prompt", "num_virtual_tokens": 2}},
}
SHARING = ("lora", "bitfit", "ia3")
#: Sums in another order: rows lie in other batches.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def saved(opinions: pd.DataFrame, tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directories of the adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    three = opinions.assign(label=[("bad", "so so", "good")[row % 3] for row in range(len(opinions))])
    common = {"task": "text_classification", "preset": tiny_preset, "baselines": False, "quiet": True}
    for name, options in RUNS.items():
        data = three if name == "bitfit" else opinions
        model = tfft.fit(data, epochs=1, batch_size=16, learning_rate=5e-2, **common, **options)
        model.save_adapter(folder / name)
    return {name: folder / name for name in RUNS}


@pytest.fixture(scope="module")
def alone(saved: dict[str, Path]) -> dict[str, list[Any]]:
    """The predictions of each adapter's own model."""
    return {name: tfft.load_adapter(saved[name], quiet=True).predict(TEXTS) for name in SHARING}


@pytest.fixture(scope="module")
def together(saved: dict[str, Path]) -> tfft.AdaptedModel:
    return tfft.load_adapters({name: saved[name] for name in SHARING}, quiet=True)


def check_same(found: list[Any], expected: list[Any]) -> None:
    assert [item.label for item in found] == [item.label for item in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities.keys() == other.probabilities.keys()
        np.testing.assert_allclose(list(one.probabilities.values()), list(other.probabilities.values()), atol=ROUNDING)


def test_the_adapters_differ(alone: dict[str, list[Any]]) -> None:
    assert np.abs(alone["lora"][0].probabilities["good"] - alone["ia3"][0].probabilities["good"]) > 1e-3
    assert len(alone["bitfit"][0].probabilities) == 3


@pytest.mark.parametrize("name", SHARING)
def test_one_for_all_rows(together: tfft.AdaptedModel, alone: dict[str, list[Any]], name: str) -> None:
    check_same(together.predict(TEXTS, name), alone[name])
    assert set(together.labels(name)) == set(alone[name][0].probabilities)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_each_row_has_its_own(together: tfft.AdaptedModel, alone: dict[str, list[Any]], batch_size: int) -> None:
    names = ["ia3", "lora", "bitfit", "bitfit", "lora"]
    expected = [alone[name][row] for row, name in enumerate(names)]
    check_same(together.predict(TEXTS, names, batch_size=batch_size), expected)


def test_weights(together: tfft.AdaptedModel, alone: dict[str, list[Any]]) -> None:
    check_same(together.predict(TEXTS, {"lora": 1.0}, head="lora"), alone["lora"])
    mixed = together.predict(TEXTS, {"lora": 0.5, "bitfit": 0.5}, head="lora")
    assert np.abs(mixed[0].probabilities["good"] - alone["lora"][0].probabilities["good"]) > 1e-5
    none = together.predict(TEXTS, {"lora": 0.0}, head="lora")
    assert np.abs(none[0].probabilities["good"] - alone["lora"][0].probabilities["good"]) > 1e-5


def test_adapters_come_and_go(saved: dict[str, Path], alone: dict[str, list[Any]]) -> None:
    model = tfft.load_adapters({"first": saved["lora"]}, quiet=True)
    check_same(model.predict(TEXTS, "first"), alone["lora"])
    model.add("second", saved["ia3"])
    assert (list(model), len(model), "second" in model) == (["first", "second"], 2, True)
    check_same(model.predict(TEXTS[:2], ["second", "first"]), [alone["ia3"][0], alone["lora"][1]])
    model.remove("first")
    check_same(model.predict(TEXTS, "second"), alone["ia3"])
    with pytest.raises(ConfigError, match="first"):
        model.predict(TEXTS, "first")
    model.add("first", saved["lora"])
    check_same(model.predict(TEXTS, ["first"] * len(TEXTS)), alone["lora"])


def test_no_rows(together: tfft.AdaptedModel) -> None:
    assert together.predict([], "lora") == together.predict([], []) == []


def test_what_cannot_be_is_refused(together: tfft.AdaptedModel, saved: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lora'"):
        together.predict(TEXTS, "lroa")
    with pytest.raises(DataError, match="2 names of adapters were given for 5 rows"):
        together.predict(TEXTS, ["lora", "ia3"])
    with pytest.raises(ConfigError, match="Weights need head="):
        together.predict(TEXTS, {"lora": 0.5})
    with pytest.raises(ConfigError, match="head= goes with weights"):
        together.predict(TEXTS, "lora", head="lora")
    with pytest.raises(DataError, match="list of texts"):
        together.predict("one text", "lora")
    with pytest.raises(ConfigError, match="batch_size"):
        together.predict(TEXTS, "lora", batch_size=0)
    with pytest.raises(ConfigError, match="already"):
        together.add("lora", saved["lora"])
    with pytest.raises(ConfigError, match="cannot share a base"):
        together.add("prompt", saved["prompt"])
    with pytest.raises(ArtifactError, match="does not hold an adapter"):
        together.add("none", tmp_path)
    for none in ({}, [saved["lora"]]):
        with pytest.raises(ConfigError, match="No adapters"):
            tfft.load_adapters(none, quiet=True)  # type: ignore[arg-type]
    for wrong in ({}, {"lora": "much"}):
        with pytest.raises(ConfigError, match="Weights are numbers"):
            together.predict(TEXTS, wrong, head="lora")
    with pytest.raises(ConfigError, match="a name for each row"):
        together.predict(TEXTS, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="None"):
        together.predict(TEXTS[:1], [None])  # type: ignore[list-item]
    assert list(together) == list(SHARING)
    check_same(together.predict(TEXTS[:1], "ia3"), together.predict(TEXTS[:1], ["ia3"]))


def test_another_backbone_is_refused(
    saved: dict[str, Path], opinions: pd.DataFrame, tiny_preset: str, tmp_path: Path
) -> None:
    other = tfft.fit(opinions, task="text_classification", preset=tiny_preset, epochs=1, baselines=False, quiet=True)
    other.save(tmp_path / "other")
    with pytest.raises(ArtifactError, match="another base"):
        tfft.load_adapters({"lora": saved["lora"]}, preset=str(tmp_path / "other"), quiet=True)
