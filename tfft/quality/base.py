"""What a check of the data sees and what it says."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from tfft.console import Console
from tfft.core.errors import DataError, row_list, unknown_name
from tfft.core.registry import Registry
from tfft.data.splits import TEST, TRAIN, VALIDATION
from tfft.quality.near_duplicates import THRESHOLD, groups_of_normal_forms
from tfft.quality.normal_form import normal_form
from tfft.quality.personal import PHONE_REGIONS

Policy = Literal["report", "drop", "fail", "off"]
#: What can happen on a finding: say it, leave the rows out, end the run, or do not even look.
POLICIES: tuple[Policy, ...] = ("report", "drop", "fail", "off")
#: The splits from the one that may lose a row to the one that keeps it.
SPLIT_ORDER = (TRAIN, VALIDATION, TEST)
NO_POSITIONS = np.empty(0, dtype=np.int64)


def _count_from_one(positions: np.ndarray) -> str:
    return row_list((positions + 1).tolist())


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Texts with what is known of them, before or after splitting.

    Attributes:
        texts: The texts.
        labels: Their labels; empty when there are none.
        splits: Name of the split of each text, of shape `(texts,)`; None before splitting.
        token_lengths: Tokens of each text, special tokens included, int of shape `(texts,)`; None: words are counted.
        sequence_length: Longest row in tokens; what is longer is truncated. None: unknown.
        seed: Chooses the folds of the check for unlikely labels.
        where: Name of the source, for messages.
        name_rows: Positions, int64 of shape `(rows,)`, to "rows 3, 8, 9 and 4 more".
        near_threshold: Least Jaccard similarity of near duplicates.
        known_groups: Group of near duplicates of each text, int64 of shape `(texts,)`, when that is known already.
        phone_regions: Countries (ISO 3166) whose phone numbers are found without a country code.
    """

    texts: Sequence[str]
    labels: Sequence[str] = ()
    splits: np.ndarray | None = None
    token_lengths: np.ndarray | None = None
    sequence_length: int | None = None
    seed: int = 0
    where: str = "The data"
    name_rows: Callable[[np.ndarray], str] = _count_from_one
    near_threshold: float = THRESHOLD
    known_groups: np.ndarray | None = None
    phone_regions: Sequence[str] = PHONE_REGIONS
    _computed: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Checks that everything has one value for each text.

        Raises:
            DataError: When something has not, or a split has an unknown name.
        """
        for name in ("labels", "splits", "token_lengths", "known_groups"):
            values = getattr(self, name)
            if values is not None and len(values) not in {len(self.texts), 0 if name == "labels" else -1}:
                raise DataError(f"{self.where}: {len(values):,} {name} for {len(self.texts):,} texts; pass one each.")
        unknown = set() if self.splits is None else {str(name) for name in self.splits} - set(SPLIT_ORDER)
        if unknown:
            raise DataError(f"{self.where}: {unknown_name('split', min(unknown), SPLIT_ORDER)}")

    def __len__(self) -> int:
        """Returns the number of texts."""
        return len(self.texts)

    @functools.cached_property
    def normal(self) -> list[str]:
        """The texts in normal form."""
        return [normal_form(text) for text in self.texts]

    @functools.cached_property
    def text_ids(self) -> np.ndarray:
        """A number for each distinct normal form, int64 of shape `(texts,)`."""
        return numbered(self.normal)

    @functools.cached_property
    def label_ids(self) -> np.ndarray:
        """A number for each distinct label, in alphabetical order, int64 of shape `(texts,)`; zeros without labels."""
        return numbered(self.labels) if self.labels else np.zeros(len(self), dtype=np.int64)

    @functools.cached_property
    def split_ids(self) -> np.ndarray:
        """The place of each text's split in `SPLIT_ORDER`, int64 of shape `(texts,)`; zeros before splitting."""
        if self.splits is None:
            return np.zeros(len(self), dtype=np.int64)
        return np.array([SPLIT_ORDER.index(str(name)) for name in self.splits], dtype=np.int64)

    def near_groups(self, console: Console) -> np.ndarray:
        """Returns the group of near duplicates of each text, int64 of shape `(texts,)`; computed once."""
        if self.known_groups is not None:
            return self.known_groups
        if "near" not in self._computed:
            self._computed["near"] = groups_of_normal_forms(self.normal, console, threshold=self.near_threshold)
        return self._computed["near"]

    def counted(self, positions: np.ndarray) -> str:
        """Returns "12 of 3,000 rows (0.4 %)"."""
        return f"{len(positions):,} of {len(self):,} rows ({share(len(positions), len(self))})"


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """What a check found.

    Attributes:
        positions: The rows concerned, ascending, int64 of shape `(rows,)`; none when it is for information only.
        summary: One line for people, with count, share and the first rows.
        details: Plain data for JSON, without any text of the corpus.
        sets: The set that each position belongs to, int64 of shape `(rows,)`: of each set, one row stays when rows are
            dropped. None: all positions are dropped.
    """

    positions: np.ndarray
    summary: str
    details: dict[str, Any]
    sets: np.ndarray | None = None

    def to_drop(self, gone: np.ndarray | None = None) -> np.ndarray:
        """Returns the positions that the policy "drop" leaves out.

        Args:
            gone: Whether a row is left out for another reason already, bool of shape `(texts,)`; None: none is.

        Returns:
            Positions, ascending, int64; of each set all but the first row that is still there.
        """
        if self.sets is None:
            return self.positions
        missing = np.zeros(len(self.positions), dtype=bool) if gone is None else gone[self.positions]
        order = np.lexsort((self.positions, missing, self.sets))
        _, first = np.unique(self.sets[order], return_index=True)
        return np.sort(np.delete(self.positions[order], first))


class Detector(abc.ABC):
    """A check of the data.

    Attributes:
        default: What happens on a finding when the user does not say.
        can_drop: Whether leaving rows out is an answer to a finding.
        keeps_one: Whether its findings have sets; it then runs after the others.
        needs_labels: Whether it needs labels.
        needs_splits: Whether it needs to know the splits.
        most_rows: It is not run on more rows, because it would take too long; None: it always runs.
    """

    default: ClassVar[Policy] = "report"
    can_drop: ClassVar[bool] = True
    keeps_one: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    needs_splits: ClassVar[bool] = False
    most_rows: ClassVar[int | None] = None

    @abc.abstractmethod
    def find(self, corpus: Corpus, console: Console) -> Finding | None:
        """Looks at the corpus.

        Args:
            corpus: At least one text.
            console: Where progress is shown.

        Returns:
            What was found; None when there is nothing to say.
        """


detectors: Registry[Detector] = Registry("data check", "tfft.quality.detectors")


def numbered(values: Sequence[str]) -> np.ndarray:
    """Returns the place of each value among the distinct ones, sorted, int64 of shape `(values,)`."""
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return np.fromiter((places[value] for value in values), dtype=np.int64, count=len(values))


def share(count: int, total: int) -> str:
    """Returns "0.4 %"; what is not zero does not look like it."""
    percent = 100 * count / total if total else 0.0
    return "below 0.1 %" if 0 < percent < 0.1 else f"{percent:.1f} %"  # noqa: PLR2004


def repeated(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows that share all their keys with another row.

    Args:
        *keys: Arrays of numbers, int64 of shape `(rows,)`.

    Returns:
        Their positions, ascending, and a number for the set that each is in; both int64.
    """
    _, sets, sizes = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True, return_counts=True)
    positions = np.flatnonzero(sizes[sets] > 1)
    return positions, sets[positions].astype(np.int64)
