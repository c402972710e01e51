"""Training, validation and test split: stratified, seeded, independent of the order of the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tfft.core.errors import DataError, name_list

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def row_digest(seed: int, text: str) -> bytes:
    """Returns 16 bytes that depend on nothing but the seed and the text."""
    content = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16, key=seed.to_bytes(8, "little")).digest()


def stratified_split(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Splits rows so that each label has its share in each split.

    Within a label, rows are ranked by a keyed hash of their text; the first go to test, the next to validation. So the
    order of the input has no influence, and every label has at least one row in each split that is asked for.

    Args:
        texts: One text a row.
        labels: One label a row.
        validation_fraction: Share of the rows for validation; 0 for none.
        test_fraction: Share of the rows for test; 0 for none.
        seed: Chooses among the possible splits.

    Returns:
        Row positions, int64 of shape (rows,), ascending, for "train", "validation" and "test".

    Raises:
        DataError: When a label has fewer rows than there are splits.
    """
    fractions = {TEST: test_fraction, VALIDATION: validation_fraction}
    wanted = [name for name, fraction in fractions.items() if fraction > 0]
    members: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(label, []).append(position)
    few = sorted(label for label, rows in members.items() if len(rows) < len(wanted) + 1)
    if few:
        counts = name_list([f"{label!r} ({len(members[label])})" for label in few])
        raise DataError(
            f"Every label needs at least {len(wanted) + 1} rows, one for each split; too few: {counts}. "
            "Add rows, merge or remove these labels, or set validation_fraction or test_fraction to 0."
        )
    split: dict[str, list[int]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for label in sorted(members):
        ranked = sorted(members[label], key=lambda position: row_digest(seed, texts[position]))
        start = 0
        for place, name in enumerate(wanted):
            kept_for_others = len(wanted) - place  # one row each for the splits still to fill, training included
            count = min(max(1, round(fractions[name] * len(ranked))), len(ranked) - start - kept_for_others)
            split[name] += ranked[start : start + count]
            start += count
        split[TRAIN] += ranked[start:]
    return {name: np.array(sorted(rows), dtype=np.int64) for name, rows in split.items()}
