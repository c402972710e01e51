"""The execution plan: what it decides, and that it says so."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator

import pytest
import tensorflow as tf

from tfft.distribute.plan import resolve


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    gpus = [types.SimpleNamespace(name=f"/physical_device:GPU:{number}") for number in range(count)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: {"device_name": "Pretend 9000"})


@pytest.mark.parametrize(("gpus", "wanted"), [(0, False), (1, True)])
def test_auto_compiles_on_a_gpu_only(monkeypatch: pytest.MonkeyPatch, gpus: int, wanted: bool) -> None:
    pretend_gpus(monkeypatch, gpus)
    assert resolve("auto").jit_compile is wanted


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("asked", [True, False])
def test_what_was_asked_for_is_done_and_said(monkeypatch: pytest.MonkeyPatch, gpus: int, asked: bool) -> None:
    pretend_gpus(monkeypatch, gpus)
    plan = resolve(asked)
    assert plan.jit_compile is asked
    assert f"XLA: {'on' if asked else 'off'}" in plan.lines()[1]
    assert "asked for" in plan.lines()[1]


def test_the_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 0)
    assert resolve("auto").lines()[0].startswith("device: CPU (")
    pretend_gpus(monkeypatch, 1)
    assert resolve("auto").lines()[0] == "device: GPU (Pretend 9000)"


def test_gpus_that_stay_idle_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 3)
    assert "2 more are not used" in resolve("auto").device


@pytest.fixture
def determinism() -> Iterator[Callable[[], bool]]:
    """Tells whether TensorFlow's deterministic kernels are on; puts them back as they were."""
    from tensorflow.python.framework import config as framework_config

    before = framework_config.is_op_determinism_enabled()
    yield framework_config.is_op_determinism_enabled
    (framework_config.enable_op_determinism if before else framework_config.disable_op_determinism)()


def test_deterministic_kernels_are_on_unless_xla_is(determinism: Callable[[], bool]) -> None:
    for jit_compile in (False, True, False):
        resolve(jit_compile).apply()
        assert determinism() is not jit_compile


def test_the_plan_promises_equal_weights_only_when_it_can() -> None:
    assert resolve(False).lines()[2].endswith("yes")
    assert "not promised" in resolve(True).lines()[2]
