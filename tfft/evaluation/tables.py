"""Tables on the screen."""

from __future__ import annotations

from rich.table import Table as RichTable
from rich.text import Text

from tfft.metrics.base import Table


def render(table: Table) -> RichTable:
    """Returns a table for rich: the first column on the left, figures on the right."""
    # Text, not str: rich would read a label such as "[neg]" as markup.
    rich = RichTable(title=Text(table.title), title_justify="left", title_style="bold")
    for place, column in enumerate(table.columns):
        rich.add_column(Text(column), justify="left" if place == 0 else "right")
    for row in table.rows:
        rich.add_row(*map(Text, row))
    return rich
