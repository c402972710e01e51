"""The trained model: predict and evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

import tfft
from tfft.core.errors import DataError, TfftError

TEXTS = ["the film was wonderful", "a dull plot", "the cast", "", "the script was silly " * 9]


@pytest.fixture(scope="module")
def trained(opinions: pd.DataFrame, tiny_preset: str) -> tfft.FineTunedModel:
    return tfft.fit(
        opinions,
        task="text_classification",
        preset=tiny_preset,
        quiet=True,
        freeze="backbone",
        learning_rate=0.5,
        epochs=8,
        batch_size=8,
        validation_fraction=0.0,
        baselines=False,
    )


def test_no_texts_give_no_predictions(trained: tfft.FineTunedModel) -> None:
    assert trained.predict([]) == []


def test_a_prediction_has_label_probability_and_all_probabilities(trained: tfft.FineTunedModel) -> None:
    for prediction in trained.predict(TEXTS):
        assert isinstance(prediction, tfft.Prediction)
        assert list(prediction.probabilities) == trained.labels == ["bad", "good"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
        assert prediction.probability == max(prediction.probabilities.values())
        assert prediction.probabilities[prediction.label] == prediction.probability


def test_predictions_are_the_softmax_of_the_outputs(trained: tfft.FineTunedModel) -> None:
    exponentials = np.exp(trained.outputs(TEXTS).astype(np.float64))
    wanted = exponentials / exponentials.sum(axis=1, keepdims=True)
    found = [list(prediction.probabilities.values()) for prediction in trained.predict(TEXTS)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_predictions_do_not_depend_on_order_or_company(trained: tfft.FineTunedModel) -> None:
    together = [prediction.probability for prediction in trained.predict(TEXTS)]
    alone = [trained.predict([text])[0].probability for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    reverse = [prediction.probability for prediction in trained.predict(TEXTS[::-1], batch_size=2)]
    np.testing.assert_allclose(reverse[::-1], together, atol=1e-6)


@pytest.mark.parametrize("texts", ["one string", b"bytes", None, 5, [b"bytes"], ["fine", None], ["fine", 3, 4.5]])
def test_anything_but_a_list_of_strings_is_a_data_error(trained: tfft.FineTunedModel, texts: Any) -> None:
    with pytest.raises(DataError, match=r"list of texts|Texts are strings"):
        trained.predict(texts)


def test_any_data_source_is_predicted_row_by_row(trained: tfft.FineTunedModel, tmp_path: Any) -> None:
    wanted = [prediction.probabilities for prediction in trained.predict(["a film", "a plot"])]
    rows = [{"text": "a film"}, {"text": None}, {"text": "a plot"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for source in (rows, str(tmp_path / "rows.jsonl"), tmp_path / "rows.jsonl", lambda: iter(rows), pd.DataFrame(rows)):
        first, none, last = trained.predict(source)
        assert none is None
        np.testing.assert_allclose([list(first.probabilities.values()), list(last.probabilities.values())],
                                   [list(row.values()) for row in wanted], atol=1e-6)  # fmt: skip
    assert [text for text, _ in trained.predict_rows(rows)] == ["a film", None, "a plot"]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(trained: tfft.FineTunedModel, batch_size: int) -> None:
    with pytest.raises(TfftError, match="batch_size"):
        trained.predict(["the film"], batch_size=batch_size)


def test_the_first_item_that_is_no_string_is_named(trained: tfft.FineTunedModel) -> None:
    with pytest.raises(DataError, match=r"position 1 is a float \(2 in all\)"):
        trained.predict(["fine", float("nan"), None])


def test_a_column_of_a_table_is_a_list_of_strings(trained: tfft.FineTunedModel, opinions: pd.DataFrame) -> None:
    assert len(trained.predict(opinions["text"])) == 60


def test_broken_unicode_is_predicted(trained: tfft.FineTunedModel) -> None:
    assert len(trained.predict(["half a pair: \ud83d", "nul\x00byte"])) == 2


def test_evaluate_agrees_with_scikit_learn_on_the_predictions(
    trained: tfft.FineTunedModel, opinions: pd.DataFrame, tmp_path: Path
) -> None:
    opinions.to_csv(tmp_path / "opinions.csv", index=False)
    evaluation = trained.evaluate(tmp_path / "opinions.csv")
    predictions = trained.predict(opinions["text"].tolist())
    labels = [prediction.label for prediction in predictions]
    probabilities = [list(prediction.probabilities.values()) for prediction in predictions]
    assert evaluation["accuracy"] == pytest.approx(accuracy_score(opinions["label"], labels))
    assert evaluation["macro_f1"] == pytest.approx(f1_score(opinions["label"], labels, average="macro"))
    assert evaluation["loss"] == pytest.approx(log_loss(opinions["label"], probabilities), rel=1e-6)
    assert len(set(labels)) == 2, "a constant prediction would test little"
    assert "60 rows" in evaluation.source


def test_evaluate_names_the_row_of_an_unseen_label(trained: tfft.FineTunedModel, tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["the film", "the plot"], "label": ["good", "goood"]})
    table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=r"new\.csv, row 2.*'goood'.*'good'"):
        trained.evaluate(tmp_path / "new.csv")


def test_the_report_is_made_of_rows_the_training_did_not_see(
    trained: tfft.FineTunedModel, opinions: pd.DataFrame
) -> None:
    rows = np.array(trained.record.data["rows"]["test"]) - 1
    figures = trained.evaluate(opinions.iloc[rows])
    assert trained.report.after.scalars()["loss"] == pytest.approx(figures["loss"], rel=1e-6)
    assert trained.record.held_out == opinions["text"].iloc[rows].tolist()


def test_the_report_shows_what_training_gained(trained: tfft.FineTunedModel) -> None:
    before, after = trained.report.before.scalars(), trained.report.after.scalars()
    assert before["loss"] != after["loss"]
    assert before["loss"] == pytest.approx(np.log(2), abs=0.05), "an untrained head knows nothing"
