"""Cells that cannot be used as they are: missing ones, and text that is no Unicode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.origin import Origin

#: What is done about a finding: say it, leave the rows out, stop, or do not look.
Policy = Literal["report", "drop", "fail", "off"]
#: Checks of single cells, made while reading, with their default policy. A row without a text or a label cannot be
#: trained on: to report it is to leave it out. Where undecodable bytes are only reported, U+FFFD stands for them.
CELL_CHECKS: Mapping[str, Policy] = {"missing": "report", "undecodable": "fail"}
#: Rows of each reason that a message quotes.
_QUOTED = 3
_QUOTE_LENGTH = 60


def as_unicode(value: str) -> str:
    """Returns a cell as valid Unicode."""
    return value if _is_unicode(value) else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_unicode(value: str) -> bool:
    """Tells whether a string has bytes in UTF-8; half a surrogate pair, or a byte that was not decodable, has none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quote(value: str) -> str:
    """Returns what stands around the first character that is no Unicode, with its byte as digits."""
    at = next(place for place, letter in enumerate(value) if "\ud800" <= letter <= "\udfff")
    piece = ascii(value[max(0, at - _QUOTE_LENGTH // 2) : at + _QUOTE_LENGTH // 2])
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", piece)


def _of_items(values: list[Any]) -> tuple[str, str | None]:
    """Returns what is missing in a list of strings, and the first item that is no Unicode."""
    for item in values:
        if item is None or not item or item.isspace():
            return f"{'null' if item is None else 'blank'} items in ", None
    return "" if values else "empty ", next((item for item in values if not _is_unicode(item)), None)


class CellFaults:
    """Cells that are missing or undecodable, gathered chunk by chunk.

    Attributes:
        dropped: Reason to row numbers of rows left out, once settled.
    """

    def __init__(self) -> None:
        """Begins without faults."""
        self.dropped: dict[str, list[int]] = {}
        self._found: dict[str, dict[str, list[int]]] = {name: {} for name in CELL_CHECKS}
        self._quotes: dict[str, list[str]] = {}

    def find(self, cells: Mapping[str, list[Any]], first_row: int, policies: Mapping[str, Policy]) -> np.ndarray:
        """Finds the faults of a chunk.

        Args:
            cells: Column name to strings, to lists of strings, or to None for what is missing.
            first_row: Number of the first row.
            policies: Check to policy.

        Returns:
            Which rows stay, bool of shape `(rows,)`.
        """
        keep = np.ones(len(next(iter(cells.values()))), dtype=bool)
        for name, values in cells.items():
            for place, value in enumerate(values):
                if value.__class__ is list:
                    missing, odd = _of_items(value)
                else:
                    missing = "null " if value is None else "" if value and not value.isspace() else "blank "
                    odd = None if missing or value.isascii() or _is_unicode(value) else value
                if missing:
                    check, reason = "missing", f"{missing}{name}"
                elif odd is not None:
                    check, reason = "undecodable", f"undecodable {name}"
                else:
                    continue
                if not keep[place]:
                    continue  # each row counts once, by its first reason
                self._found[check].setdefault(reason, []).append(first_row + place)
                if check == "missing" or policies[check] == "drop":
                    keep[place] = False
                quotes = self._quotes.setdefault(reason, [])
                if check == "undecodable" and len(quotes) < _QUOTED:
                    quotes.append(_quote(odd or ""))
        return keep

    def settle(self, origin: Origin, policies: Mapping[str, Policy], console: Console) -> None:
        """Fails, or says what was left out or replaced.

        Args:
            origin: The source, read to its end.
            policies: Check to policy.
            console: Where it is said.

        Raises:
            DataError: When there are faults whose policy is "fail".
        """
        for check, reasons in self._found.items():
            if not reasons:
                continue
            counts = "; ".join(
                f"{len(rows):,} with {reason} ({origin.rows(rows)})" + self._quoted(reason)
                for reason, rows in reasons.items()
            )
            if policies[check] == "fail":
                raise DataError(f"{origin}: {counts}. {_ADVICE[check]}")
            if check == "missing" or policies[check] == "drop":
                self.dropped |= reasons
                left_out = sum(map(len, reasons.values()))
                console.say(f"{origin}: left out {left_out:,} of {origin.total:,} rows: {counts}")
            elif policies[check] == "report":
                console.say(f"{origin}: {counts}; U+FFFD stands for what could not be decoded")

    def _quoted(self, reason: str) -> str:
        quotes = self._quotes.get(reason)
        return f", such as {', '.join(quotes)}" if quotes else ""


_ADVICE = {
    "missing": "Correct these rows, or leave them out with quality={'missing': 'drop'} (--quality '{missing: drop}').",
    "undecodable": (
        "Pass the file's real encoding (encoding='latin-1', encoding='cp1252'), or leave these rows out with "
        "quality={'undecodable': 'drop'} (--quality '{undecodable: drop}')."
    ),
}
