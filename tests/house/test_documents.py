"""Every snippet of the documents runs: Python as it stands, shell commands, the config file."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DATA = (ROOT / "docs" / "data.md").read_text("utf-8")
PEFT = (ROOT / "docs" / "peft.md").read_text("utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text("utf-8")

#: Pages about one task or several, whose snippets stand alone.
TASK_PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.stem not in {"data", "peft", "training"})


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, opinions: pd.DataFrame) -> Path:
    """A folder as the README assumes it: reviews.csv and more.csv, and the commands on the path."""
    table = opinions.rename(columns={"label": "sentiment"}).replace({"good": "positive", "bad": "negative"})
    table.to_csv(tmp_path / "reviews.csv", index=False)
    table.to_csv(tmp_path / "more.csv", index=False)
    for block in blocks("yaml"):
        (tmp_path / "config.yaml").write_text(block)
    return tmp_path


def run(command: list[str], cwd: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_the_readme_has_the_snippets_that_are_tested() -> None:
    assert len(blocks("python")) == 1
    assert len(blocks("sh")) == 1
    assert len(blocks("yaml")) == 1
    assert len(blocks("python", DATA)) == len(blocks("sh", DATA)) == 1
    assert len(blocks("python", TRAINING)) == len(blocks("sh", TRAINING)) == 1
    assert (len(blocks("python", PEFT)), len(blocks("sh", PEFT))) == (2, 1)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippet_runs(code: str, folder: Path) -> None:
    out = run([sys.executable, "-c", code], folder)
    assert "after fine-tuning" in out
    assert (folder / "saved_models" / "reviews" / "1" / "saved_model.pb").is_file()


@pytest.mark.parametrize("script", blocks("sh"))
def test_shell_snippet_runs(script: str, folder: Path) -> None:
    out = run(["bash", "-euo", "pipefail", "-c", script], folder)
    assert '"label": ' in out
    assert "runs/from-config" in (folder / "config.yaml").read_text()
    assert (folder / "runs" / "from-config" / "run.json").is_file()


@pytest.mark.parametrize("code", blocks("python", DATA))
def test_python_snippet_about_data_runs(code: str, folder: Path) -> None:
    out = run([sys.executable, "-c", code], folder)
    assert "data quality" in out
    assert "random_swap" in out


@pytest.mark.parametrize("script", blocks("sh", DATA))
def test_shell_snippet_about_data_runs(script: str, folder: Path) -> None:
    out = run(["bash", "-euo", "pipefail", "-c", script], folder)
    assert "nothing found" in out
    assert "3 folds" in out


@pytest.mark.parametrize("code", blocks("python", TRAINING))
def test_python_snippet_about_training_runs(code: str, folder: Path) -> None:
    out = run([sys.executable, "-c", code], folder)
    assert "memory of a step" in out
    assert (folder / "rates.png").is_file()
    assert (folder / "runs" / "engine.logs" / "history.csv").is_file()


@pytest.mark.parametrize("script", blocks("sh", TRAINING))
def test_shell_snippet_about_training_runs(script: str, folder: Path) -> None:
    run(["bash", "-euo", "pipefail", "-c", script], folder)
    assert (folder / "runs" / "shell" / "run.json").is_file()


@pytest.mark.parametrize("code", blocks("python", PEFT))
def test_python_snippet_about_peft_runs(code: str, folder: Path) -> None:
    out = run([sys.executable, "-c", code], folder)
    assert "Prediction(label=" in out
    assert ("adapter file" in out) == ("peft_report" in code)
    written = [file.stat().st_size for file in (folder / "adapters").rglob("adapter.safetensors")]
    assert written
    assert max(written) < 1_000_000


def test_snippets_about_tasks_run(folder: Path) -> None:
    """Each by itself, one after the other in one process, which imports TensorFlow once."""
    scripts = [code for page in TASK_PAGES for code in blocks("python", (ROOT / "docs" / page).read_text("utf-8"))]
    assert len(scripts) >= len(TASK_PAGES)
    (folder / "all.py").write_text(f"for code in {scripts!r}:\n    exec(code, {{'__name__': '__main__'}})\n", "utf-8")
    out = run([sys.executable, "all.py"], folder)
    assert out.count("after fine-tuning") >= len(TASK_PAGES) - 1
    for page in TASK_PAGES:
        for script in blocks("sh", (ROOT / "docs" / page).read_text("utf-8")):
            run(["bash", "-euo", "pipefail", "-c", script], folder)


def test_every_task_has_a_row_in_the_readme_and_its_options_a_page() -> None:
    from tfft.tasks.base import TASK_OPTIONS, tasks

    assert set(tasks.names()) <= set(re.findall(r"^\| \[?`(\w+)`", README, re.MULTILINE))
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert {name for name in TASK_OPTIONS if name not in README + pages} == set()


def test_the_page_about_peft_names_every_method() -> None:
    from tfft.peft.base import methods

    assert set(methods.names()) == set(re.findall(r"^\| `(\w+)` \|", PEFT, re.MULTILINE))


def test_the_page_about_training_names_every_option_of_the_engine() -> None:
    from tfft.config.execution_options import ExecutionOptions
    from tfft.config.training_options import TrainingOptions

    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
    named = set(re.findall(r"[a-z_0-9]+", pages))
    options = {field.name for kind in (ExecutionOptions, TrainingOptions) for field in dataclasses.fields(kind)}
    # Those that the README or the page about data is about.
    elsewhere = {"pooling", "learning_rate", "class_weights", "monitor", "patience", "weight_decay", "baselines"}
    assert options - named - {option for option in options if option.replace("_", "-") in TRAINING} <= elsewhere


def test_the_page_about_data_names_every_check_and_augmentation() -> None:
    from tfft.augment.base import augmentations
    from tfft.data.cell_faults import CELL_CHECKS
    from tfft.quality.base import detectors

    named = set(re.findall(r"`([a-z_]+)`", DATA))
    assert {*CELL_CHECKS, *detectors.names(), *augmentations.names()} <= named
    defaults = dict(re.findall(r"^\| `([a-z_]+)` \| (report|fail) \|", DATA, re.MULTILINE))
    assert defaults == {**CELL_CHECKS, **{name: detectors.get(name).default for name in detectors.names()}}


def test_the_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        for target in re.findall(
            r"`make ([a-z-]+)`|^\$ make ([a-z-]+)", (ROOT / name).read_text("utf-8"), re.MULTILINE
        ):
            assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), f"{name}: make {''.join(target)}"


def test_the_links_in_the_documents_lead_somewhere() -> None:
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
        "saved_models/README.md",
    ):
        page = ROOT / name
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{name}: {link}"
