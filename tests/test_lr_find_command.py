"""`tfft lr-find`: what it passes on, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tfft import api
from tfft.cli import lr_find
from tfft.training.learning_rate_finder import LearningRateCurve

CURVE = LearningRateCurve([0.1, 1.0], [2.0, 1.0], [2.0, 1.5], 0.1, 0.05, False, "a note")


def test_options_are_passed_on_and_the_curve_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, Any] = {}

    def find_learning_rate(**options: Any) -> LearningRateCurve:
        received.update(options)
        return CURVE

    monkeypatch.setattr(api, "find_learning_rate", find_learning_rate, raising=False)
    app = typer.Typer()
    app.callback()(lambda: None)
    lr_find.add_to(app)
    arguments = ["lr-find", "data.csv", "--task", "text_classification", "--batch-size", "8", "--quiet"]
    files = ["--plot", str(tmp_path / "curve.png"), "--output", str(tmp_path / "curve.json")]
    done = CliRunner().invoke(app, arguments + files)
    assert done.exit_code == 0, done.output
    assert received == {
        "data": "data.csv",
        "task": "text_classification",
        "batch_size": 8,
        "quiet": True,
        "plot": tmp_path / "curve.png",
        "lowest": 1e-7,
        "highest": 1.0,
        "steps": 100,
    }
    assert "suggested peak learning rate 5.0e-02" in done.stdout
    assert json.loads((tmp_path / "curve.json").read_text("utf-8")) == CURVE.to_dict()
