"""The cluster that TF_CONFIG describes, read before TensorFlow sees it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from tfft.core.errors import ConfigError

#: Kinds of task that TensorFlow knows.
_JOBS = ("chief", "worker", "ps", "evaluator")
_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of a job and the part of this one.

    Attributes:
        jobs: Kind of task to the addresses ("host:port") of its tasks.
        task_type: Kind of this process: chief, worker, ps or evaluator.
        task_index: Its number among those of its kind, from 0.
    """

    jobs: Mapping[str, tuple[str, ...]]
    task_type: str
    task_index: int

    @property
    def num_workers(self) -> int:
        """The processes that train; a chief is one of them."""
        return len(self.jobs.get("chief", ())) + len(self.jobs.get("worker", ()))

    @property
    def worker(self) -> int:
        """The number of this process among those that train; 0 is the chief."""
        return self.task_index + (len(self.jobs.get("chief", ())) if self.task_type == "worker" else 0)

    @property
    def has_servers(self) -> bool:
        """Whether there are parameter servers."""
        return bool(self.jobs.get("ps"))


def read_cluster() -> Cluster | None:
    """Reads the environment variable TF_CONFIG.

    Returns:
        The cluster; None without TF_CONFIG, or where it names none.

    Raises:
        ConfigError: When TF_CONFIG is not what TensorFlow expects.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is not valid JSON ({error})") from None
    if not isinstance(settings, dict):
        raise _wrong("is not a JSON object")
    if not settings.get("cluster"):
        return None
    jobs = _jobs(settings["cluster"])
    kind, index = _task(settings.get("task"), jobs)
    return Cluster(jobs, kind, index)


def _jobs(cluster: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(cluster, dict):
        raise _wrong('has a "cluster" that is not an object')
    for kind, addresses in cluster.items():
        if kind not in _JOBS:
            raise _wrong(f"names the job {kind!r}, which is none of {', '.join(_JOBS)}")
        whole = isinstance(addresses, list) and all(isinstance(item, str) and ":" in item for item in addresses)
        if not whole or not addresses:
            raise _wrong(f'has no list of "host:port" for the job {kind!r}, but {addresses!r}')
    return {kind: tuple(addresses) for kind, addresses in cluster.items()}


def _task(task: Any, jobs: Mapping[str, tuple[str, ...]]) -> tuple[str, int]:
    if not isinstance(task, dict) or "type" not in task:
        raise _wrong('has no "task" with "type" and "index", which say what this process is')
    kind = task["type"]
    if kind not in jobs:
        raise _wrong(f"says that this process is a {kind!r}, but the cluster has only {', '.join(jobs)}")
    try:
        index = int(task.get("index", 0))
    except (TypeError, ValueError):
        raise _wrong(f"has the task index {task['index']!r}, which is no number") from None
    if not 0 <= index < len(jobs[kind]):
        raise _wrong(f"has the task index {index}, but the cluster has {len(jobs[kind])} of the kind {kind!r}")
    return kind, index


def _wrong(what: str) -> ConfigError:
    return ConfigError(
        f"The environment variable TF_CONFIG {what}. It should look like {_EXAMPLE}; unset it otherwise."
    )
