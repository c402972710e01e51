"""The report of a run: the test split before and after, beside the baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import RenderableType

from tfft.console import as_text
from tfft.evaluation.tables import render
from tfft.metrics.base import Metrics, Table

BEFORE, AFTER = "before fine-tuning", "after fine-tuning"


@dataclasses.dataclass(frozen=True)
class Report:
    """Figures of one split for the baselines, the untrained and the trained model.

    Attributes:
        split: Name of the split.
        rows: Number of rows in it.
        baselines: Name to figures.
        before: Figures of the pretrained backbone with an untrained head.
        after: Figures of the model that was kept.
    """

    split: str
    rows: int
    baselines: Mapping[str, Metrics]
    before: Metrics
    after: Metrics

    def compared(self) -> dict[str, Metrics]:
        """Returns every contestant's figures, the trained model last."""
        return {**self.baselines, BEFORE: self.before, AFTER: self.after}

    def renderables(self) -> list[RenderableType]:
        """Returns the report as rich tables."""
        # A figure may be undefined for some, such as the correlation of a constant.
        each = [self.after, *self.compared().values()]
        names = list(dict.fromkeys(name for metrics in each for name in metrics.scalars()))
        rows = []
        for name, metrics in self.compared().items():
            scalars = metrics.scalars()
            rows.append([name, *(f"{scalars[key]:.3f}" if key in scalars else "-" for key in names)])
        # Contestants as columns: there are few, and many figures.
        columns = ["", *(row[0] for row in rows)]
        figures = [[name, *(row[place + 1] for row in rows)] for place, name in enumerate(names)]
        title = f"{self.split} split, {self.rows:,} rows"
        return [render(table) for table in (Table(title, columns, figures), *self.after.tables())]

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain data for JSON."""
        return {
            "split": self.split,
            "rows": self.rows,
            "baselines": {name: metrics.to_dict() for name, metrics in self.baselines.items()},
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], restore: Callable[[Mapping[str, Any]], Metrics]) -> Report:
        """Returns the report that `to_dict` gave.

        Args:
            plain: Plain data.
            restore: Rebuilds the task's metrics from their plain data.

        Returns:
            The report.
        """
        return cls(
            split=plain["split"],
            rows=plain["rows"],
            baselines={name: restore(metrics) for name, metrics in plain["baselines"].items()},
            before=restore(plain["before"]),
            after=restore(plain["after"]),
        )

    def __str__(self) -> str:
        """Returns the tables as plain text."""
        return as_text(self.renderables())

    def _repr_html_(self) -> str:
        """Returns the tables for a notebook."""
        return f"<pre>{self}</pre>"
