"""Parameter servers, driven step by step, give what one process gives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfft.core.errors import ConfigError
from tfft.distribute.coordinator import Coordinator
from tfft.distribute.serving import serve

SCRIPT = Path(__file__).with_name("run_coordinator.py")


@pytest.mark.slow
def test_a_synchronous_step_is_that_of_one_process(project: Path) -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    chief, first, second, server = (f"127.0.0.1:{item.getsockname()[1]}" for item in sockets)
    for item in sockets:
        item.close()
    cluster = {"chief": [chief], "worker": [first, second], "ps": [server]}

    def start(kind: str, index: int) -> subprocess.Popen[str]:
        config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
        environment = {**os.environ, "PYTHONPATH": str(project), "TF_CONFIG": config}
        return subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    servers = [start("worker", 0), start("worker", 1), start("ps", 0)]
    try:
        leader = start("chief", 0)
        out, err = leader.communicate(timeout=240)
        assert leader.returncode == 0, err[-2000:]
    finally:
        for process in servers:
            process.kill()
            process.communicate()
    found = json.loads(out.splitlines()[-1])
    assert found["workers"] == 2
    assert "/job:ps" in found["where"]
    shared, alone = found["losses"]
    assert alone[-1] < alone[0]
    np.testing.assert_allclose(shared, alone, rtol=1e-6)


def test_roles_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="need a TF_CONFIG"):
        Coordinator.connect()
    with pytest.raises(ConfigError, match="Only a worker or a ps"):
        serve()
    cluster = {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(ConfigError, match="has to serve"):
        Coordinator.connect()
