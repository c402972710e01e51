"""What every task's evaluation gives: scalars by name, tables, and plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to show: a title, column names and rows of cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Metrics(Protocol):
    """The figures of one evaluation over one whole split."""

    def scalars(self) -> dict[str, float]:
        """Returns the headline figures by name."""

    def tables(self) -> list[Table]:
        """Returns the tables behind the headline figures."""

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data for JSON."""
