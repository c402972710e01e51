"""What a run leaves besides the model."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What a run leaves besides the model.

    Attributes:
        history: Figure to its value after each epoch.
        best_epoch: Number of the epoch, from 1, whose weights were kept.
        data: Fingerprint of the data, split sizes, dropped rows.
        held_out: Inputs of the test split, kept to verify exports with.
        plan: Where and how the run was computed.
    """

    history: dict[str, list[float]]
    best_epoch: int
    data: dict[str, Any]
    held_out: list[Any]
    plan: dict[str, Any]
