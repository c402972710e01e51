"""Rows that only fill a batch up are augmented like any other, but count neither as seen nor as changed."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfft
from tfft.augment.base import AugmentationContext, Modality, TextBatch, Transform
from tfft.data.order import EpochOrder
from tfft.data.sharing import Sharing
from tfft.training.feeding import TrainingData

#: 48 rows train, in batches of 10 and 8; micro-batches of 4 fill both up to 12.
ROWS, EPOCHS = 48, 2


@dataclasses.dataclass(frozen=True)
class EveryOther:
    """Says that it has changed the rows whose position is even."""

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = False
    probability: float = 1.0

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function."""
        del context

        def transform(batch: TextBatch, seed: tf.Tensor) -> tuple[TextBatch, tf.Tensor]:
            del seed
            return batch, batch.rows % 2 == 0

        return transform


def test_every_row_counts_once_an_epoch(opinions: pd.DataFrame, options: dict[str, Any]) -> None:
    given = {**options, "batch_size": 10, "micro_batch_size": 4, "epochs": EPOCHS}
    model = tfft.fit(opinions, quiet=True, augment=[EveryOther()], **given)
    rows = model.record.data["rows"]
    assert len(opinions) - sum(map(len, rows.values())) == ROWS
    assert model.record.plan["augmented"] == {"EveryOther": {"changed": EPOCHS * ROWS // 2, "seen": EPOCHS * ROWS}}


@pytest.mark.parametrize(
    ("sharing", "units", "changed", "expected"),
    [
        # Replicas of 3 rows each, of which the last of the second fills up.
        (Sharing(6, 2, local=2), 5, [[1, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 1]], [[3, 5], [0, 5]]),
        # The second of two processes.
        (Sharing(6, 2, first=1, local=1), 5, [[0, 1, 1]], [[1, 2]]),
        # Two micro-batches of two rows: one fills up.
        (Sharing(3, micro_batch_size=2), 3, [[1, 1, 1, 1]], [[3, 3]]),
    ],
    ids=["two replicas", "second process", "micro-batches"],
)
def test_what_fills_up_does_not_count(
    sharing: Sharing, units: int, changed: list[list[int]], expected: list[list[int]]
) -> None:
    lengths = np.full(6, 4)
    order = EpochOrder(lengths, (4,), 6, 0, None, "none", "sorted")
    data = TrainingData(lambda rows, width, seed: rows, lengths, np.ones(6, np.float32), order, sharing)
    batch = (None, None, None, tf.constant(float(units)), tf.constant(np.array(changed, bool)))
    once = data.count_fired([], batch)
    assert once == expected
    assert data.count_fired(once, batch) == (2 * np.array(expected)).tolist()
    assert data.count_fired(once, batch[:4]) == once
