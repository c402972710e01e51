"""Pairs of texts: towers against the backbone alone, scores against formulas, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfft
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.core.learned import Learned
from tfft.losses.regression import RegressionLoss
from tfft.losses.scaled_targets import ScaledTargets
from tfft.losses.sentence_pairs import ContrastiveLoss
from tfft.metrics.pair_baselines import COSINE, LOGISTIC, MAJORITY, MEAN, RIDGE, Pairs, pair_regression_baselines
from tfft.splitting import Sources, split_data
from tfft.tasks.base import check_task, tasks

LABELS, NUMBERS = "pair_classification", "pair_regression"
PAIRS = [("the film was funny", "a dull plot"), ("the cast", "the cast"), ("", "a silly film"), ("weak music " * 9, "")]


SLOW = pytest.mark.slow


def table(task: str) -> pd.DataFrame:
    return tasks.get(task).sample_data()


def fitted(task: str, preset: str, **options: Any) -> tfft.FineTunedModel:
    common = {"task": task, "preset": preset, "epochs": 1, "baselines": False, "quiet": True}
    return tfft.fit(table(task), **{**common, "learning_rate": 0.01, **options})


def embeddings(folder: Path, texts: list[str]) -> np.ndarray:
    """Mean-pooled features of each text alone, by KerasHub without tfft, from the backbone that a run has saved."""
    preset = str(folder / "preset")
    backbone = keras_hub.models.Backbone.from_preset(preset)
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(preset)
    inputs = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=24)(texts)
    features = np.asarray(backbone(inputs)["sequence_output"], dtype=np.float64)
    mask = np.asarray(inputs["padding_mask"])[..., None]
    found: np.ndarray = (features * mask).sum(axis=1) / mask.sum(axis=1)
    return found


def sides(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    first, second = ([pair[side] for pair in PAIRS] for side in (0, 1))
    return embeddings(folder, first), embeddings(folder, second)


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: np.ndarray = np.einsum("ij,ij->i", first, second) / lengths
    return found


def test_softmax_classifies_both_embeddings_and_their_difference(tiny_preset: str, tmp_path: Path) -> None:
    model = fitted(LABELS, tiny_preset, pair_encoder="bi", output_dir=str(tmp_path / "run"))
    weights = {item.path.split("/")[-1]: np.asarray(item) for item in model.keras_model.get_layer("head").weights}
    first, second = sides(tmp_path / "run")
    both = np.concatenate([first, second, np.abs(first - second)], axis=1)
    expected = both @ weights["kernel"] + weights["bias"]
    np.testing.assert_allclose(model.outputs(PAIRS), expected, atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 1e-3
    counts = [len(built) for built in (model.keras_model.trainable_variables, set(model.keras_model.inputs))]
    assert counts[1] == 6
    single = keras_hub.models.Backbone.from_preset(tiny_preset)
    assert counts[0] == len([item for item in single.weights if "pooled" not in item.path]) + 2, "towers share weights"


def test_the_cosine_of_both_embeddings_stands_for_the_range_of_the_numbers(tiny_preset: str, tmp_path: Path) -> None:
    model = fitted(NUMBERS, tiny_preset, pair_encoder="bi", output_dir=str(tmp_path / "run"))
    expected = cosine(*sides(tmp_path / "run"))
    found = model.predict(PAIRS)
    np.testing.assert_allclose([item.similarity for item in found], expected, atol=1e-5)
    np.testing.assert_allclose([item.score for item in found], 5.0 * expected, atol=5e-5)
    assert found[1].score == pytest.approx(5.0)
    assert model.learned.settings == {"pair_encoder": "bi", "pair_loss": "cosine", "offset": 0.0, "scale": 5.0}
    assert tfft.load(tmp_path / "run", quiet=True).predict(PAIRS) == found


@pytest.mark.parametrize(
    ("numbers", "options", "expected"),
    [
        ([1.0, 2.0, 5.0], {"pair_encoder": "bi"}, (1.0, 4.0)),
        ([-0.5, 0.0, 2.0], {"pair_encoder": "bi"}, (0.0, 2.0)),
        ([-4.0, 0.0, 2.0], {"pair_encoder": "bi"}, (0.0, 4.0)),
        ([1.0, 2.0, 6.0], {}, (3.0, np.std([1.0, 2.0, 6.0]))),
    ],
)
def test_numbers_are_scaled(
    numbers: list[float], options: dict[str, Any], expected: tuple[float, float], quiet: Console
) -> None:
    rows = pd.DataFrame({"sentence1": list("abc") * 10, "sentence2": list("def") * 10, "label": numbers * 10})
    config = FitConfig(task=NUMBERS, **options)
    data = split_data(config, Sources(rows.assign(sentence2=[f"{row} x{row}" for row in range(30)])), quiet)
    found = data.learned.settings
    if options:
        assert (found["offset"], found["scale"]) == expected
    else:  # of the training rows
        train = np.array(data.examples["train"].columns["numbers"])
        assert (found["offset"], found["scale"]) == pytest.approx((train.mean(), train.std()))
    loss = tasks.get(NUMBERS).loss(config, data.learned)
    targets = np.array([found["offset"], found["offset"] + found["scale"]], np.float32)
    same = np.ones((2, 2, 3), np.float32)  # cosine 1
    outputs = same if options else np.ones((2, 1), np.float32)
    np.testing.assert_allclose(loss.call(targets, outputs), [1.0, 0.0], atol=1e-5)


def test_scaled_targets_survive_keras_files() -> None:
    loss = ScaledTargets(RegressionLoss("huber", delta=0.5), offset=3.0, scale=2.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    targets, outputs = np.array([3.0, 7.0, -1.0]), np.array([[0.0], [0.0], [1.0]], np.float32)
    expected = [0.0, 0.5 * (2.0 - 0.25), 0.5 * (3.0 - 0.25)]
    np.testing.assert_allclose(loss.call(targets, outputs), expected, rtol=1e-6)
    np.testing.assert_allclose(again.call(targets, outputs), expected, rtol=1e-6)
    with pytest.raises(ConfigError, match="scale finite and above 0"):
        ScaledTargets(RegressionLoss(), 0.0, 0.0)


def test_the_probability_of_a_distance_is_the_one_that_costs_least_there() -> None:
    """By brute force: at which distance is the expected contrastive loss least, for pairs similar so often?"""
    task, learned = tasks.get(LABELS), Learned(["no", "yes"], {"pair_loss": "contrastive"})
    no_rows: Any = None
    loss = task.loss(FitConfig(task=LABELS), learned)
    assert isinstance(loss, ContrastiveLoss)
    angles = np.linspace(0.0, np.pi / 2, 2001)
    pairs = np.stack([np.tile([1.0, 0.0], (2001, 1)), np.stack([np.cos(angles), np.sin(angles)], 1)], 1)
    pairs = pairs.astype(np.float32)
    costs = {similar: np.asarray(loss.call(np.full(2001, similar), pairs)) for similar in (0, 1)}
    for probability in (0.2, 0.5, 0.8):
        best = int(np.argmin(probability * costs[1] + (1 - probability) * costs[0]))
        found = task.decode(pairs[best : best + 1], no_rows, learned)[0]
        assert found.probabilities["yes"] == pytest.approx(probability, abs=0.01)
        assert found.similarity == pytest.approx(np.cos(angles[best]), abs=1e-5)


@pytest.mark.parametrize("name", [LABELS, NUMBERS])
def test_embeddings_are_served_as_they_are_decoded(name: str) -> None:
    no_rows: Any = None
    settings: dict[str, dict[str, Any]] = {
        LABELS: {"pair_loss": "contrastive"},
        NUMBERS: {"pair_loss": "cosine", "offset": 1.0, "scale": 4.0},
    }
    task, learned = tasks.get(name), Learned(["no", "yes"], settings[name])
    outputs = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    outputs[0] = 0.0
    served = task.serve(tf.constant(outputs), None, learned)
    expected = task.served_outputs(task.decode(outputs, no_rows, learned), learned)
    assert set(served) == set(expected)
    for key, values in expected.items():
        if values.dtype == object:
            assert np.char.decode(served[key].numpy().astype(bytes)).tolist() == values.tolist()
        else:
            np.testing.assert_allclose(served[key], values, atol=1e-5)


def test_contrastive_training_draws_similar_pairs_together(tiny_preset: str) -> None:
    model = fitted(LABELS, tiny_preset, pair_encoder="bi", pair_loss="contrastive", epochs=10)
    assert model.labels == ["different", "same"]
    rows = table(LABELS)
    found = model.predict(list(zip(rows["sentence1"], rows["sentence2"], strict=True)))
    similar = np.array([item.similarity for item in found])
    same = (rows["label"] == "same").to_numpy()
    assert similar[same].mean() > similar[~same].mean() + 0.2


@pytest.mark.parametrize(
    "peft", ["lora", *(pytest.param(name, marks=pytest.mark.slow) for name in ("prefix", "prompt"))]
)
def test_methods_train_in_both_towers(tiny_preset: str, peft: str, tmp_path: Path) -> None:
    options = {"rank": 2} if peft == "lora" else {"num_virtual_tokens": 3}
    model = fitted(
        NUMBERS, tiny_preset, pair_encoder="bi", peft={"method": peft, **options}, epochs=4, learning_rate=0.05
    )
    assert model.report.after.scalars()["loss"] < model.report.before.scalars()["loss"]
    found = [item.score for item in model.predict(PAIRS)]
    # A pair the other way round has the same cosine: the adapter acts on either side alike.
    turned = [item.score for item in model.predict([pair[::-1] for pair in PAIRS])]
    np.testing.assert_allclose(turned, found, atol=1e-5)
    model.save_adapter(tmp_path / "adapter")
    loaded = tfft.load_adapter(tmp_path / "adapter", quiet=True)
    assert loaded.predict(PAIRS) == model.predict(PAIRS)


@pytest.mark.parametrize(
    ("task", "options"),
    [(LABELS, {}), (NUMBERS, {"pair_encoder": "bi", "pooling": "first"})],
    ids=["cross", "bi"],
)
def test_heads_train_on_features_computed_once(tiny_preset: str, task: str, options: dict[str, Any]) -> None:
    model = fitted(task, tiny_preset, freeze="backbone", epochs=3, **options)
    assert model.history["loss"][-1] < model.history["loss"][0]
    # The report is of the head on kept features; this is of the whole model on texts.
    rows = table(task)
    judged = rows.iloc[[row - 1 for row in model.record.data["rows"]["test"]]]
    found = model.evaluate(judged).metrics.scalars()
    assert found == pytest.approx(model.report.after.scalars(), abs=1e-4)


@pytest.mark.slow  # every task is tried in micro-batches, as a cross-encoder
def test_micro_batches_take_the_steps_of_the_whole_batch(tiny_preset: str, tmp_path: Path) -> None:
    backbone = keras_hub.models.Backbone.from_preset(tiny_preset)
    still = type(backbone)(**{**backbone.get_config(), "dropout": 0.0})
    still.set_weights(backbone.get_weights())
    still.save_to_preset(str(tmp_path / "still"))
    keras_hub.tokenizers.Tokenizer.from_preset(tiny_preset).save_to_preset(str(tmp_path / "still"))
    whole, cut = (
        fitted(NUMBERS, str(tmp_path / "still"), pair_encoder="bi", batch_size=16, micro_batch_size=rows)
        for rows in (None, 5)
    )
    assert whole.history["loss"] == pytest.approx(cut.history["loss"], rel=1e-4)
    np.testing.assert_allclose(cut.outputs(PAIRS), whole.outputs(PAIRS), atol=1e-3)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (LABELS, {"pair_loss": "softmax"}, "pair_loss='softmax' compares the vectors of pair_encoder='bi'"),
        (LABELS, {"pair_encoder": "bi", "pair_loss": "cosine"}, "Unknown loss of pair_classification 'cosine'"),
        (NUMBERS, {"pair_encoder": "bi", "pair_loss": "softmax"}, "Unknown loss of pair_regression 'softmax'"),
        (LABELS, {"similar_label": "same"}, "similar_label is for pair_encoder='bi' with pair_loss='contrastive'"),
        (NUMBERS, {"pair_encoder": "bi", "dropout": 0.3}, "dropout has no effect with pair_loss='cosine'"),
        (NUMBERS, {"label_smoothing": 0.1}, "label_smoothing has no effect with task='pair_regression'"),
        (
            LABELS,
            {"pair_encoder": "bi", "pair_loss": "contrastive", "label_smoothing": 0.1, "r_drop": 1.0},
            "label_smoothing and r_drop has no effect",
        ),
        (LABELS, {"second_column": "sentence1"}, "they must differ"),
        (LABELS, {"packing": True}, "packing has no effect"),
        ("text_classification", {"pair_encoder": "bi"}, "pair_encoder has no effect"),
        (LABELS, {"pair_encoder": "bi", "pair_loss": "contrastive", "similar_label": "sane"}, "Did you mean 'same'"),
    ],
)
def test_options_that_do_nothing_are_refused(task: str, options: dict[str, Any], message: str) -> None:
    rows = table(LABELS if task == LABELS else NUMBERS)
    with pytest.raises(ConfigError, match=message):
        tfft.fit(rows.assign(text=rows["sentence1"]), task=task, quiet=True, **options)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (["neutral", "same", "opposite"], DataError, "for two classes, similar or not; the labels are"),
        (["red", "blue"], ConfigError, "which of the labels 'blue' and 'red'.* set similar_label"),
    ],
)
def test_the_contrastive_loss_must_know_which_pairs_are_similar(
    labels: list[str], error: type[Exception], message: str, quiet: Console
) -> None:
    rows = table(LABELS).assign(label=(labels * 60)[:60])
    config = FitConfig(task=LABELS, pair_encoder="bi", pair_loss="contrastive")
    with pytest.raises(error, match=message):
        split_data(config, Sources(rows), quiet)
    if len(labels) == 2:
        config = FitConfig(task=LABELS, pair_encoder="bi", pair_loss="contrastive", similar_label="blue")
        assert split_data(config, Sources(rows), quiet).labels == ["red", "blue"]


def test_cells_that_are_no_numbers_are_named(quiet: Console) -> None:
    rows = table(NUMBERS).astype({"label": object})
    rows.loc[[3, 7, 9], "label"] = ["good", "nan", "1e99"]
    with pytest.raises(DataError, match=r"3 cells of 'label' are not finite numbers, such as 'good' \(rows 4, 8, 10\)"):
        split_data(FitConfig(task=NUMBERS), Sources(rows), quiet)
    with pytest.raises(DataError, match="every row has the number 2,"):
        split_data(FitConfig(task=NUMBERS), Sources(rows.assign(label=2.0)), quiet)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("a text", "item at position 0 is a str. Write predict"),
        (["a", "b"], "item at position 0 is a str"),
        ([("a", "b"), ("a",)], "item at position 1 holds str"),
        ([("a", "b"), ("a", 3)], "item at position 1 holds str, int"),
        (7, "received a int"),
    ],
)
def test_inputs_that_are_no_pairs_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tasks.get(LABELS).from_inputs(inputs)


def test_pairs_and_sources_are_predicted_alike(tiny_preset: str) -> None:
    model = fitted(LABELS, tiny_preset)
    rows = table(LABELS).head(6)
    pairs = list(zip(rows["sentence1"], rows["sentence2"], strict=True))
    assert model.predict(pairs) == model.predict(rows) == model.predict([list(pair) for pair in pairs])
    assert model.predict(rows.to_dict("records")) == model.predict(pairs)
    assert model.predict_rows(rows)[0][0] == f"{pairs[0][0]} [SEP] {pairs[0][1]}"
    assert model.predict([]) == []
    with pytest.raises(DataError, match="no column 'sentence2'"):
        model.predict(rows[["sentence1"]])


def test_the_same_pair_is_a_duplicate_and_not_the_same_first_text(quiet: Console) -> None:
    words = [f"{first}{second}" for first in "bcdfghjk" for second in "aeiou"]
    rows = pd.DataFrame({"sentence1": ["one premise"] * 40, "sentence2": words, "label": ["yes", "no"] * 20})
    rows.loc[40] = rows.loc[0]
    config = FitConfig(task=LABELS, quality={"near_duplicates": "off"})
    checks = split_data(config, Sources(rows), quiet).record["findings"]["checks"]
    assert checks["exact_duplicates"]["rows"] == 2


def test_pairs_of_one_premise_stay_in_one_split(quiet: Console) -> None:
    premises = [f"premise {number // 4}" for number in range(60)]
    rows = table(LABELS).assign(sentence1=premises, sentence2=[f"claim {number}" for number in range(60)])
    data = split_data(FitConfig(task=LABELS, group_column="sentence1"), Sources(rows), quiet)
    parts = [set(examples.columns["first"]) for examples in data.examples.values()]
    assert sum(map(len, parts)) == 15 == len(set.union(*parts))


def test_baselines_compare_both_texts() -> None:
    words = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]
    pairs = [(first, second) for first in words for second in words]
    scores = np.array([5.0 if first == second else 1.0 for first, second in pairs])
    data = Pairs(*zip(*pairs, strict=True))
    found = pair_regression_baselines(data, scores, data, scores, scale=2.0)
    assert list(found) == [MEAN, RIDGE, COSINE]
    # One word a text: the cosine is 1 for the same word and 0 for another.
    assert found[COSINE].mae == pytest.approx(0.0, abs=1e-9)
    assert found[MEAN].loss == pytest.approx(scores.var() / 4)
    assert found[RIDGE].mse < 0.2 * found[MEAN].mse, "which text has a word does not tell; the product does"
    labelled = tasks.get(LABELS).baselines
    examples = tasks.get(LABELS).from_inputs(pairs)
    same = (scores > 1).astype(int)
    figures = labelled((examples, same), (examples, same), Learned(["no", "yes"]), FitConfig(task=LABELS))
    assert figures[LOGISTIC].scalars()["loss"] < 0.5 * figures[MAJORITY].scalars()["loss"]
    nothing = pair_regression_baselines(Pairs(["!"] * 2, ["?"] * 2), scores[:2], data, scores, scale=1.0)
    assert list(nothing) == [MEAN]


def test_unused_options_are_checked_without_data() -> None:
    check_task(FitConfig(task=LABELS, pair_encoder="bi", focal_gamma=2.0))
    with pytest.raises(ConfigError, match="mask_personal_data has no effect"):
        check_task(FitConfig(task=LABELS, mask_personal_data=True))
