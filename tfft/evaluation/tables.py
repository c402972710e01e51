"""Tables on the screen."""

from __future__ import annotations

from rich.table import Table as RichTable
from rich.text import Text

from tfft.metrics.base import Table

#: Characters of the first column that other columns must leave room for.
WIDEST_NAME = 32


def render(table: Table, *, numbers: bool = True) -> RichTable:
    """Returns a table for rich: the first column on the left, the others on the right if they are `numbers`."""
    # Text, not str: rich would read a label such as "[neg]" as markup.
    rich = RichTable(title=Text(table.title), title_justify="left", title_style="bold")
    # Names of figures and labels are whole where other columns can be narrower, and are never cut short.
    longest = max((len(row[0]) for row in table.rows if row), default=0)
    for place, column in enumerate(table.columns):
        rich.add_column(
            Text(column),
            justify="right" if numbers and place else "left",
            overflow="fold",
            min_width=None if place else min(longest, WIDEST_NAME),
        )
    for row in table.rows:
        rich.add_row(*map(Text, row))
    return rich
