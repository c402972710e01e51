"""`tfft.fit` with strategy="parameter_server" gives what one process gives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.distribute.cluster import Cluster
from tfft.distribute.serving import FAILED_LOOKS, serves, wait_until_gone
from tfft.distribute.strategy import place

SCRIPT = Path(__file__).with_name("run_parameter_servers.py")
#: Sums over workers are added up in another order; that is all.
ROUNDING = 1e-5
CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"]}


@pytest.fixture(scope="module")
def found(tiny_preset: str, opinions: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the chief found, and what the other processes said and returned."""
    import keras
    import keras_hub

    folder = tmp_path_factory.mktemp("served")
    keras.utils.set_random_seed(13)
    still = keras_hub.models.Backbone.from_preset(tiny_preset, load_weights=False, num_layers=1, dropout=0.0)
    still.save_to_preset(str(folder / "preset"))
    keras_hub.models.Tokenizer.from_preset(tiny_preset).save_to_preset(str(folder / "preset"))
    texts = [f"{text}{' and the script was moving'[: 7 * (row % 5)]}" for row, text in enumerate(opinions["text"])]
    opinions.assign(text=texts).to_csv(folder / "data.csv", index=False)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    addresses = [f"127.0.0.1:{item.getsockname()[1]}" for item in sockets]
    for item in sockets:
        item.close()
    cluster = {"chief": addresses[:1], "worker": addresses[1:3], "ps": addresses[3:]}

    def start(kind: str, index: int) -> subprocess.Popen[str]:
        config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
        environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "TF_CONFIG": config}
        command = [sys.executable, str(SCRIPT), str(folder), str(folder / "preset"), str(folder / "data.csv")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    servers = [start("worker", 0), start("worker", 1), start("ps", 0)]
    try:
        chief = start("chief", 0)
        _, chief_said = chief.communicate(timeout=400)
        assert chief.returncode == 0, chief_said[-4000:]
        said = [process.communicate(timeout=60)[1] for process in servers]
    finally:
        for process in servers:
            process.kill()
            process.communicate()
    with np.load(folder / "found.npz") as arrays:
        ends = [process.returncode for process in servers]
        return {**arrays, "ends": ends, "said": said, "chief said": chief_said}


@pytest.mark.slow
@pytest.mark.parametrize("pair", [("served", "alone"), ("resumed", "alone"), ("compiled", "compiled alone")])
def test_workers_train_as_one_process_does(found: dict[str, Any], pair: tuple[str, str]) -> None:
    first, second = pair
    assert np.ptp(found[f"{second}/losses"]) > 1e-2, "the model learns"
    for what in ("history/loss", "history/val_loss", "history/hits", "weights", "outputs"):
        difference = np.abs(found[f"{first}/{what}"] - found[f"{second}/{what}"]).max()
        assert difference < ROUNDING, (what, difference)


@pytest.mark.slow
def test_every_step_has_the_loss_of_one_process(found: dict[str, Any]) -> None:
    np.testing.assert_allclose(found["served/losses"], found["alone/losses"], atol=ROUNDING)


@pytest.mark.slow
def test_workers_have_the_dropout_masks_of_micro_batches(found: dict[str, Any]) -> None:
    full = slice(0, -1)  # the rows of the short last batch are dealt otherwise
    served, alone = found["masks of workers/losses"][full], found["masks of micro-batches/losses"][full]
    assert len(served) > 1
    np.testing.assert_allclose(served, alone, atol=ROUNDING)


@pytest.mark.slow
def test_a_resumed_run_is_the_same_to_the_bit(found: dict[str, Any]) -> None:
    np.testing.assert_array_equal(found["resumed/weights"], found["served/weights"])


@pytest.mark.slow
def test_weights_are_on_the_parameter_server_and_are_saved(found: dict[str, Any]) -> None:
    assert all("/job:ps" in device for device in found["devices"])
    np.testing.assert_allclose(found["loaded/outputs"], found["served/outputs"], atol=1e-6)


@pytest.mark.slow
def test_workers_and_servers_end_with_the_chief(found: dict[str, Any]) -> None:
    assert "parameter_server, 2 replicas (TF_CONFIG names parameter servers)" in found["chief said"]
    assert found["ends"] == [0, 0, 0]
    for said, who in zip(found["said"], ("worker 0", "worker 1", "ps 0"), strict=True):
        assert f"{who} of TF_CONFIG: serving the chief" in said
        assert f"{who}: the chief has ended" in said


@pytest.mark.parametrize(
    ("cluster", "kind", "message"),
    [
        (None, "", "need a TF_CONFIG"),
        ({"worker": ["a:1"]}, "worker", "need a TF_CONFIG"),
        (CLUSTER, "worker", "'worker' and has to serve"),
        (CLUSTER, "ps", "'ps' and has to serve"),
    ],
)
def test_what_cannot_lead_is_refused(
    cluster: dict[str, list[str]] | None, kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if cluster is not None:
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}}))
    with pytest.raises(ConfigError, match=message):
        place("parameter_server")


def test_waiting_ends_when_the_chief_was_there_and_is_gone() -> None:
    chief = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{chief.getsockname()[1]}"
    waiting = threading.Thread(target=wait_until_gone, args=(address, 0.01), daemon=True)
    waiting.start()
    chief.accept()[0].close()
    time.sleep(0.02 * FAILED_LOOKS)
    assert waiting.is_alive()
    chief.close()
    waiting.join(timeout=10)
    assert not waiting.is_alive()


@pytest.mark.parametrize(
    ("cluster", "kind", "wanted"),
    [
        (CLUSTER, "worker", True),
        (CLUSTER, "ps", True),
        (CLUSTER, "chief", False),
        ({"worker": ["a:1", "b:1"]}, "worker", False),  # these train together, without a chief to serve
    ],
)
def test_workers_and_ps_serve(cluster: dict[str, list[str]], kind: str, wanted: bool) -> None:
    jobs = {name: tuple(addresses) for name, addresses in cluster.items()}
    assert serves(Cluster(jobs, kind, 0)) is wanted


def test_a_process_that_used_tensorflow_cannot_connect_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tf.constant(0.0)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}))
    with pytest.raises(ConfigError, match="before anything else runs on TensorFlow"):
        place("auto")
