"""Memory that a run may still take on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf

from tfft.core.errors import ConfigError

_CGROUP = Path("/sys/fs/cgroup")
#: Limit and use of a control group: version 2, then version 1. Containers have one.
_CGROUP_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def available_memory(kind: str) -> int | None:
    """Returns the bytes that are free for this process, on the first device of a kind.

    Args:
        kind: "CPU", "GPU" or "TPU".

    Returns:
        Bytes; None where nobody says.

    Raises:
        ConfigError: When the kind is unknown.
    """
    if kind == "CPU":
        return _free_of_host()
    if kind == "GPU":
        return _free_of_gpu()
    if kind == "TPU":
        return None
    raise ConfigError(f"The kind of device {kind!r} is unknown; known: 'CPU', 'GPU', 'TPU'.")


def _free_of_host() -> int | None:
    free = [size for size in (_free_of_machine(), *map(_free_of_group, _CGROUP_FILES)) if size is not None]
    return min(free, default=None)


def _free_of_machine() -> int | None:
    """Free pages and those that the system can take back, such as cached files."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:  # macOS tells no more than all there is
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None


def _free_of_group(files: tuple[str, str]) -> int | None:
    try:
        limit, used = ((_CGROUP / name).read_text("utf-8").strip() for name in files)
        return max(int(limit) - int(used), 0)
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return None


def _free_of_gpu() -> int | None:
    """TensorFlow takes nearly all memory of a GPU for itself and says how much; less what is in use."""
    from tensorflow.python.client import device_lib  # the only place that tells; has no public name

    limits = [device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU"]
    if not limits:
        return None
    return int(limits[0]) - int(tf.config.experimental.get_memory_info("GPU:0")["current"])
