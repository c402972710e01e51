"""Numbers that the training step computes with: full or half the bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tfft.core.errors import ConfigError, unknown_name

#: Keras dtype policies that training supports; variables and optimizer slots are float32 in each.
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
#: The first generation of GPUs (Ampere) that multiplies bfloat16 matrices in hardware.
BFLOAT16_CAPABILITY = (8, 0)

DeviceKind = Literal["CPU", "GPU", "TPU"]


def choose_precision(
    asked: str, kind: DeviceKind, capabilities: Sequence[tuple[int, int] | None] = ()
) -> tuple[str, str]:
    """Decides the Keras dtype policy.

    float16 needs loss scaling and gains nothing over bfloat16 where both are in hardware, so "auto" never takes it.

    Args:
        asked: A policy, or "auto".
        kind: What the step runs on.
        capabilities: CUDA compute capability of each GPU; None where it is unknown.

    Returns:
        The policy, and why.

    Raises:
        ConfigError: When the policy is unknown, or of no use on this kind of device.
    """
    if asked != "auto":
        return _asked(asked, kind)
    if kind == "TPU":
        return "mixed_bfloat16", "TPUs multiply bfloat16 matrices in hardware"
    if kind == "CPU":
        return "float32", "on a CPU half precision gains nothing in general"
    oldest = min((capability or (0, 0) for capability in capabilities), default=(0, 0))
    name = "unknown" if oldest == (0, 0) else f"{oldest[0]}.{oldest[1]}"
    if oldest >= BFLOAT16_CAPABILITY:
        return "mixed_bfloat16", f"GPU of compute capability {name}: bfloat16 in hardware, no loss scaling needed"
    return "float32", f"GPU of compute capability {name}: bfloat16 needs 8.0; precision='mixed_float16' may be faster"


def _asked(asked: str, kind: DeviceKind) -> tuple[str, str]:
    if asked not in PRECISIONS:
        raise ConfigError(unknown_name("precision", asked, ["auto", *PRECISIONS]))
    reason = f"precision={asked!r} was asked for"
    if asked == "mixed_float16" and kind == "TPU":
        raise ConfigError("precision='mixed_float16' is not for TPUs, which compute in bfloat16; use 'mixed_bfloat16'.")
    if asked != "float32" and kind == "CPU":
        reason += "; on most CPUs it is slower than float32"
    return asked, reason
