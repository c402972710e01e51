"""Rows with the same text and the same label."""

from __future__ import annotations

from tfft.console import Console
from tfft.quality.base import Corpus, Detector, Finding, detectors, repeated


class ExactDuplicates(Detector):
    """Finds rows whose text, in normal form, and label are those of another row of their split."""

    keeps_one = True

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for equal rows within each split; across splits they are leakage.

        Args:
            corpus: Texts.
            console: Not used.

        Returns:
            The sets of equal rows; one row of each stays when rows are dropped.
        """
        positions, sets = repeated(corpus.text_ids, corpus.label_ids, corpus.split_ids)
        if not len(positions):
            return None
        finding = Finding(positions, "", {}, sets)
        surplus = finding.to_drop()
        same = "text and label" if corpus.labels else "text"
        details = {"rows": len(positions), "sets": len(positions) - len(surplus), "surplus_rows": len(surplus)}
        summary = (
            f"{corpus.counted(positions)} have the same {same} as another, apart from case, width and white space; "
            f"{len(surplus):,} beyond the first of each set: {corpus.name_rows(surplus)}"
        )
        return Finding(positions, summary, details, sets)


detectors.register("exact_duplicates")(ExactDuplicates())
