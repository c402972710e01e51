"""Sets of rows that reach over two splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfft.quality.base import NO_POSITIONS, SPLIT_ORDER, Corpus, Finding


def crossing(groups: np.ndarray, splits: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Finds the rows whose group is in a later split too.

    Args:
        groups: Group number of each row, int64 of shape `(rows,)`.
        splits: Place of each row's split in `SPLIT_ORDER`, int64 of shape `(rows,)`.

    Returns:
        For each pair of an earlier and a later split, the rows of the earlier, int64.
    """
    found = {}
    for later in range(1, len(SPLIT_ORDER)):
        in_later = np.isin(groups, groups[splits == later])
        for earlier in range(later):
            rows = np.flatnonzero(in_later & (splits == earlier))
            if len(rows):
                found[earlier, later] = rows
    return found


def crossing_rows(
    corpus: Corpus, pairs: Mapping[tuple[int, int], np.ndarray], wanted: np.ndarray, what: str
) -> Finding | None:
    """Makes a finding of rows that reach over splits.

    Args:
        corpus: The texts.
        pairs: What `crossing` gave.
        wanted: Which rows count, bool of shape `(rows,)`.
        what: What is wrong with them, for people.

    Returns:
        The finding; None when there are no such rows.
    """
    own = {pair: rows[wanted[rows]] for pair, rows in pairs.items()}
    positions = np.unique(np.concatenate([NO_POSITIONS, *own.values()]))
    if not len(positions):
        return None
    counts = {
        f"{SPLIT_ORDER[earlier]} and {SPLIT_ORDER[later]}": len(rows)
        for (earlier, later), rows in sorted(own.items())
        if len(rows)
    }
    shown = "; ".join(f"{name}: {count:,}" for name, count in counts.items())
    summary = f"{corpus.counted(positions)} {what} ({shown}): {corpus.name_rows(positions)}"
    return Finding(positions, summary, {"rows": len(positions), "pairs": counts})
