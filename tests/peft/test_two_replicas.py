"""Methods on two replicas, compiled by XLA, and both, train as on one device."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfft.peft.base import methods

#: One that is a function of gradients alone, and one that acts after each update.
QUICK = ("adalora", "lora")
LATER = tuple(name for name in methods.names() if name not in QUICK)
PLANS = ("two", "one_xla", "two_xla")
#: Sums over replicas are added up in another order, and XLA's in another again.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Returns what a process on two logical devices found, by the group of methods that a method is in."""
    results: dict[tuple[str, ...], dict[str, Any]] = {}

    def of(method: str) -> dict[str, Any]:
        group = QUICK if method in QUICK else LATER
        if group not in results:
            folder = tmp_path_factory.mktemp("replicas")
            script = Path(__file__).with_name("run_two_replicas.py")
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            done = subprocess.run(
                [sys.executable, str(script), str(folder), *group],
                check=False,
                capture_output=True,
                text=True,
                env=environment,
                timeout=600,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            with np.load(folder / "found.npz") as saved:
                results[group] = dict(saved)
        return {key: value for key, value in results[group].items() if key.startswith(f"{method}/")}

    return of


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("method", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LATER)])
def test_an_adapter_is_trained_as_on_one_device(found: Callable[[str], dict[str, Any]], method: str, plan: str) -> None:
    arrays = found(method)
    one = {key: value for key, value in arrays.items() if key.startswith(f"{method}/one/")}
    assert len(one) > 2
    for key, value in one.items():
        other = arrays[key.replace("/one/", f"/{plan}/")]
        if key.endswith("/changed"):
            assert value.size == other.size == 0, "the base's weights changed"
        else:
            np.testing.assert_allclose(other, value, atol=ROUNDING, err_msg=key)
    losses = one[f"{method}/one/losses"]
    assert losses[-1] < losses[0]
