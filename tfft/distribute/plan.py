"""Where and how the training step runs, decided once and said with its reasons."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from tfft.distribute.precision import DeviceKind, choose_precision
from tfft.distribute.strategy import Placement, gpu_details, place


@dataclasses.dataclass(frozen=True)
class Reasons:
    """Why a plan is what it is, in words.

    Attributes:
        strategy: Why these devices.
        precision: Why this dtype policy.
        jit_compile: Why XLA is on or off.
    """

    strategy: str
    precision: str
    jit_compile: str


@dataclasses.dataclass(frozen=True)
class ExecutionPlan:
    """How the hot path runs.

    Attributes:
        device: What this process computes on, for instance "CPU (2 threads)".
        strategy_name: one_device, mirrored, multi_worker, tpu or parameter_server.
        strategy: The strategy; None on one device, where a scope would only cost (Keras drops XLA in any scope).
        num_replicas: Copies of the model that train together, in all processes; under parameter servers one a worker.
        num_workers: Processes that run the loop together; under parameter servers only the chief does.
        worker: Number of this process; 0 is the chief, which alone writes.
        precision: Keras dtype policy.
        jit_compile: Whether XLA compiles forward and backward pass of each replica.
        reasons: Why.
        kind: Kind of device that computes: CPU, GPU or TPU.
    """

    device: str
    strategy_name: str
    strategy: tf.distribute.Strategy | None
    num_replicas: int
    num_workers: int
    worker: int
    precision: str
    jit_compile: bool
    reasons: Reasons
    kind: DeviceKind = "CPU"

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what all processes share."""
        return self.worker == 0

    @property
    def local_replicas(self) -> int:
        """The replicas of this process."""
        return self.num_replicas // self.num_workers

    @property
    def deterministic(self) -> bool:
        """Whether TensorFlow's deterministic kernels are used: Keras refuses XLA with them."""
        return not self.jit_compile

    def lines(self) -> list[str]:
        """Returns the plan as three lines for the log: where, in which precision, whether compiled."""
        replicas = "1 replica" if self.num_replicas == 1 else f"{self.num_replicas} replicas"
        workers = "" if self.num_workers == 1 else f" on {self.num_workers} workers, of which this is {self.worker}"
        repeatable = "yes" if self.deterministic else "not promised with XLA; jit_compile=False promises it"
        return [
            f"device: {self.device}, {self.strategy_name}, {replicas}{workers} ({self.reasons.strategy})",
            f"precision: {self.precision} ({self.reasons.precision})",
            f"XLA: {'on' if self.jit_compile else 'off'} ({self.reasons.jit_compile}); "
            f"same seed, same weights to the bit: {repeatable}",
        ]

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the context in which variables are made; does nothing on one device."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    @contextlib.contextmanager
    def policy(self) -> Iterator[None]:
        """Makes layers that are built inside compute in this precision.

        A layer whose config names a dtype, as those of presets do, keeps that one: pass it `dtype=plan.precision`.
        """
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    @contextlib.contextmanager
    def kernels(self) -> Iterator[None]:
        """Switches TensorFlow's deterministic kernels on or off inside, for the whole process; then back as they were.

        Left on, they would slow down and reorder the datasets of whoever goes on in the same process, and Keras would
        refuse to compile their models with XLA.
        """
        # Has no public name; Keras asks the same module whether it may use XLA.
        from tensorflow.python.framework import config as framework_config

        def switch(on: bool) -> None:
            (framework_config.enable_op_determinism if on else framework_config.disable_op_determinism)()

        before = framework_config.is_op_determinism_enabled()
        switch(self.deterministic)
        try:
            yield
        finally:
            switch(before)


def resolve(
    jit_compile: Literal["auto"] | bool = "auto",
    *,
    strategy: str | tf.distribute.Strategy = "auto",
    precision: str = "auto",
) -> ExecutionPlan:
    """Decides the plan for this machine.

    A strategy for several machines has to be made before any other use of TensorFlow in the process, so call this
    first.

    Args:
        jit_compile: Whether XLA compiles forward and backward pass; "auto" decides by device.
        strategy: Name of a strategy, "auto", or a `tf.distribute.Strategy`.
        precision: A Keras dtype policy, or "auto".

    Returns:
        The plan.

    Raises:
        ConfigError: When what is asked for is unknown or cannot be had here.
    """
    placement = place(strategy)
    capabilities = [details.get("compute_capability") for details in gpu_details()] if placement.kind == "GPU" else []
    policy, policy_reason = choose_precision(precision, placement.kind, capabilities)
    compiled, compile_reason = _choose_xla(jit_compile, placement)
    return ExecutionPlan(
        device=placement.device,
        strategy_name=placement.name,
        strategy=placement.strategy,
        num_replicas=placement.num_replicas,
        num_workers=placement.num_workers,
        worker=placement.worker,
        precision=policy,
        jit_compile=compiled,
        reasons=Reasons(placement.reason, policy_reason, compile_reason),
        kind=placement.kind,
    )


def _choose_xla(asked: Literal["auto"] | bool, placement: Placement) -> tuple[bool, str]:
    if asked != "auto":
        return asked, f"jit_compile={asked} was asked for"
    if placement.kind == "CPU":
        return False, "on a CPU it gains nothing, and compiles every batch width anew"
    if placement.name == "parameter_server":
        return False, "weights and gradients travel in each step, beside which XLA gains little"
    where = "on each replica" if placement.num_replicas > 1 else f"one {placement.kind}"
    return True, f"{where}, and few batch widths to compile"
