"""Synchronous steps over parameter servers: workers compute, the chief adds up and updates."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.distribute.cluster import Cluster, read_cluster


class Coordinator:
    """Runs a pure function on the workers, one call each, and waits for all of them.

    TensorFlow's parameter servers are made for asynchronous updates, which no seed repeats. Where the function only
    computes loss and gradients of a shard, and the chief updates the variables when every shard is there, the result is
    that of one process on the whole batch. A worker that goes away costs time only: its shard is computed elsewhere.
    The price is that gradients and weights travel through the chief in each step.
    """

    def __init__(self, strategy: tf.distribute.Strategy, num_workers: int) -> None:
        """Connects to the workers.

        Args:
            strategy: A `tf.distribute.ParameterServerStrategy`; variables are made in its scope.
            num_workers: Number of workers.
        """
        self.num_workers = num_workers
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)

    @classmethod
    def connect(cls) -> tuple[tf.distribute.Strategy, Coordinator]:
        """Makes strategy and coordinator from TF_CONFIG; in the chief's process, before other use of TensorFlow.

        A process connects once: later calls return the same strategy.

        Returns:
            The strategy, and what runs functions on its workers.
        """
        cluster = check_chief(read_cluster())
        strategy = _connected(os.environ["TF_CONFIG"])
        return strategy, cls(strategy, len(cluster.jobs["worker"]))

    def run(self, function: Callable[..., Any], shards: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Calls a function once a shard, side by side.

        Args:
            function: A `tf.function` that changes no variable, so that it may run again when a worker is lost.
            shards: Arguments of each call.

        Returns:
            The results in the order of the shards, so that their sum does not depend on who was first.
        """
        waiting = [self._coordinator.schedule(function, args=shard) for shard in shards]
        return [result.fetch() for result in waiting]


@functools.cache
def _connected(cluster: str) -> tf.distribute.Strategy:
    del cluster  # read from the environment; here it only tells two clusters apart
    # Has no public name.
    from tensorflow.python.eager import context

    if context.context()._context_handle is not None:  # TensorFlow would connect, and lose what there is already
        raise ConfigError(
            "Parameter servers have to be connected before anything else runs on TensorFlow in the process, and "
            "something did already, such as making a metric. Call tfft.plan(strategy='parameter_server') first."
        )
    return tf.distribute.ParameterServerStrategy(tf.distribute.cluster_resolver.TFConfigClusterResolver())


def check_chief(cluster: Cluster | None) -> Cluster:
    """Checks that this process is the chief of a cluster with parameter servers.

    Args:
        cluster: What TF_CONFIG says.

    Returns:
        The cluster.

    Raises:
        ConfigError: When TF_CONFIG names no chief, workers and parameter servers, or this is not the chief.
    """
    if cluster is None or not all(cluster.jobs.get(kind) for kind in ("chief", "worker", "ps")):
        raise ConfigError(
            "Parameter servers need a TF_CONFIG with addresses of a chief, of workers and of ps. Start the same "
            "program with it on each of them, or use 'multi_worker', which needs workers only."
        )
    if cluster.task_type != "chief":
        raise ConfigError(f"The chief trains; this process is of the kind {cluster.task_type!r} and has to serve.")
    return cluster
