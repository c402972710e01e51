"""Looking at a run before it: three lines, and with memory a table with advice."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import tfft
from tfft import planning
from tfft.cli import plan as plan_command
from tfft.config import FitConfig
from tfft.console import Console
from tfft.distribute.memory import MemoryEstimate, Workload, in_words
from tfft.distribute.plan import resolve
from tfft.planning import MemoryPlan, RunPlan, plan_run
from tfft.splitting import Sources


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Loading takes most of the time of a plan."""
    own = planning.load_text_backbone
    planning.load_text_backbone = functools.cache(own)
    yield
    planning.load_text_backbone = own


@pytest.fixture
def without_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advice needs one more trace an option; tests of other things go without."""
    monkeypatch.setattr(planning, "alternatives", lambda *_: {})


def planned(preset: str, quiet: Console, sources: Sources | None = None, **options: Any) -> MemoryPlan:
    config = FitConfig(task="text_classification", preset=preset, **options)
    found = plan_run(config, sources, resolve("auto", precision="float32"), quiet, memory=True)
    assert found.memory is not None
    return found.memory


def test_without_memory_it_is_three_lines(quiet: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "load_text_backbone", None)  # nothing is loaded
    found = plan_run(FitConfig(task="text_classification"), None, resolve("auto"), quiet, memory=False)
    assert str(found).splitlines() == resolve("auto").lines()
    assert found.to_dict()["precision"] == "float32"
    assert "memory" not in found.to_dict()


def test_data_that_is_not_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    plan_run(FitConfig(task="text_classification"), Sources("x.csv"), resolve("auto"), Console(), memory=False)
    assert "the data is not read" in capsys.readouterr().err


@pytest.mark.usefixtures("without_advice")
def test_without_data_rows_are_as_wide_as_allowed(tiny_preset: str, quiet: Console) -> None:
    assert planned(tiny_preset, quiet).workload.width == 24
    found = planned(tiny_preset, quiet, sequence_length=9, batch_size=7, micro_batch_size=2)
    assert (found.workload.width, found.workload.batch_size, found.workload.rows) == (9, 7, 2)


@pytest.mark.usefixtures("without_advice")
def test_data_decides_the_width(tiny_preset: str, quiet: Console, opinions: pd.DataFrame) -> None:
    narrow = planned(tiny_preset, quiet, Sources(opinions))
    assert narrow.workload.width < 24
    assert narrow.estimate.activations < planned(tiny_preset, quiet).estimate.activations


@pytest.mark.usefixtures("without_advice")
def test_options_reach_the_estimate(tiny_preset: str, quiet: Console) -> None:
    base = planned(tiny_preset, quiet)
    saved = planned(tiny_preset, quiet, gradient_checkpointing=True)
    assert saved.estimate.activations < base.estimate.activations
    assert saved.workload.gradient_checkpointing
    assert planned(tiny_preset, quiet, optimizer="sgd", ema=0.9).workload.slots == base.workload.slots == 2
    frozen = planned(tiny_preset, quiet, freeze="backbone")
    assert (frozen.estimate.gradients, list(frozen.advice)) == (0, [])


def test_lora_is_advised_where_everything_is_trained(tiny_preset: str, quiet: Console) -> None:
    plan = planned(tiny_preset, quiet)
    (line,) = [line for line in plan.advice if line.startswith("peft='lora': ")]
    assert "saves" in line
    # What is said is what a plan of that run says.
    assert line.startswith(f"peft='lora': {in_words(planned(tiny_preset, quiet, peft='lora').estimate.total)}, ")
    assert not [line for line in planned(tiny_preset, quiet, peft="bitfit").advice if "lora" in line]


def test_everything_is_shown_and_is_plain_data(
    tiny_preset: str, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_memory", lambda kind: 1)
    config = FitConfig(task="text_classification", preset=tiny_preset)
    found = plan_run(config, None, resolve("auto"), quiet, memory=True)
    text = str(found)
    assert "it does not fit" in text
    assert "activations" in text
    assert "gradient_checkpointing=True: " in text
    assert "still too much" in text
    assert json.loads(json.dumps(found.to_dict()))["memory"]["available"] == 1 + found.memory.estimate.parameters
    assert "<pre>" in found._repr_html_()


@pytest.mark.parametrize(("available", "words"), [(None, "is unknown"), (31, "it fits"), (30, "it does not fit")])
def test_the_verdict(available: int | None, words: str) -> None:
    assert words in MemoryPlan(Workload(1, 1), MemoryEstimate(1, 2, 4, 8, 16), available, []).verdict


def test_the_command_passes_options_and_writes_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}

    def plan(**options: Any) -> RunPlan:
        given.update(options)
        return RunPlan(resolve("auto"))

    monkeypatch.setattr(tfft, "plan", plan, raising=False)
    app = typer.Typer()
    plan_command.add_to(app)
    app.callback()(lambda: None)
    output = tmp_path / "plan.json"
    done = CliRunner().invoke(app, ["plan", "a.csv", "--memory", "--batch-size", "4", "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert given == {"data": "a.csv", "memory": True, "quiet": False, "batch_size": 4}
    assert len(done.stdout.splitlines()) == 3
    assert json.loads(output.read_text())["device"].startswith("CPU")
    given.clear()
    assert CliRunner().invoke(app, ["plan"]).exit_code == 0
    assert given == {"memory": False, "quiet": False}


def test_the_task_of_a_config_is_the_one_that_is_looked_at(tiny_preset: str) -> None:
    from tfft.arguments import with_a_task

    config = FitConfig(task="token_classification", preset=tiny_preset)
    assert with_a_task({"epochs": 1}, config) == {"epochs": 1}
    assert with_a_task({"tasks": ["a", "b"]}) == {"tasks": ["a", "b"]}
    assert with_a_task({"task": None})["task"] == with_a_task({})["task"] == "text_classification"
