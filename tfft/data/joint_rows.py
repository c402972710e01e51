"""Targets of several tasks on the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class JointRows:
    """Targets of several tasks on the same rows, by the name of the output they belong to.

    Attributes:
        parts: Name to targets: an array whose first axis are rows, or rows of different length.
        scales: Name to what the loss of each row is multiplied by, float32 of shape `(rows,)`; none outside training.
    """

    parts: Mapping[str, Any]
    scales: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: np.ndarray) -> JointRows:
        """Returns the targets of the rows at the given positions."""
        return JointRows(
            {name: part[rows] for name, part in self.parts.items()},
            {name: scale[rows] for name, scale in self.scales.items()},
        )
