"""Texts that are in two splits in nearly the same words."""

from __future__ import annotations

import numpy as np

from tfft.console import Console
from tfft.quality._crossing import crossing, crossing_rows
from tfft.quality.base import NO_POSITIONS, Corpus, Detector, Finding, detectors


class NearLeakage(Detector):
    """Finds rows of an earlier split that are nearly, not exactly, a row of a later one.

    Reported, not failed on, unless told to: how near is too near depends on the data.
    """

    needs_splits = True
    most_rows = 1_000_000

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for near duplicates across splits.

        Args:
            corpus: Texts with their splits.
            console: Where progress is shown.

        Returns:
            The rows of the earlier split.
        """
        exact = crossing(corpus.text_ids, corpus.split_ids)
        only_near = np.ones(len(corpus), dtype=bool)
        only_near[np.concatenate([NO_POSITIONS, *exact.values()])] = False
        pairs = crossing(corpus.near_groups(console), corpus.split_ids)
        return crossing_rows(corpus, pairs, only_near, "are nearly a row of a later split")


detectors.register("near_leakage")(NearLeakage())
