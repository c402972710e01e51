"""The order of training rows: which rows each epoch has, and in which batches."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from tfft.core.errors import ConfigError, unknown_name
from tfft.data.bucketing import Batch, own_widths, random_batches, training_batches

#: Sets the draws of an epoch apart from those of its batches.
_RESAMPLING, _SEEDS = 1, 2

#: How rows come together: those of one length bucket, those of like length inside a megabatch, or any.
Batching = Literal["bucketed", "sorted", "shuffled"]


@dataclasses.dataclass(frozen=True)
class Padding:
    """What padding costs in an epoch.

    Attributes:
        tokens: Tokens of all rows.
        padded_tokens: The same with what rows are filled up with.
    """

    tokens: int
    padded_tokens: int

    @property
    def share(self) -> float:
        """The share of padded tokens that are padding."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """Decides the batches of every epoch: a pure function of these fields and the epoch's number.

    Attributes:
        lengths: Length of each row in tokens, shape `(rows,)`.
        widths: Ascending bucket widths; used by "bucketed" alone.
        batch_size: Rows per batch.
        seed: Seed of the run.
        classes: Class number of each row, int64 of shape `(rows,)`; needed to resample.
        resample: Whether rows of rare classes are repeated, or rows of frequent ones left out.
        batching: How rows come together. "bucketed" batches have one of `widths`, so there are few shapes; "sorted" and
            "shuffled" ones are as wide as their own longest row. In the first epoch of these the widest batch comes
            first, so that memory which runs out does so at once; the few widths of "bucketed" all come up soon.
        width_multiple: "sorted" and "shuffled" widths are rounded up to a multiple of this, at most to the longest row.
    """

    lengths: np.ndarray
    widths: tuple[int, ...]
    batch_size: int
    seed: int
    classes: np.ndarray | None = None
    resample: Literal["none", "oversample", "undersample"] = "none"
    batching: Batching = "bucketed"
    width_multiple: int = 1
    #: The batches of the epoch that was asked for last: the log and the pipeline ask for the same one.
    _planned: dict[int, list[Batch]] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Checks that resampling has classes to balance, and that the batching is known.

        Raises:
            ConfigError: When it has none, or a value is not allowed.
        """
        if self.resample != "none" and self.classes is None:
            raise ConfigError(f"resample={self.resample!r} balances classes; this task has none.")
        if self.batching not in get_args(Batching):
            raise ConfigError(unknown_name("batching", self.batching, get_args(Batching)))
        if self.width_multiple < 1:
            raise ConfigError(f"width_multiple={self.width_multiple}: widths are multiples of 1 or more.")

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

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """All shapes `(rows, width)` that a run's batches can have, a short one being filled up to full; ascending."""
        widths = np.asarray(self.widths)
        if self.batching != "bucketed" and len(self.lengths):
            longest = np.unique(self.lengths)
            widths = np.unique(own_widths(longest, self.width_multiple, int(longest[-1])))
        return tuple((self.batch_size, int(width)) for width in widths)

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[Batch, np.ndarray]]:
        """Returns the batches of an epoch, each with a seed of its own.

        Args:
            epoch: Number of the epoch, from 0.
            start: Number of the batch to begin with; the batches and seeds are those that come from there on anyway.

        Returns:
            An iterator of a batch, and its seed for augmentations, int32 of shape `(2,)`.

        Raises:
            ConfigError: When the epoch has no such batch.
        """
        if not 0 <= start <= self.steps_per_epoch:
            raise ConfigError(
                f"Batch {start} of epoch {epoch} was asked for, which has {self.steps_per_epoch}: "
                "the data or batch_size are not those of the run that is resumed."
            )
        batches = self._batches(epoch)
        random = np.random.default_rng([self.seed, epoch, _SEEDS])
        seeds = random.integers(0, 2**31, size=(len(batches), 2), dtype=np.int32)
        return zip(itertools.islice(batches, start, None), seeds[start:], strict=True)

    def padding(self, epoch: int = 0) -> Padding:
        """Returns what padding costs in an epoch; its batches are kept until another epoch is asked for.

        Args:
            epoch: Number of the epoch, from 0.

        Returns:
            Tokens with and without padding; rows that only fill up a short batch are not counted.
        """
        rows = self.rows(epoch)
        tokens = self.lengths.sum() if rows is None else self.lengths[rows].sum()
        return Padding(int(tokens), sum(len(batch.rows) * batch.width for batch in self._batches(epoch)))

    def _batches(self, epoch: int) -> list[Batch]:
        planned = self._planned.get(epoch)
        if planned is None:
            self._planned.clear()  # before the next is made: two epochs of millions of rows are not held at once
            planned = self._planned[epoch] = self._new_batches(epoch)
        return planned

    def _new_batches(self, epoch: int) -> list[Batch]:
        size, seed, rows = self.batch_size, self.seed, self.rows(epoch)
        if self.batching == "bucketed":
            return training_batches(self.lengths, self.widths, batch_size=size, seed=seed, epoch=epoch, rows=rows)
        return random_batches(
            self.lengths,
            batch_size=size,
            seed=seed,
            epoch=epoch,
            rows=rows,
            multiple=self.width_multiple,
            sort=self.batching == "sorted",
        )
