"""Texts that were decoded with the wrong character encoding: "CafÃ©" for "Café"."""

from __future__ import annotations

import numpy as np

from tfft.console import Console
from tfft.quality.base import Corpus, Detector, Finding, detectors

REPLACEMENT = "\ufffd"
#: Rows that are looked at between two steps of the progress bar.
ROWS_AT_ONCE = 1000


class Mojibake(Detector):
    """Finds text that looks like UTF-8 read as something else, and replacement characters."""

    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks for sequences of characters that ftfy knows as damage; pure ASCII is never damaged.

        Args:
            corpus: Texts.
            console: Where progress is shown.

        Returns:
            The damaged rows; the details say how many of them `ftfy.fix_encoding` would repair.
        """
        suspects = [position for position, text in enumerate(corpus.texts) if not text.isascii()]
        if not suspects:
            return None
        import ftfy
        from ftfy.badness import is_bad

        found, replaced, repairable = [], 0, 0
        with console.progress("looking for broken characters", len(suspects), "rows") as advance:
            for count, position in enumerate(suspects, start=1):
                text = corpus.texts[position]
                bad = is_bad(text)
                if bad or REPLACEMENT in text:
                    found.append(position)
                    replaced += REPLACEMENT in text
                    repairable += bad and not is_bad(ftfy.fix_encoding(text))
                if count % ROWS_AT_ONCE == 0:
                    advance(ROWS_AT_ONCE)
            advance(len(suspects) % ROWS_AT_ONCE)
        if not found:
            return None
        positions = np.array(found, dtype=np.int64)
        details = {"rows": len(found), "with_replacement_character": replaced, "repairable": repairable}
        summary = (
            f"{corpus.counted(positions)} look decoded with the wrong encoding ({repairable:,} could be repaired with "
            f"ftfy.fix_encoding, {replaced:,} hold U+FFFD): {corpus.name_rows(positions)}"
        )
        return Finding(positions, summary, details)


detectors.register("mojibake")(Mojibake())
