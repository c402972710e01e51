"""Multi-label classification: label sets as they come, weights, thresholds, and one trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score

import tfft
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.learned import Learned
from tfft.data.label_sets import LABEL_SETS
from tfft.splitting import Sources, split_data
from tfft.tasks.base import Task, tasks

NAME = "multi_label_classification"
TASK: Task = tasks.get(NAME)
ROWS = 20


def split(labels: Any, **options: Any) -> Any:
    """Reads and splits a table with these labels; row 1 and 2 are validation, which they are in the order of rows."""
    texts = [f"text number {'abcdefghijklmnopqrstuvwxyz'[row]} of {row}" for row in range(len(labels))]
    parts = ["validation", "validation", *["train"] * (len(labels) - 2)]
    table = pd.DataFrame({"text": texts, "label": labels, "part": parts})
    config = FitConfig(task=NAME, split_column="part", test_fraction=0.0, quality={"near_duplicates": "off"}, **options)
    return split_data(config, Sources(table), Console(quiet=True))


def label_sets(data: Any) -> list[set[str]]:
    return [set(row) for name in ("validation", "train") for row in data.examples[name].columns[LABEL_SETS]]


LISTS = [["b", "a"], [], ["c"], [" a "], ["a", "a"]] * 4
SETS = [{"a", "b"}, set(), {"c"}, {"a"}, {"a"}] * 4


def test_labels_are_lists_or_texts_and_an_empty_one_is_a_row_without_labels() -> None:
    texts = ["b, a", "", "c", " a ,", "a,a"] * 4
    assert label_sets(split(LISTS)) == label_sets(split(texts)) == SETS
    assert label_sets(split([text.replace(",", ";") for text in texts], label_separator=";")) == SETS
    assert split(texts).labels == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_files_give_the_same_labels_as_a_table(kind: str, tmp_path: Path) -> None:
    table, file = (
        pd.DataFrame({"text": [f"text {row}" for row in range(20)], "label": LISTS}),
        tmp_path / f"data.{kind}",
    )
    if kind == "csv":
        table.assign(label=[" , ".join(row) for row in LISTS]).to_csv(file, index=False)
    elif kind == "parquet":
        table.to_parquet(file)
    else:
        file.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")), "utf-8")
    config = FitConfig(task=NAME, split="hash", quality={"near_duplicates": "off"})
    data = split_data(config, Sources(str(file)), Console(quiet=True))
    found: dict[int, set[str]] = {}
    for part in data.examples.values():
        found |= {int(row): set(own) for row, own in zip(part.rows, part.columns[LABEL_SETS], strict=True)}
    assert [found[row] for row in range(1, 21)] == SETS


def test_targets_are_one_where_a_row_has_the_label() -> None:
    data = split([["10", "2"], [], [2], [10], [2, 10]] * 4)
    assert data.labels == ["2", "10"]
    expected = [[1, 1], [0, 0], [1, 0], [0, 1], [1, 1]] * 4
    assert data.targets["train"].dtype == np.float32
    np.testing.assert_array_equal(data.targets["train"], expected[2:])
    np.testing.assert_array_equal(data.targets["validation"], [[1, 1], [0, 0]])


def test_null_is_missing_and_no_empty_set() -> None:
    data = split([["a"], [], None, ["a", None], ["a", " "], *LISTS])
    dropped = data.record["dropped"]["train"]
    assert dropped == {"null label": [3], "null items in label": [4], "blank items in label": [5]}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([*LISTS[:4], "['a', 'b']", *LISTS], "row 5.*lists that were written as text.*\\['a', 'b'\\]"),
        ([*LISTS[:4], "[]", *LISTS], "row 5.*lists that were written as text"),
        ([[]] * ROWS, "every row has no label"),
        ([["a", "b"], ["b", "a"]] * 10, "every row has the labels \\['a', 'b'\\]"),
        ([[], ["colour"], *[["color"], []] * 9], "row 2: Unknown label 'colour'. Did you mean 'color'"),
        ([[["a"]]] * ROWS, "row 1: 'label' holds a list of lists; a list or one text is needed"),
    ],
    ids=["a written list", "a written empty list", "no labels", "same labels", "unknown", "lists of lists"],
)
def test_bad_labels_are_named(labels: Any, words: str) -> None:
    with pytest.raises(tfft.DataError, match=words):
        split(labels)


@pytest.mark.parametrize("cell", ['["a","b"]', "('a',)", "{'a', 'b'}", "['a' 'b']", "[1, 2]", "set()", {"a", "b"}])
def test_lists_written_as_text_are_told_from_labels(cell: Any) -> None:
    with pytest.raises(tfft.DataError, match=r"row 5.*written as text"):
        split([*LISTS[:4], cell, *LISTS])


@pytest.mark.parametrize("label", ["[neg]", "(other)", "[1]", "it's", "rock'n'roll"])
def test_labels_may_have_brackets_and_quotes(label: str) -> None:
    assert label in split([label, *LISTS[1:], label]).labels


@pytest.mark.parametrize("option", [{"r_drop": 1.0}, {"focal_gamma": 2.0}, {"resample": "oversample"}, {"head": "crf"}])
def test_options_of_other_tasks_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(tfft.ConfigError, match=f"{next(iter(option))} has no effect with task='{NAME}'"):
        tfft.fit(TASK.sample_data(), task=NAME, quiet=True, **option)


def test_class_weights_weigh_positives() -> None:
    def loss(weights: Any) -> np.ndarray:
        data = split(LISTS, class_weights=weights)
        rows: np.ndarray = TASK.loss(FitConfig(task=NAME), data.learned).call(TARGETS, LOGITS).numpy()
        return rows

    present, absent = np.logaddexp(0, -LOGITS), np.logaddexp(0, LOGITS)
    # Of the 18 training rows 11 have a (rows 4, 5, 6, 9, ...), 3 have b and 4 have c.
    for weights, factors in (
        (None, [1.0, 1.0, 1.0]),
        ({"b": 4.0}, [1.0, 4.0, 1.0]),
        ("balanced", [7 / 11, 15 / 3, 14 / 4]),
    ):
        expected = np.where(TARGETS == 1, factors * present, absent).mean(axis=1)
        np.testing.assert_allclose(loss(weights), expected, rtol=1e-5)
    with pytest.raises(tfft.ConfigError, match="class_weights: Unknown label 'd'"):
        split(LISTS, class_weights={"d": 2.0})


LOGITS = np.random.default_rng(3).normal(scale=2.0, size=(40, 3)).round(3).astype(np.float32)
TARGETS = (LOGITS + np.random.default_rng(4).normal(scale=2.0, size=(40, 3)) > 1.5).astype(np.float32)


def test_thresholds_are_the_best_on_the_validation_rows() -> None:
    before = split(LISTS).learned
    assert before.settings["thresholds"] == [0.5, 0.5, 0.5]
    after = TASK.tuned(LOGITS, TARGETS, before, Console(quiet=True))
    probabilities = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    for column, threshold in enumerate(after.settings["thresholds"]):
        cuts = [0.0, *probabilities[:, column]]
        f1 = [f1_score(TARGETS[:, column], probabilities[:, column] >= cut, zero_division=0) for cut in cuts]
        mine = f1_score(TARGETS[:, column], probabilities[:, column] >= threshold)
        assert mine == max(f1) > f1_score(TARGETS[:, column], probabilities[:, column] >= 0.5) - 1e-12
    assert len(set(after.settings["thresholds"])) == 3
    figures = TASK.metrics(LOGITS, TARGETS, after).to_dict()["per_label"]
    assert [row["threshold"] for row in figures.values()] == after.settings["thresholds"]
    assert json.loads(json.dumps(after.settings)) == after.settings


def test_rounding_is_no_difference_that_a_threshold_lies_in() -> None:
    logits = np.array([[0.3], [0.3 + 1e-6], [0.3 - 1e-6], [-1.0]], np.float32)
    targets = np.array([[1], [1], [0], [0]], np.float32)
    learned = Learned(["a"], {"tune_thresholds": True})
    (threshold,) = TASK.tuned(logits, targets, learned, Console(quiet=True)).settings["thresholds"]
    assert 1 / (1 + np.exp(1.0)) < threshold < 1 / (1 + np.exp(-0.2))


def test_a_threshold_that_is_given_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    learned = split(LISTS, thresholds=0.25).learned
    assert TASK.tuned(LOGITS, TARGETS, learned, Console()) == learned
    assert TASK.tuned(None, None, learned, Console()) == learned
    assert learned.settings["thresholds"] == [0.25] * 3
    assert not capsys.readouterr().err


def test_what_cannot_be_tuned_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    learned = split(LISTS).learned
    assert TASK.tuned(None, None, learned, Console()) == learned
    assert "0.5 for each label, as there is no validation split" in " ".join(capsys.readouterr().err.split())
    targets = TARGETS.copy()
    targets[:, 0], targets[:, 2] = 0.0, 1.0
    thresholds = TASK.tuned(LOGITS, targets, learned, Console()).settings["thresholds"]
    said = " ".join(capsys.readouterr().err.split())
    assert thresholds[0] == thresholds[2] == 0.5 != thresholds[1]
    assert "0.5 for 'a', which no validation row has" in said
    assert "0.5 for 'c', which every validation row has" in said


@pytest.mark.parametrize("thresholds", [[0.2, 0.5, 0.7], [0.999] * 3, [1e-9] * 3], ids=["some", "none", "all"])
def test_what_is_served_is_what_is_decoded(thresholds: list[float]) -> None:
    learned = Learned(["a", "b", "c"], {"thresholds": thresholds})
    predictions = TASK.decode(LOGITS, None, learned)  # type: ignore[arg-type]
    expected = TASK.served_outputs(predictions, learned)
    served = {name: value.numpy() for name, value in TASK.serve(tf.constant(LOGITS), None, learned).items()}
    given = np.log(np.array(thresholds) / (1 - np.array(thresholds))) <= LOGITS
    assert [item.labels for item in predictions] == [tuple(np.array(list("abc"))[row]) for row in given]
    assert served.keys() == expected.keys()
    assert served["labels"].shape == expected["labels"].shape == (40, given.sum(axis=1).max())
    for name in ("labels", "classes"):
        assert [[item.decode() for item in row] for row in served[name]] == expected[name].tolist()
    np.testing.assert_allclose(served["probabilities"], 1 / (1 + np.exp(-LOGITS)), rtol=1e-5)
    np.testing.assert_allclose(served["probabilities"], expected["probabilities"], rtol=1e-6)


@pytest.fixture(scope="module")
def options(tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options without any dropout: not in the backbone either."""
    preset = str(tmp_path_factory.mktemp("presets") / "without_dropout")
    keras_hub.models.Backbone.from_preset(tiny_preset, dropout=0.0).save_to_preset(preset)
    keras_hub.models.Tokenizer.from_preset(tiny_preset).save_to_preset(preset)
    return {
        "task": NAME, "preset": preset, "peft": {"method": "lora", "rank": 2}, "learning_rate": 0.02, "epochs": 6,
        "batch_size": 8, "batching": "shuffled", "dropout": 0.0, "validation_fraction": 0.2, "baselines": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The sample data with every third text said three times, so that rows are of unlike length."""
    table = TASK.sample_data()
    texts = [" ".join([text] * (1 if place % 3 else 3)) for place, text in enumerate(table["text"])]
    return table.assign(text=texts)


@pytest.fixture(scope="module")
def trained(table: pd.DataFrame, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model whose batches are two micro-batches."""
    directory = tmp_path_factory.mktemp("multi_label") / "run"
    return tfft.fit(table, quiet=True, **options, micro_batch_size=4, output_dir=str(directory))


def test_thresholds_are_tuned_and_kept(trained: Any, table: pd.DataFrame) -> None:
    thresholds = trained.learned.settings["thresholds"]
    assert thresholds != [0.5] * 3
    loaded = tfft.load(trained.config.output_dir, quiet=True)
    assert loaded.learned.settings["thresholds"] == thresholds
    texts = table["text"].tolist()
    predictions = loaded.predict(texts)
    assert predictions == trained.predict(texts)
    for item in predictions:
        pairs = zip(item.probabilities.items(), thresholds, strict=True)
        assert item.labels == tuple(label for (label, chance), least in pairs if chance >= least)
    true = [[label in row for label in loaded.labels] for row in table["label"]]
    given = [[label in item.labels for label in loaded.labels] for item in predictions]
    evaluation = loaded.evaluate(table)
    for average in ("macro", "micro", "samples"):
        assert evaluation[f"{average}_f1"] == pytest.approx(f1_score(true, given, average=average, zero_division=0))
    assert trained.history["loss"][-1] < trained.history["loss"][0]
    trainable = {variable.name for variable in trained.keras_model.trainable_variables}
    assert trainable == {"lora_a", "lora_b", "kernel", "bias"}


def test_an_adapter_file_keeps_thresholds(trained: Any, options: dict[str, Any], tmp_path: Path) -> None:
    trained.save_adapter(tmp_path / "adapter")
    loaded = tfft.load_adapter(tmp_path / "adapter", preset=options["preset"], quiet=True)
    assert loaded.learned == trained.learned
    texts = TASK.sample_data()["text"].tolist()[::7]
    assert [item.labels for item in loaded.predict(texts)] == [item.labels for item in trained.predict(texts)]


def test_the_report_before_is_made_without_tuned_thresholds(trained: Any) -> None:
    rows = {name: trained.report.to_dict()[name]["per_label"].values() for name in ("before", "after")}
    assert [row["threshold"] for row in rows["before"]] == [0.5] * 3
    assert [row["threshold"] for row in rows["after"]] == trained.learned.settings["thresholds"]


def test_packed_rows_are_the_same_step_as_micro_batches(
    trained: Any, table: pd.DataFrame, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tfft.fit(table, **{**options, "batching": "auto"}, packing=True)
    assert "with up to 2 examples each" in " ".join(capsys.readouterr().err.split())
    for name, values in trained.history.items():
        np.testing.assert_allclose(packed.history[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
