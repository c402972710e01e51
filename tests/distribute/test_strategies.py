"""Several devices and several workers, each in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("run_strategy.py")


def start(strategy: str, project: Path, config: dict[str, Any] | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    environment.pop("TF_CONFIG", None)
    if config is not None:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, str(SCRIPT), strategy]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-2000:]
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


@pytest.fixture(scope="module")
def mirrored() -> dict[str, Any]:
    return result(start("mirrored", Path(__file__).parents[2]))


def test_two_devices_of_one_machine(mirrored: dict[str, Any]) -> None:
    assert mirrored["name"] == "mirrored"
    assert mirrored["sizes"] == [2, 1, 2, 0, True]
    assert "mirrored, 2 replicas (strategy='mirrored' was asked for)" in mirrored["log"][0]
    assert any(mirrored["plain"])
    np.testing.assert_allclose(mirrored["again"], mirrored["plain"], rtol=1e-6)


def test_two_workers_find_each_other_and_agree(mirrored: dict[str, Any], project: Path) -> None:
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = [
        start("auto", project, {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(2)
    ]
    first, second = map(result, processes)
    assert first["name"] == second["name"] == "multi_worker"
    assert first["sizes"] == [2, 2, 1, 0, True]
    assert second["sizes"] == [2, 2, 1, 1, False]
    assert "2 replicas on 2 workers, of which this is 1 (TF_CONFIG names 2 workers)" in second["log"][0]
    assert first["plain"] == second["plain"]
    np.testing.assert_allclose(first["plain"], mirrored["plain"], rtol=1e-6)
    np.testing.assert_allclose(first["again"], mirrored["plain"], rtol=1e-6)
