"""Texts that are in two splits, so that the figures on the later one are too good."""

from __future__ import annotations

import numpy as np

from tfft.console import Console
from tfft.quality._crossing import crossing, crossing_rows
from tfft.quality.base import Corpus, Detector, Finding, detectors


class Leakage(Detector):
    """Finds rows of train that are also in validation or test, and rows of validation that are also in test."""

    default = "fail"
    needs_splits = True

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for the same text, in normal form, across splits.

        Args:
            corpus: Texts with their splits.
            console: Not used; this takes no time.

        Returns:
            The rows of the earlier split: dropping leaves the split that is measured on as it is.
        """
        del console
        pairs = crossing(corpus.text_ids, corpus.split_ids)
        return crossing_rows(corpus, pairs, np.ones(len(corpus), dtype=bool), "are in a later split too")


detectors.register("leakage")(Leakage())
