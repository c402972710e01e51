"""Every snippet of the documents runs: Python as it stands, shell commands, the config file."""

from __future__ import annotations

import dataclasses
import json
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


#: Begins what a snippet prints.
MARK = "=== snippet: "
#: Runs the snippets that it is given as JSON: Python by itself, commands as the entry point `tfft` does.
RUNNER = f"""
import json, os, shlex, sys
import keras_hub
from tfft.backbones import keras_hub as presets
from tfft.cli.app import app
# The snippets of the README run with the real weights; the other pages, which name no preset, with a small backbone
# that has the same tokenizer.
default = presets.DEFAULT_TEXT_PRESET
tokenizer = presets.load_text_backbone(default).tokenizer
backbone = keras_hub.models.BertBackbone(
    vocabulary_size=tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=32, intermediate_dim=64
)
small = os.path.join(sys.argv[2], "small")
backbone.save_to_preset(small)
tokenizer.save_to_preset(small)
for page, language, code in json.load(open(sys.argv[1])):
    print({MARK!r} + page + " " + language, flush=True)
    presets.DEFAULT_TEXT_PRESET = default if page == "README" else small
    os.chdir(os.path.join(sys.argv[2], page + " " + language))
    if language == "python":
        exec(code, {{"__name__": "__main__"}})
        continue
    for line in code.splitlines():
        command, *arguments = shlex.split(line, comments=True)
        assert command == "tfft", line
        app(arguments, standalone_mode=False)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, opinions: pd.DataFrame) -> Path:
    """For each page and language a folder as it assumes it: reviews.csv, more.csv and the config file."""
    where = tmp_path_factory.mktemp("documents")
    table = opinions.rename(columns={"label": "sentiment"}).replace({"good": "positive", "bad": "negative"})
    for page in ("README", *(path.stem for path in (ROOT / "docs").glob("*.md"))):
        for language in ("python", "sh"):
            own = where / f"{page} {language}"
            own.mkdir()
            table.to_csv(own / "reviews.csv", index=False)
            table.to_csv(own / "more.csv", index=False)
            for block in blocks("yaml"):
                (own / "config.yaml").write_text(block)
    return where


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, str]:
    """What the snippets print, by page and language: all in one process, which imports TensorFlow once."""
    pages = {"README": README, **{path.stem: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}}
    snippets = [
        (page, language, code)
        for page, text in pages.items()
        for language in ("python", "sh")
        for code in blocks(language, text)
    ]
    (folder / "snippets.json").write_text(json.dumps(snippets), "utf-8")
    command = [sys.executable, "-c", RUNNER, str(folder / "snippets.json"), str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    found: dict[str, str] = {}
    for part in done.stdout.split(MARK)[1:]:
        name, _, out = part.partition("\n")
        found[name] = found.get(name, "") + out
    assert len(snippets) == done.stdout.count(MARK)
    return found


def test_the_readme_has_the_snippets_that_are_tested() -> None:
    assert len(blocks("python")) == 1
    assert len(blocks("sh")) == 1
    assert len(blocks("yaml")) == 1
    assert len(blocks("python", DATA)) == len(blocks("sh", DATA)) == 1
    assert len(blocks("python", TRAINING)) == len(blocks("sh", TRAINING)) == 1
    assert (len(blocks("python", PEFT)), len(blocks("sh", PEFT))) == (2, 1)


def test_the_snippets_of_the_readme_run(printed: dict[str, str], folder: Path) -> None:
    assert "after fine-tuning" in printed["README python"]
    assert (folder / "README python" / "saved_models" / "reviews" / "1" / "saved_model.pb").is_file()
    assert '"label": ' in printed["README sh"]
    assert "runs/from-config" in (folder / "README sh" / "config.yaml").read_text()
    assert (folder / "README sh" / "runs" / "from-config" / "run.json").is_file()


def test_the_snippets_about_data_run(printed: dict[str, str]) -> None:
    assert "data quality" in printed["data python"]
    assert "random_swap" in printed["data python"]
    assert "nothing found" in printed["data sh"]
    assert "3 folds" in printed["data sh"]


def test_the_snippets_about_training_run(printed: dict[str, str], folder: Path) -> None:
    assert "memory of a step" in printed["training python"]
    assert (folder / "training python" / "rates.png").is_file()
    assert (folder / "training sh" / "rates.png").is_file()
    assert (folder / "training python" / "runs" / "engine.logs" / "history.csv").is_file()
    assert (folder / "training sh" / "runs" / "shell" / "run.json").is_file()


def test_the_snippets_about_peft_run(printed: dict[str, str], folder: Path) -> None:
    assert printed["peft python"].count("Prediction(label=") >= 2
    assert "adapter file" in printed["peft python"]
    written = [file.stat().st_size for file in (folder / "peft python" / "adapters").rglob("adapter.safetensors")]
    assert len(written) == 3
    assert max(written) < 1_000_000
    assert (folder / "peft sh" / "runs" / "qdora" / "run.json").is_file()


@pytest.mark.parametrize("page", TASK_PAGES)
def test_the_snippets_about_a_task_run(printed: dict[str, str], page: str) -> None:
    assert "after fine-tuning" in printed[f"{Path(page).stem} python"]


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
