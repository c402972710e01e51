"""Training, validation and test split: seeded, blind to the order of rows, and never through a set of duplicates."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from tfft.core.errors import DataError, name_list, nearest

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

#: Names that people give to splits.
_SPLIT_NAMES = {
    "train": TRAIN, "training": TRAIN,
    "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION, "dev": VALIDATION, "development": VALIDATION,
    "test": TEST, "testing": TEST, "eval": TEST,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Shares:
    """How much of the rows goes where.

    Attributes:
        validation: Share for validation; 0 for none.
        test: Share for test; 0 for none.
    """

    validation: float
    test: float

    @property
    def wanted(self) -> dict[str, float]:
        """The splits beside training, in the order in which they are filled."""
        return {name: share for name, share in ((TEST, self.test), (VALIDATION, self.validation)) if share > 0}


def row_digest(seed: int, text: str) -> bytes:
    """Returns 16 bytes that depend on nothing but the seed and the text."""
    content = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16, key=seed.to_bytes(8, "little")).digest()


def stratified_split(
    texts: Sequence[str],
    labels: Sequence[str],
    shares: Shares,
    *,
    seed: int,
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Splits rows so that each label has its share in each split.

    Rows of one group (duplicates of each other) stay together. Within a label, groups are ranked by a keyed hash of
    their text; the first go to test, the next to validation. So the order of the input has no influence, and every
    label has at least one row in each split that is asked for.

    Args:
        texts: One text a row.
        labels: One label a row; all the same for a split that is not stratified.
        shares: How much goes where.
        seed: Chooses among the possible splits.
        groups: Group number of each row, int64 of shape `(rows,)`; None: equal texts make a group.

    Returns:
        Row positions, int64 of shape `(rows,)`, ascending, for "train", "validation" and "test".

    Raises:
        DataError: When a label has fewer groups than there are splits.
    """
    units = _units(texts, groups)
    members: dict[str, list[np.ndarray]] = {}
    for unit in units:
        members.setdefault(_most_common([labels[row] for row in unit]), []).append(unit)
    sizes = {label: len(members.get(label, ())) for label in set(labels)}
    few = sorted(label for label, size in sizes.items() if shares.wanted and size < len(shares.wanted) + 1)
    if few:
        counts = name_list([f"{label!r} ({sizes[label]})" for label in few])
        if few == [""]:  # rows are not told apart by label
            there = "is 1 different row" if sizes[""] == 1 else f"are {sizes['']} different rows"
            raise DataError(
                f"There {there}, but each of {len(shares.wanted) + 1} splits needs one. Add "
                "rows, or set validation_fraction or test_fraction to 0."
            )
        raise DataError(
            f"Every label needs at least {len(shares.wanted) + 1} different rows, one for each split; too few: "
            f"{counts}. Add rows, merge or remove these labels, or set validation_fraction or test_fraction to 0."
        )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for label in sorted(members):
        ranked = _ranked(members[label], lambda unit: min(row_digest(seed, texts[row]) for row in unit))
        for name, own in _deal(ranked, shares).items():
            parts[name] += own
    return _joined(parts)


def grouped_split(keys: Sequence[str], shares: Shares, *, seed: int) -> dict[str, np.ndarray]:
    """Splits rows so that no group is in two splits.

    Args:
        keys: Group of each row.
        shares: How much of the rows goes where; met as closely as whole groups allow.
        seed: Chooses among the possible splits.

    Returns:
        Row positions by split, as for `stratified_split`.

    Raises:
        DataError: When there are fewer groups than splits.
    """
    units = _by_key(keys)
    if len(units) < len(shares.wanted) + 1:
        raise DataError(
            f"The group column has {len(units)} different values, but {len(shares.wanted) + 1} splits are wanted and "
            "no group may be in two. Name another group_column, or set validation_fraction or test_fraction to 0."
        )
    return _joined(_deal(_ranked(units, lambda unit: row_digest(seed, keys[unit[0]])), shares))


def time_split(keys: Sequence[str], shares: Shares, name_row: Callable[[int], str]) -> dict[str, np.ndarray]:
    """Splits rows by time: the latest are the test split, those before them validation. Equal times stay together.

    Args:
        keys: Time of each row: a number, or a date as ISO 8601 or pandas reads it.
        shares: How much of the rows goes where.
        name_row: Gives the name of a row, for messages.

    Returns:
        Row positions by split, as for `stratified_split`.

    Raises:
        DataError: When a time cannot be read, or there are fewer times than splits.
    """
    times = _times(keys, name_row)
    order = np.unique(times)
    if len(order) < len(shares.wanted) + 1:
        raise DataError(
            f"The time column has {len(order)} different values, too few for {len(shares.wanted) + 1} splits. "
            "Name another time_column, or set validation_fraction or test_fraction to 0."
        )
    latest_first = np.argsort(-times, kind="stable")
    ends = np.flatnonzero(np.diff(times[latest_first])) + 1
    return _joined(_deal(np.split(latest_first, ends), shares))


def hash_split(
    texts: Sequence[str], shares: Shares, *, seed: int, form: Callable[[str], str] = str
) -> dict[str, np.ndarray]:
    """Splits rows by nothing but a keyed hash of their own text.

    A row keeps its split whatever else is added or removed, and equal texts share one, so the data can be read as a
    stream. The price: shares are met on average only, and labels are not stratified.

    Args:
        texts: One text a row.
        shares: How much goes where, on average.
        seed: Key of the hash.
        form: What is hashed of a text; texts with the same form share a split.

    Returns:
        Row positions by split, as for `stratified_split`.

    Raises:
        DataError: When a split got no row.
    """
    drawn = np.fromiter(
        (int.from_bytes(row_digest(seed, form(text))[:8], "big") for text in texts), dtype=np.uint64, count=len(texts)
    )
    share = drawn / 2.0**64
    parts = {
        TEST: np.flatnonzero(share < shares.test),
        VALIDATION: np.flatnonzero((share >= shares.test) & (share < shares.test + shares.validation)),
        TRAIN: np.flatnonzero(share >= shares.test + shares.validation),
    }
    empty = [name for name in (TRAIN, *shares.wanted) if not len(parts[name])]
    if empty:
        raise DataError(
            f"The hash of the {len(texts):,} rows gives the {empty[0]} split none. Splitting by hash needs more rows; "
            "use split='stratified', or another seed."
        )
    return parts


def predefined_split(keys: Sequence[str], name_row: Callable[[int], str]) -> dict[str, np.ndarray]:
    """Takes the split of each row from a column.

    Args:
        keys: Name of the split of each row: train, validation (val, valid, dev) or test, in any case.
        name_row: Gives the name of a row, for messages.

    Returns:
        Row positions by split, as for `stratified_split`; a split that no row names is empty.

    Raises:
        DataError: When a name is unknown, or no row is for training.
    """
    parts: dict[str, list[int]] = {name: [] for name in SPLITS}
    for place, key in enumerate(keys):
        split = _SPLIT_NAMES.get(key.casefold())
        if split is None:
            match = nearest(key, _SPLIT_NAMES)
            hint = f" Did you mean {match!r}?" if match else ""
            raise DataError(f"{name_row(place)}: unknown split {key!r}.{hint} Known: {', '.join(_SPLIT_NAMES)}.")
        parts[split].append(place)
    if not parts[TRAIN]:
        raise DataError("No row of the split column says 'train'; there is nothing to train on.")
    return {name: np.array(rows, dtype=np.int64) for name, rows in parts.items()}


def k_folds(
    texts: Sequence[str],
    labels: Sequence[str],
    folds: int,
    *,
    seed: int,
    groups: np.ndarray | None = None,
    keys: Sequence[str] = (),
) -> list[np.ndarray]:
    """Deals rows into folds of like size, each label evenly.

    Args:
        texts: One text a row.
        labels: One label a row.
        folds: Number of folds.
        seed: Chooses among the possible deals.
        groups: Rows with the same number (duplicates of each other) share a fold; None: equal texts do.
        keys: When given, rows with the same key share a fold, and labels are not stratified.

    Returns:
        Row positions of each fold, ascending, int64.

    Raises:
        DataError: When a label, or the whole, has fewer groups than folds.
    """
    units = _by_key(keys) if len(keys) else _units(texts, groups)
    members: dict[str, list[np.ndarray]] = {}
    for unit in units:
        label = "" if len(keys) else _most_common([labels[row] for row in unit])
        members.setdefault(label, []).append(unit)
    few = sorted(label for label, own in members.items() if len(own) < folds) or ([] if units else [""])
    if few:
        what = "groups" if len(keys) else "different rows of each label"
        counts = name_list([f"{label!r} ({len(members[label])})" if label else f"{len(units)}" for label in few])
        raise DataError(f"{folds} folds need at least {folds} {what}; too few: {counts}. Use fewer folds.")
    dealt: list[list[np.ndarray]] = [[] for _ in range(folds)]
    sizes = np.zeros(folds, dtype=np.int64)
    names = keys if len(keys) else texts
    for label in sorted(members):
        own = np.zeros(folds, dtype=np.int64)
        ranked = _ranked(members[label], lambda unit: min(row_digest(seed, names[row]) for row in unit))
        for unit in sorted(ranked, key=len, reverse=True):  # large groups first, so that small ones even out
            fold = int(np.lexsort((np.arange(folds), sizes, own))[0])
            dealt[fold].append(unit)
            own[fold] += len(unit)
            sizes[fold] += len(unit)
    return [np.sort(np.concatenate(rows)).astype(np.int64) for rows in dealt]


def _units(texts: Sequence[str], groups: np.ndarray | None) -> list[np.ndarray]:
    """Returns the positions of each group."""
    return _by_key(texts) if groups is None else _by_key(groups.tolist())


def _by_key(keys: Sequence[object]) -> list[np.ndarray]:
    rows: dict[object, list[int]] = {}
    for place, key in enumerate(keys):
        rows.setdefault(key, []).append(place)
    return [np.array(places, dtype=np.int64) for places in rows.values()]


def _most_common(labels: Sequence[str]) -> str:
    return min(set(labels), key=lambda label: (-labels.count(label), label))


def _ranked(units: Sequence[np.ndarray], digest: Callable[[np.ndarray], bytes]) -> list[np.ndarray]:
    return sorted(units, key=digest)


def _deal(units: Sequence[np.ndarray], shares: Shares) -> dict[str, list[np.ndarray]]:
    """Fills test, then validation with units in order, each as near to its share as they come; the rest trains."""
    total = sum(map(len, units))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    start = 0
    for place, (name, share) in enumerate(shares.wanted.items()):
        kept_for_others = len(shares.wanted) - place  # one unit each for the splits still to fill, training included
        goal, taken = max(1, round(share * total)), 0
        while start < len(units) - kept_for_others:
            nearer = abs(taken + len(units[start]) - goal) <= abs(taken - goal)
            if parts[name] and (taken >= goal or not nearer):
                break
            parts[name].append(units[start])
            taken += len(units[start])
            start += 1
    parts[TRAIN] = list(units[start:])
    return parts


def _joined(parts: Mapping[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: np.sort(np.concatenate(units)) if units else np.empty(0, dtype=np.int64) for name, units in parts.items()
    }


def _times(keys: Sequence[str], name_row: Callable[[int], str]) -> np.ndarray:
    """Returns times as numbers, of which larger ones are later."""
    numbers = pd.to_numeric(pd.Series(list(keys), dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    if np.isfinite(numbers).all():
        return numbers
    dates = pd.to_datetime(pd.Series(list(keys), dtype=object), errors="coerce", utc=True, format="ISO8601")
    no_number, no_date = np.flatnonzero(~np.isfinite(numbers)), np.flatnonzero(dates.isna().to_numpy())
    bad = min(no_date, no_number, key=len)  # what is no way to write a time as most rows do
    if len(bad):
        raise DataError(
            f"{name_row(int(bad[0]))}: {keys[bad[0]]!r} is neither a number nor a date as 2026-01-31 or "
            f"2026-01-31T12:00:00 ({len(bad):,} such rows). Write times in one of these ways."
        )
    return dates.astype("int64").to_numpy().astype(np.float64)
