"""A process of a cluster with parameter servers that is lost while variables are made: before the first step."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf

from tfft.core.errors import PresetError, TrainingError
from tfft.distribute.lost_process import lost_process_named
from tfft.distribute.plan import ExecutionPlan, Reasons

SCRIPT = Path(__file__).with_name("run_lost_server.py")
FAILED = 3
BACKBONE = ("tfft.fitting.prepared", "load_text_backbone")
OPTIMIZER = ("tfft.training.train", "build_optimizer")
GONE = "failed to connect\nAdditional GRPC error information from remote target /job:ps/replica:0/task:1 while calling"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "before", "status"),
    [("ps", BACKBONE, FAILED), ("ps", OPTIMIZER, FAILED), ("worker", OPTIMIZER, 0)],
    ids=["ps before the backbone", "ps before the slots", "worker before the slots"],
)
def test_only_weights_cannot_be_replaced(
    tiny_preset: str, opinions: pd.DataFrame, tmp_path: Path, victim: str, before: tuple[str, str], status: int
) -> None:
    opinions.to_csv(tmp_path / "data.csv", index=False)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    addresses = [f"127.0.0.1:{item.getsockname()[1]}" for item in sockets]
    for item in sockets:
        item.close()
    cluster = {"chief": addresses[:1], "worker": addresses[1:3], "ps": addresses[3:]}

    def start(kind: str, index: int, killed: int = 0) -> subprocess.Popen[str]:
        config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
        environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "TF_CONFIG": config}
        command = [sys.executable, str(SCRIPT), tiny_preset, str(tmp_path / "data.csv"), *before, str(killed)]
        return subprocess.Popen(command, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    processes = {(kind, index): start(kind, index) for kind, index in (("worker", 0), ("worker", 1), ("ps", 0))}
    try:
        chief = processes["chief", 0] = start("chief", 0, processes[victim, 0].pid)
        said, _ = chief.communicate(timeout=300)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    assert chief.returncode == status, said
    last = said.splitlines()[-1]
    if status == 0:
        assert last == "finished"
    else:
        assert last.startswith("TrainingError: The process ps 0 of TF_CONFIG was lost, and the weights it held with it")
        assert "resume=True" in last


def plan_of(strategy: str, workers: int) -> ExecutionPlan:
    return ExecutionPlan("CPU", strategy, None, workers, workers, 0, "float32", False, Reasons("", "", ""))


@pytest.mark.parametrize(
    ("strategy", "workers", "message"),
    [
        ("parameter_server", 1, "The process ps 1 of TF_CONFIG was lost"),
        ("multi_worker", 2, r"Worker 0 lost contact with another of the 2 workers: failed to connect\. Start all"),
    ],
)
def test_every_way_in_which_tensorflow_says_it(strategy: str, workers: int, message: str) -> None:
    lost = tf.errors.UnavailableError(None, None, GONE)
    with pytest.raises(TrainingError, match=message) as caught, lost_process_named(plan_of(strategy, workers)):
        raise lost
    assert caught.value.__cause__ is lost
    with pytest.raises(TrainingError, match=message), lost_process_named(plan_of(strategy, workers)):
        raise PresetError("The preset cannot be loaded") from lost


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(tf.errors.UnavailableError), lost_process_named(plan_of("one_device", 1)):
        raise tf.errors.UnavailableError(None, None, GONE)
    hub = tf.errors.UnavailableError(None, None, "the server of presets is overloaded")
    for error in (PresetError("no such preset"), PresetError("cannot be fetched")):
        error.__cause__ = hub if "fetched" in str(error) else None
        with pytest.raises(PresetError), lost_process_named(plan_of("parameter_server", 1)):
            raise error
