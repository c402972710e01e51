"""The reports of all folds of a cross-validation, and their mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType

from tfft.console import as_text
from tfft.evaluation.report import AFTER, Report
from tfft.evaluation.tables import render
from tfft.metrics.base import Table


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What `tfft.cross_validate` returns.

    Attributes:
        reports: The report of each fold, which was its test split.
    """

    reports: Sequence[Report]

    def scalars(self, contestant: str = AFTER) -> dict[str, list[float]]:
        """Returns each figure's value in every fold.

        Args:
            contestant: Whose figures: "after fine-tuning", "before fine-tuning" or the name of a baseline.

        Returns:
            Figure to its values, fold by fold, without folds in which it is not defined.
        """
        figures = [report.compared()[contestant].scalars() for report in self.reports]
        names = dict.fromkeys(name for fold in figures for name in fold)
        return {name: [fold[name] for fold in figures if name in fold] for name in names}

    def __getitem__(self, name: str) -> float:
        """Returns the mean of a figure after fine-tuning, for instance `result["accuracy"]`."""
        return float(np.mean(self.scalars()[name]))

    def renderables(self) -> list[RenderableType]:
        """Returns mean and standard deviation over the folds for every contestant, and the figures of each fold."""
        contestants = list(self.reports[0].compared())
        figures = list(self.scalars())
        rows = []
        for name in figures:
            values = [self.scalars(contestant).get(name) for contestant in contestants]
            rows.append([name, *("-" if fold is None else _mean(fold) for fold in values)])
        each = [report.after.scalars() for report in self.reports]
        folds = [[name, *(f"{fold[name]:.3f}" if name in fold else "-" for fold in each)] for name in figures]
        heads = ["", *(f"fold {number} ({report.rows:,} rows)" for number, report in enumerate(self.reports, 1))]
        title = f"{len(self.reports)} folds: mean ± standard deviation"
        return [render(Table(title, ["", *contestants], rows)), render(Table(f"each fold, {AFTER}", heads, folds))]

    def to_dict(self) -> dict[str, Any]:
        """Returns the reports as plain data for JSON."""
        return {"folds": [report.to_dict() for report in self.reports]}

    def __str__(self) -> str:
        """Returns the tables as plain text."""
        return as_text(self.renderables())

    def _repr_html_(self) -> str:
        """Returns the tables for a notebook."""
        return f"<pre>{self}</pre>"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
