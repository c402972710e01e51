"""Tables on the screen."""

from __future__ import annotations

from rich.table import Table as RichTable
from rich.text import Text

from tfft.metrics.base import Table


def render(table: Table, *, numbers: bool = True) -> RichTable:
    """Returns a table for rich: the first column on the left, the others on the right if they are `numbers`."""
    # Text, not str: rich would read a label such as "[neg]" as markup.
    rich = RichTable(title=Text(table.title), title_justify="left", title_style="bold")
    for place, column in enumerate(table.columns):
        rich.add_column(Text(column), justify="right" if numbers and place else "left")
    for row in table.rows:
        rich.add_row(*map(Text, row))
    return rich
