"""Where rows come from: names for a source and for single rows of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfft.core.errors import row_list

#: Row names that a message lists.
MOST_ROWS = 5


@dataclasses.dataclass(frozen=True)
class Origin:
    """A source by name, and the files it consists of.

    Row numbers count through all files, from 1.

    Attributes:
        name: The source, for messages.
        files: Name and number of rows of each file or other piece, in order.

    Example:
        >>> Origin("*.csv", (("a.csv", 100), ("b.csv", 50))).rows([3, 120])
        'a.csv row 3, b.csv row 20'
    """

    name: str
    files: tuple[tuple[str, int], ...] = ()

    def rows(self, numbers: Sequence[int] | np.ndarray, *, most: int = MOST_ROWS) -> str:
        """Returns "rows 3, 8 and 4 more", with the file of each row where there are several.

        Args:
            numbers: Row numbers, from 1.
            most: How many are named.

        Returns:
            The text.
        """
        numbers = [int(number) for number in numbers]
        if not self._several:
            return row_list(numbers, most=most)
        more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
        return ", ".join(self._row(number) for number in numbers[:most]) + more

    @property
    def _several(self) -> bool:
        return len(self.files) > 1

    def _row(self, number: int) -> str:
        for name, rows in self.files:
            if number <= rows:
                return f"{name} row {number}"
            number -= rows
        return f"row {number} after the last file"

    def ranges(self) -> list[dict[str, Any]]:
        """Returns the first and last row number of each file where there are several, as plain data."""
        if not self._several:
            return []
        ends = np.cumsum([rows for _, rows in self.files]).tolist()
        starts: Iterable[int] = [1, *(end + 1 for end in ends)]
        return [
            {"file": name, "rows": [start, end]}
            for (name, _), start, end in zip(self.files, starts, ends, strict=False)
        ]

    @property
    def total(self) -> int:
        """The number of rows of all files."""
        return sum(rows for _, rows in self.files)

    def joined(self, other: Origin) -> Origin:
        """Returns the origin of these rows followed by those of another source."""
        return Origin(f"{self.name} and {other.name}", self.files + other.files)

    def __str__(self) -> str:
        """Returns the name."""
        return self.name
