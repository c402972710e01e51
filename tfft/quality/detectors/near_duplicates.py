"""Texts that differ by little: a typo, a link, a few words."""

from __future__ import annotations

import numpy as np

from tfft.console import Console
from tfft.quality.base import Corpus, Detector, Finding, detectors, repeated


class NearDuplicates(Detector):
    """Finds texts that are nearly, not exactly, those of another row of their split."""

    keeps_one = True
    most_rows = 1_000_000

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for groups of near duplicates within each split; across splits they are leakage.

        Groups of one text, however often it occurs, are left to the check for exact duplicates.

        Args:
            corpus: Texts.
            console: Where progress is shown.

        Returns:
            The groups; one row of each stays when rows are dropped.
        """
        positions, sets = repeated(corpus.near_groups(console), corpus.split_ids)
        texts, labels = corpus.text_ids[positions], corpus.label_ids[positions]
        mixed = _differ(texts, sets)
        unlike = _differ(labels, sets)[mixed]
        positions, sets = positions[mixed], sets[mixed]
        if not len(positions):
            return None
        surplus = Finding(positions, "", {}, sets).to_drop()
        details = {
            "rows": len(positions),
            "groups": len(np.unique(sets)),
            "surplus_rows": len(surplus),
            "largest_group": int(np.unique(sets, return_counts=True)[1].max()),
            "groups_with_different_labels": len(np.unique(sets[unlike])),
            "similarity": corpus.near_threshold,
        }
        labelled = f" ({details['groups_with_different_labels']:,} with different labels)" if corpus.labels else ""
        summary = (
            f"{corpus.counted(positions)} form {details['groups']:,} groups of nearly the same text{labelled}; "
            f"{len(surplus):,} beyond the first of each group: {corpus.name_rows(surplus)}"
        )
        return Finding(positions, summary, details, sets)


def _differ(values: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Tells for each row whether its set has more than one value, bool of shape `(rows,)`."""
    distinct = np.unique(np.stack([sets, values], axis=1), axis=0)[:, 0]
    several, counts = np.unique(distinct, return_counts=True)
    return np.isin(sets, several[counts > 1])


detectors.register("near_duplicates")(NearDuplicates())
