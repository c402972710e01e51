"""Where and how the training step runs, decided once and said with its reason."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Literal

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class ExecutionPlan:
    """How the hot path runs.

    Attributes:
        device: Name of the device, for instance "CPU (2 cores)".
        jit_compile: Whether XLA compiles the training step.
        reason: Why XLA is on or off.
    """

    device: str
    jit_compile: bool
    reason: str

    def lines(self) -> list[str]:
        """Returns the plan as lines for the log."""
        repeatable = "yes" if self.deterministic else "not promised with XLA; jit_compile=False promises it"
        return [
            f"device: {self.device}",
            f"XLA: {'on' if self.jit_compile else 'off'} ({self.reason})",
            f"same seed, same weights to the bit: {repeatable}",
        ]

    @property
    def deterministic(self) -> bool:
        """Whether TensorFlow's deterministic kernels are used: Keras refuses XLA with them."""
        return not self.jit_compile

    def apply(self) -> None:
        """Switches TensorFlow's deterministic kernels on or off, for the whole process."""
        if self.deterministic:
            tf.config.experimental.enable_op_determinism()
        else:
            # Has no public name; Keras asks the same module whether it may use XLA. Needed when an earlier run of this
            # process was deterministic.
            from tensorflow.python.framework import config as framework_config

            framework_config.disable_op_determinism()


def resolve(jit_compile: Literal["auto"] | bool) -> ExecutionPlan:
    """Decides the plan for this machine.

    Args:
        jit_compile: Whether XLA compiles the training step; "auto" decides by device.

    Returns:
        The plan.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        device = f"GPU ({details.get('device_name', gpus[0].name)})"
        if len(gpus) > 1:
            device += f"; {len(gpus) - 1} more are not used"
    else:
        device = f"CPU ({tf.config.threading.get_intra_op_parallelism_threads() or _cores()} threads)"
    if jit_compile != "auto":
        return ExecutionPlan(device, jit_compile, f"jit_compile={jit_compile} was asked for")
    if gpus:
        return ExecutionPlan(device, True, "one GPU, and few batch widths to compile")
    return ExecutionPlan(device, False, "on a CPU it gains nothing, and compiles every batch width anew")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
