"""What the loop is fed with: the training split, cut into batches, dealt to replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.augment.compose import Augmenter
from tfft.config import FitConfig
from tfft.console import Console
from tfft.data.bucketing import choose_widths
from tfft.data.joint_rows import JointRows
from tfft.data.order import Batching, EpochOrder
from tfft.data.packing import PackedGather
from tfft.data.pipeline import BatchDraw, TrainingGather, drawn_dataset, packed_dataset, training_dataset
from tfft.data.ragged_rows import RaggedRows
from tfft.data.sharing import Sharing
from tfft.distribute.plan import ExecutionPlan

#: Batch widths that are named in the log; more are counted.
MOST_WIDTHS = 16


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The training split as the loop takes it.

    Attributes:
        gather: Makes the model's inputs from row positions.
        targets: One target a row.
        weights: Weight of each row in the loss, float32 of shape `(rows,)`.
        order: Decides the batches of each epoch.
        sharing: How batches are dealt to replicas and micro-batches.
        row_units: What the loss of each row is a sum over, float32 of shape `(rows,)`; None for 1.
        packed: Makes packed batches instead, targets and weights included.
        augmenter: The augmentations that `gather` applies, if any.
        draw: Makes inputs, targets and units of each batch anew instead; None where `gather` makes the inputs.
    """

    gather: TrainingGather
    targets: np.ndarray | RaggedRows | JointRows
    weights: np.ndarray
    order: EpochOrder
    sharing: Sharing
    row_units: np.ndarray | None = None
    packed: PackedGather | None = None
    augmenter: Augmenter | None = None
    draw: BatchDraw | None = None

    def batches(self, epochs: int, epoch: int = 0, batch: int = 0) -> tf.data.Dataset:
        """Returns all batches to the end of the last epoch.

        Args:
            epochs: Number of epochs.
            epoch: Epoch to begin with, from 0.
            batch: Batch of it to begin with, from 0.

        Returns:
            A dataset of inputs, targets, weights and units, and with augmentations which rows each has changed.
        """
        if self.packed is not None:
            return packed_dataset(self.packed, self.order, epochs=epochs, start=(epoch, batch), sharing=self.sharing)
        if self.draw is not None:
            return drawn_dataset(
                self.draw, self.weights, self.order, epochs=epochs, start=(epoch, batch), sharing=self.sharing
            )
        return training_dataset(
            self.gather,
            self.targets,
            self.weights,
            self.order,
            epochs=epochs,
            start=(epoch, batch),
            sharing=self.sharing,
            tally=None if self.augmenter is None else self.augmenter.changed_rows,
            row_units=self.row_units,
        )

    def count_fired(self, before: list[list[int]], batch: tuple[Any, ...]) -> list[list[int]]:
        """Adds what the augmentations did to a batch; rows that only fill it up do not count.

        Args:
            before: Rows changed and rows seen by each augmentation; empty when there were none.
            batch: A batch of `batches`.

        Returns:
            The same with the rows of the batch.
        """
        units, changed = batch[3], batch[4:]
        if not changed:
            return before
        present = self.sharing.deal(np.arange(int(units)))[1] > 0
        now = [[np.count_nonzero(rows & present), np.count_nonzero(present)] for rows in changed[0].numpy()]
        total: list[list[int]] = np.add(before or 0, now).tolist()
        return total

    def set_counts(self, counts: list[list[int]]) -> None:
        """Tells the augmenter how often its augmentations have fired in the batches that were trained on."""
        if self.augmenter is not None and counts:
            self.augmenter.set_counts(counts)


def epoch_order(
    lengths: np.ndarray,
    classes: np.ndarray | RaggedRows | JointRows,
    config: FitConfig,
    plan: ExecutionPlan,
    console: Console,
    *,
    cached: bool,
) -> EpochOrder:
    """Decides how rows become batches, and says what padding costs.

    Args:
        lengths: Length of each row in tokens.
        classes: Class number of each row, where rows are resampled by class.
        config: The run's options.
        plan: XLA compiles each shape anew, so it gets few.
        console: Where it is said.
        cached: Whether the model takes one vector a row, so that lengths do not matter.

    Returns:
        The order.
    """
    batching: Any = config.batching
    if batching == "auto":
        batching = "shuffled" if cached or config.packing else "bucketed" if plan.jit_compile else "sorted"
    widths = choose_widths(lengths, config.num_buckets)
    resampled = classes if config.resample != "none" and isinstance(classes, np.ndarray) else None
    order = EpochOrder(lengths, widths, config.batch_size, config.seed, resampled, config.resample, batching)
    if resampled is not None:
        console.say(f"resample={config.resample}: {order.rows_per_epoch:,} rows an epoch instead of {len(lengths):,}")
    if not cached and not config.packing:
        _say_padding(order, batching, plan, console)
    return order


def _say_padding(order: EpochOrder, batching: Batching, plan: ExecutionPlan, console: Console) -> None:
    widths = [width for _, width in order.shapes]
    named = ", ".join(map(str, widths)) if len(widths) <= MOST_WIDTHS else f"{widths[0]} to {widths[-1]}"
    console.say(f"batches: {batching}, widths {named} tokens, of which {order.padding().share:.1%} are padding")
    if plan.jit_compile:
        console.say(f"XLA compiles at most {len(widths)} shapes")


def sharing_of(config: FitConfig, plan: ExecutionPlan) -> Sharing:
    """Returns how batches are dealt to the replicas of this process.

    Args:
        config: The run's options.
        plan: Where the step runs.

    Returns:
        The sharing.
    """
    return Sharing(
        batch_size=config.batch_size,
        replicas=plan.num_replicas,
        first=plan.worker * plan.local_replicas,
        local=plan.local_replicas,
        micro_batch_size=config.micro_batch_size,
        static=plan.jit_compile,
    )


def say_sharing(sharing: Sharing, config: FitConfig, console: Console) -> None:
    """Says how a batch is dealt, when it is not computed in one piece.

    Args:
        sharing: How.
        config: The run's options.
        console: Where it is said.
    """
    parts: Sequence[str] = []
    if sharing.replicas > 1:
        parts = [f"{sharing.rows_per_replica(config.batch_size)} rows on each of {sharing.replicas} replicas"]
    if sharing.micro_rows is not None:
        parts = [*parts, f"{sharing.micro_batches} micro-batches of {sharing.micro_rows} rows"]
    elif config.micro_batch_size is not None:
        parts = [*parts, f"micro_batch_size={config.micro_batch_size} has no effect: a replica has no more rows"]
    if parts:
        console.say(f"a batch of {config.batch_size} rows: {'; '.join(parts)}")
