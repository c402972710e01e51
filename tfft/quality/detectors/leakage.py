"""Texts that are in two splits, so that the figures on the later one are too good."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfft.console import Console
from tfft.quality.base import NO_POSITIONS, SPLIT_ORDER, Corpus, Detector, Finding, detectors

#: Above so many rows only exact copies are looked for.
MOST_ROWS_NEAR = 1_000_000


class Leakage(Detector):
    """Finds rows of train that are also in validation or test, and rows of validation that are also in test."""

    default = "fail"
    needs_splits = True

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for the same text, in normal form, and for near duplicates across splits.

        Args:
            corpus: Texts with their splits.
            console: Where progress is shown.

        Returns:
            The rows of the earlier split: dropping leaves the split that is measured on as it is.
        """
        exact = _leaking(corpus.text_ids, corpus.split_ids)
        near: dict[tuple[int, int], np.ndarray] = {}
        if len(corpus) > MOST_ROWS_NEAR:
            console.say(
                f"{corpus.where}: leakage is looked for among exact copies only: near duplicates of {len(corpus):,} "
                f"rows would take too long (most: {MOST_ROWS_NEAR:,})"
            )
        else:
            near = _leaking(corpus.near_groups(console), corpus.split_ids)
        positions = np.unique(np.concatenate([NO_POSITIONS, *exact.values(), *near.values()]))
        if not len(positions):
            return None
        pairs: dict[str, Any] = {}
        for pair in sorted({*exact, *near}):
            copies = exact.get(pair, NO_POSITIONS)
            similar = np.setdiff1d(near.get(pair, NO_POSITIONS), copies)
            name = f"{SPLIT_ORDER[pair[0]]} and {SPLIT_ORDER[pair[1]]}"
            pairs[name] = {"exact": len(copies), "near": len(similar)}
        counts = "; ".join(f"{name}: {pair['exact']:,} exact, {pair['near']:,} near" for name, pair in pairs.items())
        summary = f"{corpus.counted(positions)} are in a later split too ({counts}): {corpus.name_rows(positions)}"
        details = {"rows": len(positions), "pairs": pairs, "near_looked_for": len(corpus) <= MOST_ROWS_NEAR}
        return Finding(positions, summary, details)


def _leaking(groups: np.ndarray, splits: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Returns, for each pair of an earlier and a later split, the rows of the earlier whose group is in the later."""
    found = {}
    for later in range(1, len(SPLIT_ORDER)):
        in_later = np.isin(groups, groups[splits == later])
        for earlier in range(later):
            rows = np.flatnonzero(in_later & (splits == earlier))
            if len(rows):
                found[earlier, later] = rows
    return found


detectors.register("leakage")(Leakage())
