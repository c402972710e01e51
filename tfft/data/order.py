"""The order of training rows: which rows each epoch has, and in which batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np

from tfft.core.errors import ConfigError
from tfft.data.bucketing import Batch, training_batches

#: Sets the draws of an epoch apart from those of its batches.
_RESAMPLING, _SEEDS = 1, 2


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """Decides the batches of every epoch: a pure function of these fields and the epoch's number.

    Attributes:
        lengths: Length of each row in tokens, shape `(rows,)`.
        widths: Ascending bucket widths.
        batch_size: Rows per batch.
        seed: Seed of the run.
        classes: Class number of each row, int64 of shape `(rows,)`; needed to resample.
        resample: Whether rows of rare classes are repeated, or rows of frequent ones left out.
    """

    lengths: np.ndarray
    widths: tuple[int, ...]
    batch_size: int
    seed: int
    classes: np.ndarray | None = None
    resample: Literal["none", "oversample", "undersample"] = "none"

    def __post_init__(self) -> None:
        """Checks that resampling has classes to balance.

        Raises:
            ConfigError: When it has none.
        """
        if self.resample != "none" and self.classes is None:
            raise ConfigError(f"resample={self.resample!r} balances classes; this task has none.")

    @property
    def rows_per_epoch(self) -> int:
        """The number of rows in an epoch, repeated ones counted each time."""
        if self.classes is None or self.resample == "none":
            return len(self.lengths)
        counts = np.unique(self.classes, return_counts=True)[1]
        return int(len(counts) * (counts.max() if self.resample == "oversample" else counts.min()))

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch."""
        return -(-self.rows_per_epoch // self.batch_size)

    def rows(self, epoch: int) -> np.ndarray | None:
        """Returns the rows of an epoch when it has not simply all of them.

        Every row of a class is repeated equally often, but for a random remainder that differs from epoch to epoch.

        Args:
            epoch: Number of the epoch, from 0.

        Returns:
            Row positions, int64 of shape `(rows_per_epoch,)`; None for each row once.
        """
        if self.classes is None or self.resample == "none":
            return None
        random = np.random.default_rng([self.seed, epoch, _RESAMPLING])
        own = [np.flatnonzero(self.classes == label) for label in np.unique(self.classes)]
        size = self.rows_per_epoch // len(own)
        taken = []
        for rows in own:
            repeated, rest = divmod(size, len(rows))
            taken += [np.tile(rows, repeated), random.permutation(rows)[:rest]]
        return np.concatenate(taken)

    def batches(self, epoch: int) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yields the batches of an epoch, each with a seed of its own.

        Args:
            epoch: Number of the epoch, from 0.

        Yields:
            A batch, and its seed for augmentations, int32 of shape `(2,)`.
        """
        batches = training_batches(
            self.lengths,
            self.widths,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            rows=self.rows(epoch),
        )
        random = np.random.default_rng([self.seed, epoch, _SEEDS])
        yield from zip(batches, random.integers(0, 2**31, size=(len(batches), 2), dtype=np.int32), strict=True)
