"""What a worker or a parameter server does: it serves the chief until that is gone."""

from __future__ import annotations

import socket
import time

import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.distribute.cluster import Cluster, read_cluster

#: Seconds between two looks whether the chief is there, and until a look counts as failed.
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_OF_A_LOOK = 5.0
#: So many failed looks in a row say that the chief is gone.
FAILED_LOOKS = 10


def serves(cluster: Cluster | None) -> bool:
    """Tells whether this process computes for, or holds the weights of, the chief of a cluster."""
    return cluster is not None and cluster.has_servers and cluster.task_type in ("worker", "ps")


def serve(*, deterministic: bool = False) -> None:
    """Serves the chief in the process of a worker or a parameter server, until the chief was there and is gone.

    TensorFlow's own `Server.join` never returns, so that such a process would have to be killed.

    Args:
        deterministic: Whether TensorFlow's deterministic kernels are used, which each process decides for itself.

    Raises:
        ConfigError: When TF_CONFIG does not say that this process serves, or its port is taken.
    """
    cluster = read_cluster()
    if cluster is None or cluster.task_type not in ("worker", "ps"):
        raise ConfigError("Only a worker or a ps of TF_CONFIG serves; the chief trains.")
    if not cluster.jobs.get("chief"):
        raise ConfigError("TF_CONFIG names no chief, who would be served; add its address.")
    spec = tf.train.ClusterSpec({kind: list(addresses) for kind, addresses in cluster.jobs.items()})
    own = cluster.jobs[cluster.task_type][cluster.task_index]
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    try:
        # Held by a name: a server that nothing refers to is stopped.
        server = tf.distribute.Server(spec, job_name=cluster.task_type, task_index=cluster.task_index, protocol="grpc")
    except (tf.errors.OpError, RuntimeError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"This process cannot serve at {own}: {text}. Check that its port is free.") from error
    wait_until_gone(cluster.jobs["chief"][0])
    del server


def wait_until_gone(address: str, pause: float = SECONDS_BETWEEN_LOOKS) -> None:
    """Returns when an address accepted connections and does not any more.

    Args:
        address: Host and port.
        pause: Seconds between two looks.
    """
    host, _, port = address.rpartition(":")
    seen, failed = False, 0
    while not seen or failed < FAILED_LOOKS:
        if _accepts(host, int(port)):
            seen, failed = True, 0
        else:
            failed += 1
        time.sleep(pause)


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), timeout=SECONDS_OF_A_LOOK).close()
    except OSError:
        return False
    return True
