"""The figures of a model on labelled data."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import RenderableType

from tfft.console import as_text
from tfft.evaluation.tables import render
from tfft.metrics.base import Metrics, Table


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `FineTunedModel.evaluate` returns.

    Attributes:
        source: What was evaluated on.
        metrics: The figures; `metrics.scalars()` gives them by name.
    """

    source: str
    metrics: Metrics

    def __getitem__(self, name: str) -> float:
        """Returns one figure, for instance `evaluation["accuracy"]`."""
        return self.metrics.scalars()[name]

    def renderables(self) -> list[RenderableType]:
        """Returns the figures as rich tables."""
        figures = [[name, f"{value:.4f}"] for name, value in self.metrics.scalars().items()]
        headline = Table(self.source, ["figure", "value"], figures)
        return [render(table) for table in (headline, *self.metrics.tables())]

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain data for JSON."""
        return {"source": self.source, **self.metrics.to_dict()}

    def __str__(self) -> str:
        """Returns the tables as plain text."""
        return as_text(self.renderables())

    def _repr_html_(self) -> str:
        """Returns the tables for a notebook."""
        return f"<pre>{self}</pre>"
