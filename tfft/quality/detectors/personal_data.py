"""E-mail addresses, phone numbers, card numbers, IBANs and IP addresses in the texts."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tfft.console import Console
from tfft.quality.base import Corpus, Detector, Finding, detectors
from tfft.quality.personal import KINDS, find_personal

#: Rows that are looked at between two steps of the progress bar.
ROWS_AT_ONCE = 1000


class PersonalData(Detector):
    """Finds rows with personal data that has a checkable form."""

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for each kind; names and postal addresses have no checkable form and are not found.

        Args:
            corpus: Texts.
            console: Where progress is shown.

        Returns:
            The rows, and the counts of each kind; never a value.
        """
        rows: Counter[str] = Counter()
        values: dict[str, set[str]] = {}
        found = []
        with console.progress("looking for personal data", len(corpus), "rows") as advance:
            for position, text in enumerate(corpus.texts):
                pieces = find_personal(text, corpus.phone_regions)
                if pieces:
                    found.append(position)
                rows.update({piece.kind for piece in pieces})
                for piece in pieces:
                    values.setdefault(piece.kind, set()).add(piece.value)
                if (position + 1) % ROWS_AT_ONCE == 0:
                    advance(ROWS_AT_ONCE)
            advance(len(corpus) % ROWS_AT_ONCE)
        if not found:
            return None
        positions = np.array(found, dtype=np.int64)
        counts = {kind: {"rows": rows[kind], "distinct": len(values[kind])} for kind in KINDS if rows[kind]}
        listed = ", ".join(f"{kind} {count['rows']:,}" for kind, count in counts.items())
        summary = f"{corpus.counted(positions)} hold personal data ({listed}): {corpus.name_rows(positions)}"
        return Finding(positions, summary, {"rows": len(found), "kinds": counts})


detectors.register("personal_data")(PersonalData())
