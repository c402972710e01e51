"""The command line: the same results as Python, and every mistake is one clear line with exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tfft.cli.app import main

TASK = ["--task", "text_classification"]


def tfft(*arguments: str, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tfft", *arguments]
    return subprocess.run(
        command, cwd=cwd, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


FILES: dict[str, bytes] = {
    "ok.csv": b"text,label\n" + b"".join(b"word%d text,%s\n" % (n, b"pos" if n % 2 else b"neg") for n in range(20)),
    "empty.csv": b"",
    "header.csv": b"text,label\n",
    "other.csv": b"text,sentiment\na,x\n",
    "one_class.csv": b"text,label\na,x\nb,x\nc,x\n",
    "few.csv": b"text,label\na,x\nb,x\nc,x\nd,y\n",
    "null.csv": b"text,label\na,x\n,y\nc,\n",
    "bytes.csv": b"text,label\na,x\nb\xe4d,y\n",
    "ragged.csv": b"text,label\na,x\nb,c,y\n",
    "data.xlsx": b"PK",
    "types.yaml": b"data: ok.csv\ntask: text_classification\nepochs: '3'\nschedule: step\nlearning_rat: 1\n",
    "list.yaml": b"- a\n",
    "no_task.yaml": b"data: ok.csv\n",
    "no_data.yaml": b"task: text_classification\n",
}

MISTAKES = [
    (["fit", "missing.csv", *TASK], ["missing.csv does not exist"]),
    (["fit", "okk.csv", *TASK], ["okk.csv does not exist", "Did you mean ok.csv"]),
    (["fit", "empty.csv", *TASK], ["empty.csv is empty"]),
    (["fit", "header.csv", *TASK], ["no rows"]),
    (["fit", "other.csv", *TASK, "--label-column", "sentimnt"], ["no column 'sentimnt'", "Did you mean 'sentiment'"]),
    (["fit", "one_class.csv", *TASK], ["every row has the label 'x'"]),
    (["fit", "few.csv", *TASK], ["'y' (1)", "at least 3 different rows"]),
    (["fit", "null.csv", *TASK, "--quality", "{missing: fail}"], ["1 with blank text (row 2)", "blank label (row 3)"]),
    (["fit", "ok.csv", *TASK, "--quality", "{leakag: drop}"], ["Did you mean 'leakage'"]),
    (["fit", "ok.csv", *TASK, "--augment", "{random_swop: 0.1}"], ["Did you mean 'random_swap'"]),
    (["fit", "ok.csv", *TASK, "--split", "time"], ["split='time' needs time_column"]),
    (["inspect", "missing.csv"], ["missing.csv does not exist"]),
    (["cross-validate", "few.csv", *TASK], ["5 folds need at least 5"]),
    (["fit", "bytes.csv", *TASK], ["row 2", "b\\xe4d", "undecodable text", "encoding='latin-1'"]),
    (["fit", "ragged.csv", *TASK], ["row 2", "3 fields", "header has 2"]),
    (["fit", "data.xlsx", *TASK], [".csv", ".jsonl"]),
    (["fit", "ok.csv", "--task", "text_clasification"], ["Did you mean 'text_classification'"]),
    (["fit", "ok.csv"], ["option task is missing"]),
    (["fit", "ok.csv", *TASK, "--epochs", "two"], ["option epochs should be a valid integer; received 'two'"]),
    (["fit", "ok.csv", *TASK, "--schedule", "step"], ["'linear', 'cosine', 'constant', 'inverse_sqrt' or 'one_cycle'"]),
    (["fit", "ok.csv", *TASK, "--output-dir", "full"], ["full is not empty"]),
    (["fit", "ok.csv", *TASK, "--encoding", "utf-88"], ["Unknown encoding 'utf-88'"]),
    (["fit", "ok.csv", *TASK, "--sequence-length", "600"], ["at most 512 tokens"]),
    (["fit", "ok.csv", *TASK, "--preset", "bert_tny_en_uncased"], ["Did you mean 'bert_tiny_en_uncased'"]),
    (["fit", "ok.csv", *TASK, "--preset", "full"], ["no config.json"]),
    (["fit", "types.yaml"], ["epochs should be a valid integer", "schedule should be", "Did you mean 'learning_rate'"]),
    (["fit", "list.yaml"], ["holds no mapping"]),
    (["fit", "no_task.yaml"], ["option task is missing"]),
    (["fit", "no_data.yaml"], ["No data was given"]),
    (["fit", "missing.yaml"], ["missing.yaml cannot be read"]),
    (["evaluate", "full", "ok.csv"], ["not a run directory"]),
    (["predict", "full", "a text"], ["not a run directory"]),
    (["export", "nowhere", "out"], ["not a run directory"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad files."""
    path = tmp_path_factory.mktemp("shell")
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    (path / "full").mkdir()
    (path / "full" / "something.txt").write_text("here")
    return path


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_a_clear_line_and_exit_code_2(
    arguments: list[str],
    expected: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["tfft", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert errors, said
    for part in expected:
        assert any(part in line for line in errors), said


def test_a_shell_sees_the_line_and_the_exit_code(folder: Path) -> None:
    done = tfft("fit", "okk.csv", *TASK, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error: The file okk.csv does not exist")
    assert "Traceback" not in done.stderr


def test_an_unknown_option_names_the_nearest(folder: Path) -> None:
    done = tfft("fit", "ok.csv", "--schedul", "linear", cwd=folder)
    assert done.returncode == 2
    assert "--schedule" in done.stderr


@pytest.fixture(scope="module")
def run(folder: Path, tiny_preset: str, opinions: pd.DataFrame) -> Path:
    """A run directory made by the command line from a config file with one option overridden."""
    opinions.to_csv(folder / "opinions.csv", index=False)
    config = f"data: opinions.csv\ntask: text_classification\npreset: {tiny_preset}\nepochs: 9\nlearning_rate: 1e-2\n"
    (folder / "config.yaml").write_text(config)
    done = tfft("fit", "config.yaml", "--epochs", "2", "--output-dir", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "after fine-tuning" in done.stdout
    assert "splits: train 48 rows, validation 6 rows, test 6 rows" in done.stderr
    return folder / "run"


def test_a_shell_option_replaces_that_of_the_config_file(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert (config["epochs"], config["learning_rate"]) == (2, 0.01)


def test_predict_prints_one_object_a_text(run: Path, folder: Path) -> None:
    done = tfft("predict", "run", "the film was moving", "the cast was weak", "--quiet", cwd=folder)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == ["the film was moving", "the cast was weak"]
    assert all(answer["label"] in answer["probabilities"] for answer in answers)
    assert done.stderr == ""


def test_predict_reads_lines_and_files_alike(run: Path, folder: Path, opinions: pd.DataFrame) -> None:
    lines = tfft("predict", "run", "--quiet", cwd=folder, stdin="\n".join(opinions["text"]) + "\n")
    file = tfft("predict", "run", "--data", "opinions.csv", "--output", "answers.jsonl", "--quiet", cwd=folder)
    assert file.returncode == 0, file.stderr
    assert lines.stdout == (folder / "answers.jsonl").read_text()
    assert len(lines.stdout.splitlines()) == len(opinions)


def test_evaluate_writes_the_figures(run: Path, folder: Path, opinions: pd.DataFrame) -> None:
    done = tfft("evaluate", "run", "opinions.csv", "--output", "figures.json", "--quiet", cwd=folder)
    assert "accuracy" in done.stdout
    figures = json.loads((folder / "figures.json").read_text())
    predicted = tfft("predict", "run", "--data", "opinions.csv", "--quiet", cwd=folder).stdout.splitlines()
    right = [json.loads(line)["label"] == label for line, label in zip(predicted, opinions["label"], strict=True)]
    assert figures["accuracy"] == pytest.approx(sum(right) / len(right))


def test_export_prints_the_version_directory(run: Path, folder: Path) -> None:
    done = tfft("export", "run", "served", "--quiet", cwd=folder)
    assert done.stdout.strip() == str(Path("served") / "1") or done.stdout.strip().endswith("served/1")
    assert (folder / "served" / "1" / "saved_model.pb").is_file()


def test_an_unknown_export_format_names_the_known(run: Path, folder: Path) -> None:
    done = tfft("export", "run", "served", "--format", "savedmodel", cwd=folder)
    assert done.returncode == 2
    assert "Did you mean 'saved_model'" in done.stderr
