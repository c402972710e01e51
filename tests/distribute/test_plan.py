"""The execution plan: what it decides, and that it says so."""

from __future__ import annotations

import types

import keras
import pytest
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.distribute.plan import resolve
from tfft.distribute.precision import choose_precision


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_CONFIG", "TPU_NAME", "COLAB_TPU_ADDR", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS"):
        monkeypatch.delenv(name, raising=False)


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int, capability: tuple[int, int] = (9, 0)) -> None:
    gpus = [types.SimpleNamespace(name=f"/physical_device:GPU:{number}") for number in range(count)]
    details = {"device_name": "Pretend 9000", "compute_capability": capability}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)


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
    assert f"XLA: {'on' if asked else 'off'}" in plan.lines()[2]
    assert "asked for" in plan.lines()[2]


def test_the_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 0)
    assert resolve("auto").lines()[0].startswith("device: CPU (")
    assert resolve("auto").kind == "CPU"
    pretend_gpus(monkeypatch, 1)
    assert resolve("auto").lines()[0] == "device: GPU (Pretend 9000), one_device, 1 replica (the only GPU)"
    assert resolve("auto").kind == "GPU"


def test_gpus_that_stay_idle_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 3)
    assert "2 more GPUs are not used" in resolve(strategy="one_device").lines()[0]


def test_several_gpus_are_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which devices are asked for; a strategy over GPUs that are not there cannot be made."""
    pretend_gpus(monkeypatch, 2)
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind: [types.SimpleNamespace(name=f"/{kind}:{n}") for n in range(2)]
    )
    made: list[list[str]] = []

    def make(devices: list[str]) -> None:
        made.append(devices)
        raise RuntimeError

    monkeypatch.setattr(tf.distribute, "MirroredStrategy", make)
    with pytest.raises(RuntimeError):
        resolve()
    assert made == [["/GPU:0", "/GPU:1"]]


def test_deterministic_kernels_are_on_unless_xla_is_and_only_for_the_run() -> None:
    from tensorflow.python.framework import config as framework_config

    enabled = framework_config.is_op_determinism_enabled
    before = enabled()
    for jit_compile in (False, True, False):
        with resolve(jit_compile).kernels():
            assert enabled() is not jit_compile
        assert enabled() is before


def test_kernels_are_put_back_when_the_run_fails() -> None:
    from tensorflow.python.framework import config as framework_config

    before = framework_config.is_op_determinism_enabled()
    with pytest.raises(ZeroDivisionError), resolve(False).kernels():
        _ = 1 / 0
    assert framework_config.is_op_determinism_enabled() is before


def test_the_plan_promises_equal_weights_only_when_it_can() -> None:
    assert len(resolve(False).lines()) == 3
    assert resolve(False).lines()[2].endswith("yes")
    assert "not promised" in resolve(True).lines()[2]


def test_one_device_has_no_scope() -> None:
    plan = resolve()
    assert plan.strategy is None
    assert (plan.num_replicas, plan.num_workers, plan.local_replicas, plan.is_chief) == (1, 1, 1, True)
    with plan.scope():
        assert not tf.distribute.has_strategy()


def test_a_strategy_object_is_taken() -> None:
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    plan = resolve(strategy=strategy)
    assert (plan.strategy, plan.strategy_name, plan.kind) == (strategy, "one_device", "CPU")
    with plan.scope():
        assert tf.distribute.get_strategy() is strategy
        assert resolve().strategy is strategy
    assert resolve(strategy=tf.distribute.get_strategy()).strategy is None


def test_a_strategy_object_that_cannot_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="CentralStorageStrategy cannot train"):
        resolve(strategy=tf.distribute.experimental.CentralStorageStrategy(["/CPU:0"]))


def test_mirroring_one_device_is_allowed_and_said() -> None:
    plan = resolve(strategy="mirrored")
    assert plan.strategy_name == "mirrored"
    if plan.num_replicas == 1:
        assert "gains nothing" in plan.lines()[0]


def test_the_policy_is_set_and_put_back() -> None:
    before = keras.config.dtype_policy().name
    with resolve(precision="mixed_bfloat16").policy():
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == before
    with pytest.raises(ZeroDivisionError), resolve(precision="mixed_bfloat16").policy():
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize(
    ("kind", "capabilities", "wanted"),
    [
        ("CPU", [], "float32"),
        ("TPU", [], "mixed_bfloat16"),
        ("GPU", [(8, 0)], "mixed_bfloat16"),
        ("GPU", [(9, 0), (7, 5)], "float32"),
        ("GPU", [(7, 0)], "float32"),
        ("GPU", [None], "float32"),
    ],
)
def test_auto_precision_is_what_the_device_multiplies(
    kind: str, capabilities: list[tuple[int, int]], wanted: str
) -> None:
    assert choose_precision("auto", kind, capabilities)[0] == wanted


def test_precision_follows_the_gpu_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 1, (8, 6))
    assert resolve().lines()[1].startswith("precision: mixed_bfloat16 (GPU of compute capability 8.6")
    pretend_gpus(monkeypatch, 1, (7, 5))
    assert resolve().lines()[1].startswith("precision: float32 (GPU of compute capability 7.5")


def test_half_precision_on_a_cpu_is_done_and_said() -> None:
    for name in ("mixed_bfloat16", "mixed_float16"):
        plan = resolve(precision=name)
        assert plan.precision == name
        assert "slower than float32" in plan.lines()[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "mirored"}, "Did you mean 'mirrored'"),
        ({"precision": "bfloat16"}, "Did you mean 'mixed_bfloat16'"),
        ({"strategy": "tpu"}, "there is no TPU"),
        ({"strategy": "multi_worker"}, "needs the environment variable TF_CONFIG"),
        ({"strategy": "parameter_server"}, "need a TF_CONFIG"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        resolve(**options)
    assert "\n" not in str(caught.value)


def test_a_tpu_that_does_not_answer_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPU_NAME", "grpc://127.0.0.1:1")

    def refuse(tpu: str) -> None:
        raise ValueError(f"cannot reach {tpu}\nand more")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", refuse)
    with pytest.raises(ConfigError, match=r"could not be initialised: cannot reach grpc://127.0.0.1:1\."):
        resolve()
