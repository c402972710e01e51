"""Several heads on one backbone: how tasks are named and read, the loss, windows, and one trained model."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfft
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.core.learned import Learned
from tfft.data.joint_rows import JointRows
from tfft.data.ragged_rows import RaggedRows
from tfft.encoding.base import EncodedRows
from tfft.export.saved_model import ServingModule
from tfft.losses.joint import JointLoss
from tfft.losses.tagging import TagCrossentropy
from tfft.splitting import Sources, split_data
from tfft.tasks._joint import JointTask
from tfft.tasks.base import check_task, tasks

INTENT = {"task": "text_classification", "name": "intent"}
SLOTS = {"task": "token_classification", "name": "slots"}
REQUESTS = tasks.get("intent_slots").sample_data()


def joint() -> JointTask:
    task = tasks.get("multi_task")
    assert isinstance(task, JointTask)
    return task


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["text_classification"], "tasks names 1 task; several heads need at least two. For one, write task='text_c"),
        ([], "tasks is empty"),
        (["text_classification", "text_classification"], "'text_classification' stands twice; give each a name"),
        (
            ["text_clasification", SLOTS],
            "item 1: Unknown task 'text_clasification'. Did you mean 'text_classification'",
        ),
        (["question_answering", SLOTS], "'question_answering' cannot share its backbone"),
        ([{"name": "intent"}, SLOTS], "item 1: 'task' is missing"),
        ([INTENT | {"name": "In tent"}, SLOTS], "a name consists of small letters"),
        ([INTENT | {"weight": 0}, SLOTS], "weight should be a number above 0; received 0"),
        ([INTENT | {"label_colum": "x"}, SLOTS], "Unknown option 'label_colum'. Did you mean 'label_column'"),
        ([INTENT | {"class_weights": "balanced"}, SLOTS], "class_weights is for whole rows"),
        ([INTENT | {"label_smoothing": 3.0}, SLOTS], "item 1: The option label_smoothing should be"),
        ([INTENT, SLOTS | {"head": "crff"}], "head: Unknown head 'crff'. Did you mean 'crf'"),
    ],
)
def test_wrong_tasks_are_named(given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tfft.fit(REQUESTS, tasks=given, quiet=True)
    assert message in str(caught.value)


def test_task_and_tasks_contradict_each_other_and_options_without_use_are_refused() -> None:
    with pytest.raises(ConfigError, match="each say what to learn"):
        FitConfig(task="text_classification", tasks=["text_classification", "token_classification"])
    with pytest.raises(ConfigError, match="needs tasks"):
        check_task(FitConfig(task="multi_task"))
    for option in ({"packing": True}, {"class_weights": "balanced"}, {"regression_loss": "mae"}):
        with pytest.raises(ConfigError, match="has no effect"):
            check_task(FitConfig(tasks=[INTENT, SLOTS], **option))
    check_task(FitConfig(tasks=[INTENT, SLOTS], tag_scheme="bio", monitor="val_slots_entity_f1", label_smoothing=0.1))
    with pytest.raises(ConfigError, match="Did you mean 'val_slots_entity_f1'"):
        check_task(FitConfig(tasks=[INTENT, SLOTS], monitor="val_entity_f1"))


def test_a_row_that_one_task_cannot_use_is_left_out_for_all_and_counted() -> None:
    table = REQUESTS.copy()
    table.loc[4, "label"] = None
    table.at[7, "tokens"] = None
    table["part"] = ["validation", "test", *["train"] * (len(table) - 2)]
    config = FitConfig(
        tasks=[INTENT, SLOTS], split_column="part", quality={"missing": "drop", "near_duplicates": "off"}
    )
    data = split_data(config, Sources(table), Console(quiet=True))
    assert sum(map(len, data.examples.values())) == len(table) - 2
    assert not {5, 8} & set(data.examples["train"].rows.tolist())
    assert sorted(itertools.chain(*data.record["dropped"]["train"].values())) == [5, 8]
    # Labels and tags are still those of their row.
    names, tags = (
        data.learned.settings["members"]["intent"]["labels"],
        data.learned.settings["members"]["slots"]["labels"],
    )
    targets: Any = data.targets["train"]
    for place, row in enumerate(data.examples["train"].rows - 1):
        assert names[targets.parts["intent"][place]] == table.loc[row, "label"]
        assert [tags[number] for number in targets.parts["slots"].row(place)] == table.loc[row, "tags"]
        assert data.examples["train"].texts[place] == " ".join(table.loc[row, "tokens"])


def same_weights(one: Any, other: Any) -> bool:
    pairs = zip(one.keras_model.get_weights(), other.keras_model.get_weights(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def encoded(items: list[int], windows: list[int]) -> EncodedRows:
    rows = np.array(items)
    return EncodedRows(
        gather=lambda rows, width: {}, lengths=rows + 2, full_lengths=np.ones(len(windows), np.int64),
        truncated=np.empty(0, np.int64), windows=np.array(windows), items=rows,
    )  # fmt: skip


def test_over_a_whole_split_the_loss_is_the_weighted_sum_of_the_means_of_the_tasks() -> None:
    random = np.random.default_rng(0)
    # Three texts of 3, 5 and 2 words; the second is read in two rows.
    rows = encoded([3, 2, 3, 2], [1, 2, 1])
    tags = RaggedRows.from_lengths(random.integers(0, 4, 10).astype(np.int32), np.array([3, 5, 2]))
    classes = np.array([1, 0, 2])
    members = {
        "intent": {"task": "text_classification", "weight": 1.0, "labels": list("abc"), "settings": {}},
        "slots": {"task": "token_classification", "weight": 0.3, "labels": list("abcd"), "settings": {}},
    }
    learned = Learned([], {"members": members, "leader": "slots"})
    targets: Any = joint().row_targets(JointRows({"intent": classes, "slots": tags}), rows, learned)
    assert targets.parts["intent"].tolist() == [1, 0, 0, 2]
    scores, logits = random.normal(size=(4, 3, 4)).astype(np.float32), random.normal(size=(4, 3)).astype(np.float32)
    padded = np.full((4, 3), -1, np.int32)
    for place, row in enumerate(targets.parts["slots"]):
        padded[place, : len(row)] = row
    loss = JointLoss(
        {"intent": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "slots": TagCrossentropy()},
        {"intent": 1.0, "slots": 0.3},
    )
    values = loss.call(
        {"intent": (targets.parts["intent"], targets.scales["intent"]), "slots": (padded, targets.scales["slots"])},
        {"intent": logits, "slots": scores},
    )

    def log_softmax(values: np.ndarray) -> Any:
        return values - np.log(np.exp(values).sum(-1, keepdims=True))

    of_rows = -log_softmax(logits)[np.arange(4), [1, 0, 0, 2]]
    of_texts = np.array([of_rows[0], of_rows[1:3].mean(), of_rows[3]])
    of_words = np.concatenate(
        [-log_softmax(scores)[place, np.arange(len(row)), row] for place, row in enumerate(targets.parts["slots"])]
    )
    assert np.asarray(values).mean() == pytest.approx(of_texts.mean() + 0.3 * of_words.mean(), rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.weights == loss.weights
    assert list(again.losses) == list(loss.losses)


@pytest.fixture(scope="module")
def options(tiny_preset: str) -> dict[str, Any]:
    return {
        "preset": tiny_preset, "epochs": 1, "learning_rate": 0.01, "batch_size": 16, "baselines": False, "quiet": True,
    }  # fmt: skip


def test_intent_and_slots_are_two_named_tasks(options: dict[str, Any]) -> None:
    named = tfft.fit(REQUESTS, task="intent_slots", **options)
    general = tfft.fit(REQUESTS, tasks=[INTENT, SLOTS], **options)
    assert same_weights(named, general)
    weighted = tfft.fit(REQUESTS, tasks=[INTENT, SLOTS | {"weight": 0.1}], **options)
    assert not same_weights(weighted, general)
    prediction = general.predict(["book a flight to rome monday"])[0]
    assert prediction["intent"].label in {"weather", "flight"}
    assert [word.text for word in prediction["slots"].words] == ["book", "a", "flight", "to", "rome", "monday"]
    paths = [variable.path for variable in general.keras_model.variables]
    assert len(set(paths)) == len(paths)


def test_texts_longer_than_a_row_are_one_prediction_in_predict_and_in_the_graph(options: dict[str, Any]) -> None:
    model = tfft.fit(REQUESTS, task="intent_slots", sequence_length=6, **options)
    texts = ["book a flight to rome monday and weather in lima today please", "weather in oslo", ""]
    outputs = model.outputs(texts)
    assert outputs["intent"].shape == (3, 2)
    assert outputs["slots"].rows.lengths.tolist() == [12, 3, 0]
    # The average over windows, computed window by window.
    rows = model._encoding.encode(model.task.from_inputs(texts), Console(quiet=True), what="texts")
    assert rows.windows is not None
    assert rows.windows[0] > 1
    features = rows.gather(tf.range(len(rows.lengths), dtype=tf.int64), tf.constant(6))
    single = np.asarray(model.keras_model({name: features[name] for name in model.keras_model.input})["intent"])
    np.testing.assert_allclose(outputs["intent"][0], single[: rows.windows[0]].mean(axis=0), atol=1e-5)
    task, learned = model.task, model.learned
    module = ServingModule(model.keras_model, model._encoding, lambda out, context: task.serve(out, context, learned))
    served = module.serve(tf.constant(texts))
    expected = task.served_outputs(model.predict(texts), learned)
    assert set(served) == set(expected)
    np.testing.assert_allclose(served["intent_probabilities"], expected["intent_probabilities"], atol=1e-5)
    assert served["slots_tag"].numpy().astype(str).tolist() == expected["slots_tag"].tolist()


def test_a_frozen_backbone_trains_both_heads_on_features_computed_once(options: dict[str, Any]) -> None:
    frozen = {**options, "freeze": "backbone", "dropout": 0.0, "batching": "shuffled"}
    once = tfft.fit(REQUESTS, task="intent_slots", **frozen)
    assert len(once.keras_model.trainable_variables) == 5  # kernels, biases, transitions
    assert once.history["val_loss"][0] > 0


def test_thresholds_of_several_labels_are_tuned_beside_another_head(options: dict[str, Any]) -> None:
    table = pd.DataFrame({"text": tasks.get("text_classification").sample_data()["text"]})
    table["topics"] = [[word for word in ("film", "was") if word in text] for text in table["text"]]
    table["stars"] = [str(len(text) % 5) for text in table["text"]]
    table = table[["topics", "text", "stars"]]
    topics = {"task": "multi_label_classification", "name": "topics", "label_column": "topics"}
    stars = {"task": "text_regression", "name": "stars", "label_column": "stars", "weight": 2}
    model = tfft.fit(table, tasks=[topics, stars], **options)
    thresholds = model.learned.settings["members"]["topics"]["settings"]["thresholds"]
    assert thresholds != [0.5, 0.5]
    assert set(model.predict(["the film was moving"])[0]["topics"].probabilities) == {"film", "was"}
    report = model.report.after.scalars()
    assert report["loss"] == pytest.approx(report["topics_loss"] + 2 * report["stars_loss"])


def test_the_shell_takes_tasks_as_yaml_and_prints_predictions_of_each_head(tmp_path: Path, tiny_preset: str) -> None:
    from typer.testing import CliRunner

    from tfft.cli.app import app

    REQUESTS.to_json(tmp_path / "requests.jsonl", orient="records", lines=True)
    written = "[{task: text_classification, name: intent}, {task: token_classification, name: slots, weight: 2}]"
    common = [
        "--preset",
        tiny_preset,
        "--epochs",
        "1",
        "--output-dir",
        str(tmp_path / "run"),
        "--no-baselines",
        "--quiet",
    ]
    done = CliRunner().invoke(app, ["fit", str(tmp_path / "requests.jsonl"), "--tasks", written, *common])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), "weather in rome", "--quiet"])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found["predictions"]) == {"intent", "slots"}


@pytest.mark.slow
def test_adapters_with_several_heads_share_a_backbone(options: dict[str, Any], tmp_path: Path) -> None:
    texts = ["weather in rome", "book a flight to oslo today", "the film"]
    alone = {}
    for seed in (0, 1):
        model = tfft.fit(REQUESTS, task="intent_slots", peft="lora", seed=seed, **options)
        model.save_adapter(tmp_path / str(seed))
        alone[str(seed)] = model.predict(texts)
    together = tfft.load_adapters({name: tmp_path / name for name in alone}, quiet=True)
    found = together.predict(texts, adapter=["0", "1", "0"])
    for place, name in enumerate(["0", "1", "0"]):
        expected = alone[name][place]
        assert found[place]["intent"].probability == pytest.approx(expected["intent"].probability, abs=1e-5)
        tags = [[word.tag for word in item["slots"].words] for item in (found[place], expected)]
        assert tags[0] == tags[1]


def test_keras_metrics_of_one_output_are_refused_before_the_data_is_read() -> None:
    with pytest.raises(
        ConfigError, match="metrics= takes Keras metrics of one output, but the model has 2: intent, slots"
    ):
        tfft.fit("absent.csv", tasks=[INTENT, SLOTS], metrics=[keras.metrics.Mean()], quiet=True)


def test_tasks_may_be_a_tuple_and_are_looked_at_without_a_run(quiet: Console) -> None:
    config = FitConfig(tasks=(INTENT, SLOTS))
    assert config.tasks == [INTENT, SLOTS]
    assert config.task == "multi_task"
    assert tfft.inspect(REQUESTS, tasks=[INTENT, SLOTS], quiet=True).rows == len(REQUESTS)


@pytest.mark.parametrize(("column", "option"), [("tags", "tags_column="), ("label", "label_column=")])
def test_a_missing_column_is_answered_with_its_option(column: str, option: str) -> None:
    with pytest.raises(tfft.DataError, match=f"Name the column with {option} \\(--{column}-column\\)"):
        tfft.fit(REQUESTS.drop(columns=[column]), task="intent_slots", quiet=True)
