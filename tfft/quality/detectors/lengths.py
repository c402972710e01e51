"""How long the texts are, and which of them will be cut."""

from __future__ import annotations

import numpy as np

from tfft.console import Console
from tfft.quality.base import NO_POSITIONS, Corpus, Detector, Finding, detectors, share
from tfft.quality.normal_form import count_words


class Lengths(Detector):
    """Gives the distribution of the lengths, and the rows that are longer than the model takes."""

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Measures the lengths in tokens where known, else in words, which are fewer than tokens as a rule.

        Args:
            corpus: Texts.
            console: Not used.

        Returns:
            The distribution, and the rows that will be truncated.
        """
        unit = "words" if corpus.token_lengths is None else "tokens"
        lengths = corpus.token_lengths
        if lengths is None:
            lengths = np.fromiter(map(count_words, corpus.texts), dtype=np.int64, count=len(corpus))
        figures = {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "p95": float(np.percentile(lengths, 95)),
            "max": int(lengths.max()),
        }
        listed = ", ".join(f"{name} {value:,g}" for name, value in figures.items())
        details = {"unit": unit, **figures, "mean": float(lengths.mean()), "sequence_length": corpus.sequence_length}
        if corpus.sequence_length is None:
            return Finding(NO_POSITIONS, f"{listed} {unit}", details)
        positions = np.flatnonzero(lengths > corpus.sequence_length)
        lost = int((lengths - corpus.sequence_length).clip(min=0).sum())
        details |= {"truncated_rows": len(positions), "lost": lost, "lost_share": lost / max(1, int(lengths.sum()))}
        if not len(positions):
            return Finding(NO_POSITIONS, f"{listed} {unit}; none will be truncated", details)
        summary = (
            f"{corpus.counted(positions)} are longer than sequence_length={corpus.sequence_length} and will be "
            f"truncated, which loses {share(lost, int(lengths.sum()))} of all {unit} ({listed}): "
            f"{corpus.name_rows(positions)}"
        )
        return Finding(positions, summary, details)


detectors.register("lengths")(Lengths())
