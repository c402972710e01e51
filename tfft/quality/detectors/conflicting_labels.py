"""The same text with different labels."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tfft.console import Console
from tfft.quality.base import Corpus, Detector, Finding, detectors

#: Pairs of labels that the details count.
MOST_PAIRS = 20


class ConflictingLabels(Detector):
    """Finds rows whose text, in normal form, has another label elsewhere."""

    needs_labels = True

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for texts with more than one label, over all splits.

        Args:
            corpus: Labelled texts.
            console: Not used.

        Returns:
            All rows of such texts: none of them can be told to be the right one, so dropping drops them all.
        """
        pairs = np.unique(np.stack([corpus.text_ids, corpus.label_ids], axis=1), axis=0)
        texts, counts = np.unique(pairs[:, 0], return_counts=True)
        positions = np.flatnonzero(np.isin(corpus.text_ids, texts[counts > 1]))
        if not len(positions):
            return None
        names = sorted(set(corpus.labels))
        labels_of: dict[int, list[str]] = {}
        for text, label in pairs[np.isin(pairs[:, 0], texts[counts > 1])].tolist():
            labels_of.setdefault(text, []).append(names[label])
        common = Counter(map(tuple, labels_of.values())).most_common(MOST_PAIRS)
        details = {
            "rows": len(positions),
            "texts": len(labels_of),
            "labels": [{"labels": list(labels), "texts": count} for labels, count in common],
        }
        summary = (
            f"{corpus.counted(positions)} hold {len(labels_of):,} texts that have more than one label: "
            f"{corpus.name_rows(positions)}"
        )
        return Finding(positions, summary, details)


detectors.register("conflicting_labels")(ConflictingLabels())
