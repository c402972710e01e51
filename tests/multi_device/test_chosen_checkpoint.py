"""Two workers go on from the checkpoint that the chief chose, or both say why they cannot."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfft.config import FitConfig
from tfft.console import Console
from tfft.distribute.plan import resolve
from tfft.training.resuming import open_checkpoints

#: Longest wait for a process (seconds), on a busy machine.
PATIENCE = 300.0


def _state(value: float, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return {"value": np.array(value)}, {"step": step}


def interrupted(folder: Path, steps: list[int], value: float = 1.0) -> Path:
    """Leaves the checkpoints of a run that was interrupted."""
    folder.mkdir(parents=True)
    options = {"task": "text_classification", "output_dir": str(folder / "run"), "checkpoint_steps": 4}
    plan = resolve(False, strategy="one_device")
    with open_checkpoints(FitConfig.from_mapping(options), {}, plan, Console(quiet=True)) as checkpoints:
        for step in steps:
            checkpoints.after(step, functools.partial(_state, value, step))
    return folder / "run.checkpoints"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each worker went on from, by case."""
    cases = tmp_path_factory.mktemp("cases")
    # The chief was killed after it had moved step 8 away and before its successor was in its place: it puts it back.
    checkpoints = interrupted(cases / "put back" / "shared", [4, 8])
    (checkpoints / "step-00000008").rename(checkpoints / ".step-00000008-earlier")
    (cases / "none" / "shared").mkdir(parents=True)
    interrupted(cases / "disk of its own" / "0", [4, 8])
    interrupted(cases / "disk of its own" / "1", [4])
    for worker in (0, 1):
        interrupted(cases / "other run" / str(worker), [8], value=float(worker))
    interrupted(cases / "chief that fails" / "shared", [4])
    interrupted(cases / "worker that was not told" / "shared", [4])
    with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as other:
        workers = [f"localhost:{item.getsockname()[1]}" for item in (one, other)]
    command = [sys.executable, str(Path(__file__).with_name("run_resuming.py")), str(cases)]
    processes = []
    for worker in (0, 1):
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": worker}}
        own = {"PYTHONPATH": str(Path(__file__).parents[2]), "TF_CONFIG": json.dumps(cluster)}
        processes.append(
            subprocess.Popen(
                command, text=True, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    try:
        said = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said[0][1][-2000:] + said[1][1][-2000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def test_a_worker_waits_for_the_choice_of_the_chief(found: list[dict[str, Any]]) -> None:
    assert [worker["put back"] for worker in found] == [[8, 1.0], [8, 1.0]]


def test_without_a_checkpoint_all_begin_at_the_start(found: list[dict[str, Any]]) -> None:
    assert [worker["none"] for worker in found] == [0, 0]


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("disk of its own", "step-00000008: manifest.json cannot be read: No such file or directory"),
        ("other run", "step-00000008 is another checkpoint of the same step"),
        ("worker that was not told", "this worker was given no output_dir"),
    ],
    ids=["missing", "other", "no folder"],
)
def test_all_say_that_a_worker_cannot_read_it(found: list[dict[str, Any]], case: str, why: str) -> None:
    chief, worker = (item[case] for item in found)
    step = 4 if case.startswith("worker") else 8
    start = f"TrainingError: The chief goes on after step {step}, whose checkpoint these workers cannot read: 1 ("
    assert chief.startswith(f"{start}why is in their logs)")
    assert worker.startswith(start)
    assert why in worker
    assert "on a file system that they share" in worker


def test_a_chief_that_fails_leaves_nobody_waiting(found: list[dict[str, Any]]) -> None:
    assert "is in use by process" in found[0]["chief that fails"]
    assert found[1]["chief that fails"].startswith("TrainingError: The chief could not open its checkpoints")
