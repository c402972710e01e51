"""Two processes that train together: the figures of one, one writer, and what happens when a worker is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: Longest wait for a process (seconds), on a busy machine.
PATIENCE = 300.0
#: Longest time (seconds) in which a worker has to notice that another is gone; measured: 0.1 when it is
#: killed, 8 when it hangs, which its missing heartbeats tell.
NOTICED = 60.0
FAILED = 3
ROUNDING = 1e-5


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("localhost", 0))
        return [item.getsockname()[1] for item in sockets]


def start(folder: Path, preset: str, data: str, *, workers: int, resume: bool = False) -> list[subprocess.Popen[str]]:
    """Starts all workers of a run; with one, TF_CONFIG is not set."""
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    script = Path(__file__).with_name("run_worker.py")
    started = []
    for worker in range(workers):
        kept = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
        environment = {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}
        if workers > 1:
            cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": worker}}
            environment["TF_CONFIG"] = json.dumps(cluster)
        command = [sys.executable, str(script), str(folder), preset, data, "yes" if resume else "no"]
        output = (folder / f"log-{worker}.txt").open("a")
        started.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, env=environment))
        output.close()
    return started


def finish(processes: list[subprocess.Popen[str]], folder: Path) -> list[dict[str, Any]]:
    """Waits for all workers and returns what they found."""
    try:
        codes = [process.wait(PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [path.read_text("utf-8")[-3000:] for path in sorted(folder.glob("log-*.txt"))]
    assert set(codes) == {0}, "\n".join(logs)
    results = []
    for worker in range(len(processes)):
        with np.load(folder / f"found-{worker}.npz") as found:
            results.append(dict(found))
    return results


@pytest.fixture(scope="module")
def alone(still_preset: str, reviews: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process finds."""
    folder = tmp_path_factory.mktemp("alone")
    return finish(start(folder, still_preset, reviews, workers=1), folder)[0]


@pytest.fixture(scope="module")
def together(
    still_preset: str, reviews: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of two workers, and what each found."""
    folder = tmp_path_factory.mktemp("together")
    return folder, finish(start(folder, still_preset, reviews, workers=2), folder)


def test_two_workers_train_as_one_does(alone: dict[str, Any], together: Any) -> None:
    for found in together[1]:
        assert len(found["losses"]) == 20
        for name in ("losses", "weights", "history/val_loss", "history/hits"):
            assert np.abs(found[name] - alone[name]).max() < ROUNDING, name


def test_two_workers_end_with_the_same_bits(together: Any) -> None:
    first, second = together[1]
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_only_the_chief_writes(together: Any) -> None:
    folder = together[0]
    assert (folder / "run" / "run.json").is_file()
    assert not list(folder.glob("*.checkpoints"))
    own = {f"{kind}-{worker}.{end}" for worker in range(2) for kind, end in (("log", "txt"), ("events", "txt"))}
    assert {path.name for path in folder.iterdir()} == {"run", *own, "found-0.npz", "found-1.npz"}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_worker_is_noticed_and_both_resume_to_the_same_bits(
    together: Any, still_preset: str, reviews: str, tmp_path: Path, how: signal.Signals
) -> None:
    chief, other = start(tmp_path, still_preset, reviews, workers=2)
    try:
        until = time.monotonic() + PATIENCE
        events = tmp_path / "events-1.txt"
        while time.monotonic() < until and not (events.exists() and "step 11\n" in events.read_text("utf-8")):
            time.sleep(0.005)
        os.kill(other.pid, how)
        since = time.monotonic()
        assert chief.wait(NOTICED) == FAILED
        print(f"noticed after {time.monotonic() - since:.1f} s")
    finally:
        for process in (chief, other):
            process.kill()
            process.wait(PATIENCE)
    said = [line for line in (tmp_path / "log-0.txt").read_text("utf-8").splitlines() if "TrainingError" in line]
    assert len(said) == 1
    assert "resume=True" in said[0]
    for found in finish(start(tmp_path, still_preset, reviews, workers=2, resume=True), tmp_path):
        for name in found:
            np.testing.assert_array_equal(found[name], together[1][0][name])
