"""Labels that are much rarer than the most frequent one."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tfft.console import Console
from tfft.core.errors import name_list
from tfft.quality.base import NO_POSITIONS, Corpus, Detector, Finding, detectors

#: A label is rare when the most frequent one has more than so many times its rows.
LARGEST_RATIO = 10.0


class ClassImbalance(Detector):
    """Counts the labels, and names the rare ones."""

    can_drop = False
    needs_labels = True

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Counts the labels.

        Args:
            corpus: Labelled texts.
            console: Not used.

        Returns:
            The counts, and the rows of the rare labels; dropping rows would not help, so it is not offered.
        """
        counts = Counter(corpus.labels)
        most = max(counts.values())
        rare = sorted(label for label, count in counts.items() if most > LARGEST_RATIO * count)
        shares = np.array([count / len(corpus) for count in counts.values()])
        bits = float(-(shares * np.log2(shares)).sum())
        details = {
            "counts": dict(sorted(counts.items())),
            "ratio": most / min(counts.values()),
            "entropy_bits": abs(bits),
            "evenness": abs(bits) / float(np.log2(len(counts))) if len(counts) > 1 else 1.0,
            "rare": rare,
        }
        ordered = [f"{label!r} {count:,}" for label, count in counts.most_common()]
        if not rare:
            return Finding(NO_POSITIONS, f"{len(counts):,} labels: {name_list(ordered)}", details)
        positions = np.flatnonzero(np.isin(np.array(corpus.labels, dtype=object), rare))
        listed = name_list([f"{label!r} {counts[label]:,}" for label in rare])
        summary = (
            f"{corpus.counted(positions)} have a label that is more than {LARGEST_RATIO:g} times rarer than "
            f"{ordered[0]}: {listed}"
        )
        return Finding(positions, summary, details)


detectors.register("class_imbalance")(ClassImbalance())
