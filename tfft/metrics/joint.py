"""Figures of several heads on one backbone over a whole split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfft.metrics.base import Metrics, Table


@dataclasses.dataclass(frozen=True)
class JointMetrics:
    """The figures of each head, and the loss of them together.

    Attributes:
        loss: Weighted sum of the losses of the heads; None where one has none, such as a baseline.
        tasks: Name of the head to the name of its task.
        parts: Name of the head to its figures.
    """

    loss: float | None
    tasks: Mapping[str, str]
    parts: Mapping[str, Metrics]

    def scalars(self) -> dict[str, float]:
        """Returns the headline figures by name: those of a head begin with its name."""
        found = {} if self.loss is None else {"loss": self.loss}
        for name, part in self.parts.items():
            found |= {f"{name}_{figure}": value for figure, value in part.scalars().items()}
        return found

    def tables(self) -> list[Table]:
        """Returns the tables of each head."""
        return [
            dataclasses.replace(table, title=f"{name}: {table.title}")
            for name, part in self.parts.items()
            for table in part.tables()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data for JSON."""
        parts = {name: part.to_dict() for name, part in self.parts.items()}
        return {"loss": self.loss, "tasks": dict(self.tasks), "parts": parts}
