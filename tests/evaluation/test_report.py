"""What a person reads after a run."""

from __future__ import annotations

import numpy as np
import pytest

from tfft.evaluation.evaluation import Evaluation
from tfft.evaluation.report import Report
from tfft.metrics.classification import ClassificationMetrics, classification_metrics


def figures(classes: list[str], seed: int = 0) -> ClassificationMetrics:
    random = np.random.default_rng(seed)
    labels, logits = random.integers(len(classes), size=50), random.normal(size=(50, len(classes)))
    return classification_metrics(labels, logits.argmax(axis=1), classes, logits=logits)


@pytest.mark.parametrize("label", ["[neg]", "[/x]", ":smile:", "[bold]", "a|b"])
def test_labels_that_look_like_markup_are_shown_as_they_are(label: str) -> None:
    metrics = figures([label, "other"])
    for text in (str(Report("test", 50, {}, metrics, metrics)), str(Evaluation("file[1].csv, 50 rows", metrics))):
        assert text.count(label) >= 3
    assert "file[1].csv" in str(Evaluation("file[1].csv, 50 rows", metrics))


def test_the_report_shows_every_contestant_with_its_own_figures() -> None:
    contestants = {name: figures(["a", "b"], seed) for seed, name in enumerate(("base", "before", "after"))}
    report = Report("test", 50, {"base": contestants["base"]}, contestants["before"], contestants["after"])
    (line,) = [line for line in str(report).splitlines() if "accuracy" in line]
    assert [f"{metrics.accuracy:.3f}" for metrics in contestants.values()] == [
        cell.strip() for cell in line.split("│")[2:-1]
    ]


def test_a_baseline_without_probabilities_has_no_loss() -> None:
    labels = np.array([0, 1, 1])
    without = classification_metrics(labels, labels, ["a", "b"])
    report = Report("test", 3, {"rule": without}, figures(["a", "b"]), figures(["a", "b"]))
    (line,) = [line for line in str(report).splitlines() if "│ loss" in line]
    assert line.split("│")[2].strip() == "-"


def test_the_report_round_trips_through_plain_data() -> None:
    report = Report("test", 50, {"base": figures(["a", "b"])}, figures(["a", "b"], 1), figures(["a", "b"], 2))
    assert Report.from_dict(report.to_dict(), lambda plain: ClassificationMetrics(**plain)) == report
