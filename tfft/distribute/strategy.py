"""Which devices train together: one, several of this machine, several machines, a TPU, workers of a chief."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfft.core.errors import ConfigError, unknown_name
from tfft.distribute.cluster import Cluster, read_cluster
from tfft.distribute.coordinator import Coordinator, check_chief
from tfft.distribute.precision import DeviceKind

#: Environment variables by which a machine says that it has a TPU.
_TPU_VARIABLES = ("TPU_NAME", "COLAB_TPU_ADDR", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS")
_TEXT_OF = {"CPU": "CPUs", "GPU": "GPUs", "TPU": "TPU cores"}


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the step runs.

    Attributes:
        name: Name of the strategy.
        strategy: The strategy; None on one device, which needs no scope.
        kind: Kind of device that computes.
        device: What is computed on, in words.
        num_replicas: Copies of the model that train together.
        num_workers: Processes that train together.
        worker: Number of this process; 0 is the chief.
        reason: Why this strategy.
    """

    name: str
    strategy: tf.distribute.Strategy | None
    kind: DeviceKind
    device: str
    num_replicas: int
    num_workers: int
    worker: int
    reason: str


def place(asked: str | tf.distribute.Strategy) -> Placement:
    """Decides where the step runs.

    Args:
        asked: Name of a strategy, "auto", or a strategy object.

    Returns:
        The placement.

    Raises:
        ConfigError: When the strategy is unknown or cannot be had here.
    """
    if isinstance(asked, tf.distribute.Strategy):
        return _own(asked, "the strategy object that was passed")
    if asked not in ("auto", *_MAKERS):
        raise ConfigError(unknown_name("strategy", str(asked), ["auto", *_MAKERS]))
    if asked == "auto" and tf.distribute.has_strategy():
        return _own(tf.distribute.get_strategy(), "the scope this was called in")
    cluster = read_cluster()
    name, reason = _automatic(cluster) if asked == "auto" else (asked, f"strategy={asked!r} was asked for")
    return _MAKERS[name](cluster, reason)


def _automatic(cluster: Cluster | None) -> tuple[str, str]:
    if cluster is not None and cluster.has_servers:
        return "parameter_server", "TF_CONFIG names parameter servers"
    if cluster is not None and cluster.num_workers > 1:
        return "multi_worker", f"TF_CONFIG names {cluster.num_workers} workers"
    if _tpu_found():
        return "tpu", "a TPU was found"
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        return "mirrored", f"{len(gpus)} GPUs were found"
    return "one_device", "the only GPU" if gpus else "no GPU or TPU was found"


def _one_device(cluster: Cluster | None, reason: str) -> Placement:
    if cluster is not None and cluster.num_workers > 1:
        reason += f"; the {cluster.num_workers} workers of TF_CONFIG then train apart"
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        reason += f"; {len(gpus) - 1} more GPUs are not used"
    kind: DeviceKind = "GPU" if gpus else "CPU"
    return Placement("one_device", None, kind, _in_words(kind), 1, 1, 0, reason)


def _mirrored(cluster: Cluster | None, reason: str) -> Placement:
    if cluster is not None and cluster.num_workers > 1:
        raise ConfigError(
            f"strategy='mirrored' is for one machine, but TF_CONFIG names {cluster.num_workers} workers. Use "
            "'multi_worker', or unset TF_CONFIG."
        )
    kind: DeviceKind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(devices) == 1:
        reason += f"; there is only one {kind}, so it gains nothing"
    return _placement("mirrored", tf.distribute.MirroredStrategy(devices), kind, reason)


def _multi_worker(cluster: Cluster | None, reason: str) -> Placement:
    if cluster is None:
        raise ConfigError(
            "strategy='multi_worker' needs the environment variable TF_CONFIG with the addresses of all workers, and "
            "it is not set. Start the same program on each machine with it, or use 'auto'."
        )
    if cluster.has_servers or cluster.task_type not in ("chief", "worker"):
        raise ConfigError(
            "strategy='multi_worker' takes a cluster of chief and workers; TF_CONFIG has "
            f"{', '.join(cluster.jobs)}, and this process is of the kind {cluster.task_type!r}."
        )
    if cluster.num_workers == 1:
        reason += "; there is only one worker, so it gains nothing"
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise _unreachable(cluster, error) from error
        raise ConfigError(
            "strategy='multi_worker' has to be set up before anything else runs on TensorFlow in the process, and "
            "something did already. Start a new process that calls tfft first, or create a "
            "tf.distribute.MultiWorkerMirroredStrategy at its start and pass that as strategy."
        ) from error
    except (ValueError, tf.errors.OpError) as error:
        raise _unreachable(cluster, error) from error
    return _own(strategy, reason)


def _unreachable(cluster: Cluster, error: Exception) -> ConfigError:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ConfigError(
        f"The {cluster.num_workers} workers of TF_CONFIG could not be connected: {text}. Check that each address is "
        "reachable, that its port is free, and that every worker was started with the same cluster."
    )


def _tpu(cluster: Cluster | None, reason: str) -> Placement:
    """Connects to a TPU.

    Where tfft is tested there is no TPU: this follows TensorFlow's documentation, and only the refusal is tested.
    """
    del cluster
    if not _tpu_found():
        raise ConfigError(
            "strategy='tpu' was asked for, but there is no TPU: TensorFlow lists none, and none of "
            f"{', '.join(_TPU_VARIABLES)} is set. Use strategy='auto'."
        )
    try:
        name = os.environ.get("TPU_NAME") or ("" if os.environ.get("COLAB_TPU_ADDR") else "local")
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, NotImplementedError, tf.errors.OpError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"The TPU could not be initialised: {text}. It needs a TensorFlow built for TPUs.") from error
    return _own(strategy, reason)


def _parameter_server(cluster: Cluster | None, reason: str) -> Placement:
    check_chief(cluster)
    try:
        strategy, _ = Coordinator.connect()
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"The workers and parameter servers of TF_CONFIG could not be connected: {text}. Start the same program "
            "with the same cluster on each of them, and let nothing run on TensorFlow in the chief before."
        ) from error
    return _served(strategy, reason)


def _served(strategy: tf.distribute.Strategy, reason: str) -> Placement:
    """Places what a chief leads: to the loop, all workers are replicas of the chief's process, which alone writes."""
    # The public `cluster_resolver` of this strategy is None.
    workers: int = strategy._cluster_resolver.cluster_spec().num_tasks("worker")
    kind = _kind_of(strategy)
    if len(strategy.extended.worker_devices) > 1:
        reason += f"; only the first of the {len(strategy.extended.worker_devices)} GPUs of each worker is used"
    device = f"a {kind} of each worker" if workers > 1 else f"the {kind} of the only worker"
    return Placement("parameter_server", strategy, kind, device, workers, 1, 0, reason)


_MAKERS: dict[str, Callable[[Cluster | None, str], Placement]] = {
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
    "parameter_server": _parameter_server,
}
#: Strategies that can be asked for by name.
STRATEGIES = tuple(_MAKERS)


def _own(strategy: tf.distribute.Strategy, reason: str) -> Placement:
    """Places a strategy that exists already."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        kind = _kind_of(strategy)
        cluster = read_cluster()
        workers, worker = (1, 0) if cluster is None else (cluster.num_workers, cluster.worker)
        return _placement("multi_worker", strategy, kind, reason, workers, worker)
    if isinstance(strategy, tf.distribute.MirroredStrategy):
        return _placement("mirrored", strategy, _kind_of(strategy), reason)
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return _placement("tpu", strategy, "TPU", reason)
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        return _served(strategy, reason)
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return _placement("one_device", strategy, _kind_of(strategy), reason)
    if type(strategy).__name__ == "_DefaultDistributionStrategy":
        return _one_device(None, reason)
    raise ConfigError(
        f"A {type(strategy).__name__} cannot train here. Pass a MirroredStrategy, MultiWorkerMirroredStrategy, "
        "TPUStrategy, ParameterServerStrategy or OneDeviceStrategy, or a name."
    )


def _placement(
    name: str, strategy: tf.distribute.Strategy, kind: DeviceKind, reason: str, workers: int = 1, worker: int = 0
) -> Placement:
    replicas = strategy.num_replicas_in_sync
    return Placement(name, strategy, kind, _in_words(kind, replicas // workers), replicas, workers, worker, reason)


def _kind_of(strategy: tf.distribute.Strategy) -> DeviceKind:
    kinds: dict[str, DeviceKind] = {"GPU": "GPU", "TPU": "TPU"}
    devices: tuple[str, ...] = strategy.extended.worker_devices
    return kinds.get(str(tf.DeviceSpec.from_string(devices[0]).device_type).upper(), "CPU")


def _tpu_found() -> bool:
    listed = any(tf.config.list_physical_devices(kind) for kind in ("TPU", "TPU_SYSTEM"))
    return listed or any(os.environ.get(name) for name in _TPU_VARIABLES)


def gpu_details() -> list[dict[str, Any]]:
    """Returns what TensorFlow knows of each GPU: device_name, compute_capability."""
    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu) for gpu in gpus]


def _in_words(kind: DeviceKind, count: int = 1) -> str:
    if kind == "CPU":
        threads = tf.config.threading.get_intra_op_parallelism_threads() or _cores()
        return f"CPU ({threads} threads)"
    if kind == "GPU":
        names = [str(details.get("device_name", "unknown")) for details in gpu_details()][:count]
        alike = dict.fromkeys(names)
        return f"GPU ({', '.join(alike)})" if count == 1 else f"{count} GPUs ({', '.join(alike)})"
    return f"{count} {_TEXT_OF[kind]}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
