"""Typed errors: what is wrong, what was received, what is allowed, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class TfftError(Exception):
    """Base class of every error that tfft raises on purpose.

    The command line prints such an error as one line and exits with code 2.
    """


class ConfigError(TfftError):
    """An option is unknown, has the wrong type or contradicts another."""


class DataError(TfftError):
    """The data cannot be read, or cannot be used for the task."""


class PresetError(TfftError):
    """A pretrained backbone is unknown, unusable or cannot be fetched."""


class TrainingError(TfftError):
    """Training cannot go on, for instance because the loss is not finite."""


class ArtifactError(TfftError):
    """A run directory cannot be written, or was altered since it was."""


class ExportError(TfftError):
    """An exported model does not do what the trained model does."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Returns the allowed name most like `name`, or None when nothing is near."""
    by_folded = {candidate.casefold(): candidate for candidate in allowed}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def unknown_name(kind: str, name: str, allowed: Sequence[str], *, most: int = 12) -> str:
    """Returns the message for a name that is not among the allowed ones.

    Args:
        kind: What the name names, for instance "task".
        name: The name received.
        allowed: All allowed names.
        most: How many allowed names are listed.

    Returns:
        One line with the nearest name and the allowed ones.
    """
    match = nearest(name, allowed)
    hint = f" Did you mean {match!r}?" if match else ""
    return f"Unknown {kind} {name!r}.{hint} Known: {name_list([repr(item) for item in sorted(allowed)], most=most)}."


def name_list(names: Sequence[str], *, most: int = 5) -> str:
    """Returns "a, b and 4 more" for a list of names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def row_list(rows: Sequence[int], *, most: int = 5) -> str:
    """Returns "rows 3, 8, 9 and 4 more" for a list of row numbers."""
    return f"row{'s' if len(rows) > 1 else ''} {name_list([str(row) for row in rows], most=most)}"
