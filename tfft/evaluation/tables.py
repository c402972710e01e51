"""Tables on the screen."""

from __future__ import annotations

from rich.table import Table as RichTable

from tfft.metrics.base import Table


def render(table: Table) -> RichTable:
    """Returns a table for rich: the first column on the left, figures on the right."""
    rich = RichTable(title=table.title, title_justify="left", title_style="bold")
    for place, column in enumerate(table.columns):
        rich.add_column(column, justify="left" if place == 0 else "right")
    for row in table.rows:
        rich.add_row(*row)
    return rich
