"""What every task promises: run over the registry, so that a new task file is tested by being there."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from alike_tasks import ALIKE
from broken_off import BreakOff

import tfft
from tfft.data.ragged_rows import SequenceOutputs
from tfft.tasks.base import tasks
from tfft.tasks.text_classification import TextClassification

TASKS = tasks.names()
#: Each task as it is, and ways of it whose model is built and exported otherwise.
WAYS: dict[str, dict[str, Any]] = {name: {"task": name, **tasks.get(name).sample_options()} for name in TASKS}
WAYS["pair_regression, bi-encoder"] = {"task": "pair_regression", "pair_encoder": "bi"}
WAYS["sentence_similarity, pairs"] = {"task": "sentence_similarity", "pair_loss": "multiple_negatives"}
#: Sentence similarity, on triplets, is a bi-encoder as well.
SLOW = ("pair_regression, bi-encoder", "sentence_similarity, pairs")


@pytest.fixture(
    scope="module",
    params=[pytest.param(way, marks=pytest.mark.slow) if way in (*SLOW, *ALIKE) else way for way in WAYS],
)
def trained(request: pytest.FixtureRequest, tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model of each task, trained on the task's own sample data and saved."""
    options = WAYS[request.param]
    data = tasks.get(options["task"]).sample_data()
    directory = tmp_path_factory.mktemp(options["task"]) / "run"
    return tfft.fit(
        data,
        **options,
        preset=tiny_preset,
        epochs=2,
        learning_rate=0.01,
        output_dir=str(directory),
        quiet=True,
    )


def inputs_of(model: Any) -> list[Any]:
    """Seven inputs as a caller gives them to `predict`, made of the task's sample data."""
    task = model.task
    examples = model.read(task.sample_data()[:7], labelled=True)
    return list(task.inputs(task.shaped(examples, model.learned)))


def assert_same(outputs: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Compares raw outputs, of rows or of the items of rows."""
    if isinstance(outputs, dict):
        assert list(outputs) == list(expected)
        for name, part in outputs.items():
            assert_same(part, expected[name], tolerance)
    elif isinstance(outputs, SequenceOutputs):
        np.testing.assert_array_equal(outputs.rows.splits, expected.rows.splits)
        np.testing.assert_allclose(outputs.rows.values, expected.rows.values, atol=tolerance, rtol=0)
        np.testing.assert_allclose(outputs.shared, expected.shared, atol=tolerance, rtol=0)
    elif outputs.dtype == object:
        assert outputs.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(outputs, expected, atol=tolerance, rtol=0)


def reversed_outputs(outputs: Any) -> Any:
    if isinstance(outputs, dict):
        return {name: reversed_outputs(part) for name, part in outputs.items()}
    if isinstance(outputs, SequenceOutputs):
        return SequenceOutputs(outputs.rows[np.arange(len(outputs))[::-1]], outputs.shared)
    return outputs[::-1]


def test_the_report_compares_before_after_and_baselines(trained: Any) -> None:
    contestants = trained.report.compared()
    assert list(contestants)[-2:] == ["before fine-tuning", "after fine-tuning"]
    assert len(contestants) > 2
    undefined = {"triplet_accuracy"} if trained.config.pair_loss == "multiple_negatives" else set()
    assert set(trained.task.figures_of(trained.config)) - undefined <= set(trained.report.after.scalars())
    assert all(name in str(trained.report) for name in trained.report.after.scalars())


def test_the_report_survives_as_plain_data(trained: Any) -> None:
    task = tasks.get(trained.config.task)
    assert task.restore_metrics(trained.report.after.to_dict()) == trained.report.after


def test_training_lowers_the_loss(trained: Any) -> None:
    assert trained.history["loss"][-1] < trained.history["loss"][0]


def test_predictions_follow_the_order_of_the_texts(trained: Any) -> None:
    inputs = inputs_of(trained)
    outputs = trained.outputs(inputs)
    assert_same(reversed_outputs(trained.outputs(inputs[::-1])), outputs, 1e-5)
    assert_same(trained.outputs(inputs, batch_size=2), outputs, 1e-5)
    assert len(trained.predict(inputs)) == len(inputs)


def test_loading_gives_the_same_outputs_to_the_bit(trained: Any) -> None:
    loaded = tfft.load(trained.config.output_dir, quiet=True)
    assert_same(loaded.outputs(inputs_of(trained)), trained.outputs(inputs_of(trained)))
    assert loaded.learned == trained.learned
    assert loaded.config == trained.config
    assert loaded.history == trained.history
    assert str(loaded.report) == str(trained.report)


def test_the_export_answers_as_predict_does(trained: Any, tmp_path: Path) -> None:
    version = trained.export(tmp_path / "model")
    assert version == tmp_path / "model" / "1"
    # The export was verified in a fresh process already; this is the reader that users write.
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    inputs = inputs_of(trained)
    given = {name: tf.constant(texts) for name, texts in trained.task.serving_inputs(inputs).items()}
    answers = {name: value.numpy() for name, value in signature(**given).items()}
    expected = trained.task.served_outputs(trained.predict(inputs), trained.learned)
    assert set(answers) == set(expected)
    for name, values in expected.items():
        if values.dtype == object:
            assert [item.decode() for item in answers[name].ravel()] == values.ravel().tolist()
        else:
            np.testing.assert_allclose(answers[name], values, atol=1e-5)


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=pytest.mark.slow) if task in ALIKE else task for task in TASKS]
)
def test_a_broken_off_run_with_lora_micro_batches_and_buckets_resumes_to_the_same_bits(
    task: str, tiny_preset: str, tmp_path: Path
) -> None:
    sample = tasks.get(task).sample_data()
    options: dict[str, Any] = {
        **WAYS[task], "preset": tiny_preset, "peft": "lora", "micro_batch_size": 4, "batch_size": 10, "epochs": 2,
        "batching": "bucketed", "checkpoint_steps": 3, "baselines": False, "quiet": True,
    }  # fmt: skip
    whole = tfft.fit(sample, output_dir=str(tmp_path / "whole"), **options)
    options["output_dir"] = str(tmp_path / "run")
    with pytest.raises(InterruptedError):
        tfft.fit(sample, callbacks=[BreakOff(7)], **options)
    resumed = tfft.fit(sample, resume=True, callbacks=[BreakOff(-1)], **options)
    for one, other in zip(whole.keras_model.get_weights(), resumed.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == whole.history


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_column_is_named(task: str, quiet: Any) -> None:
    data = tasks.get(task).sample_data()
    for column in tasks.get(task).columns(tfft.FitConfig(**WAYS[task]), labelled=True):
        renamed = data.rename(columns={column: f"{column}_x"})
        with pytest.raises(tfft.DataError, match=f"no column '{column}'. Did you mean '{column}_x'"):
            tfft.fit(renamed, **WAYS[task], quiet=True)


@pytest.mark.parametrize("task", TASKS)
def test_null_cells_fail_with_their_rows(task: str) -> None:
    data = tasks.get(task).sample_data()
    column = tasks.get(task).columns(tfft.FitConfig(**WAYS[task]), labelled=True)[0]
    data.loc[[3, 5], column] = None
    with pytest.raises(tfft.DataError, match=f"2 with null {column} \\(rows 4, 6\\)"):
        tfft.fit(data, **WAYS[task], quality={"missing": "fail"}, quiet=True)


def test_importing_tasks_does_not_import_tensorflow() -> None:
    code = (
        "import sys; from tfft.tasks.base import tasks\n"
        "[tasks.get(name) for name in tasks]; print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_users_own_task_can_be_registered(tiny_preset: str) -> None:
    class Shouting(TextClassification):
        """Text classification whose predictions are in capitals."""

        def decode(self, outputs: Any, rows: Any, learned: Any) -> list[Any]:
            """Returns predictions in capitals."""
            found = super().decode(outputs, rows, learned)
            return [dataclasses.replace(item, label=item.label.upper()) for item in found]

    if "shouting" not in tasks:
        tasks.register("shouting")(Shouting())
    model = tfft.fit(
        tasks.get("shouting").sample_data(), task="shouting", preset=tiny_preset, epochs=1, baselines=False, quiet=True
    )
    assert model.predict(["the film was moving"])[0].label in {"GOOD", "BAD"}
