"""Numbers that every worker tells all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.distribute.plan import ExecutionPlan


def exchange(plan: ExecutionPlan, numbers: Sequence[int]) -> np.ndarray:
    """Gives each worker the numbers of all, and returns when all have come here.

    Args:
        plan: Where the run is computed; each of its workers has to call this, as often as the others.
        numbers: Numbers of this worker; each worker gives as many.

    Returns:
        Int64 of shape `(num_workers, len(numbers))`.
    """
    told = np.zeros((plan.num_workers, len(numbers)), np.int64)
    told[plan.worker] = numbers
    if plan.strategy is None or plan.num_workers == 1:
        return told
    # One replica speaks for a worker: the rows of the others are zero, and so are those of its other replicas.
    speaker = plan.worker * plan.local_replicas

    def replica_total() -> Any:
        context = tf.distribute.get_replica_context()
        speaks = tf.cast(tf.equal(context.replica_id_in_sync_group, speaker), tf.int64)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, speaks * tf.constant(told))

    totals = tf.function(lambda: plan.strategy.run(replica_total), autograph=False)()
    found: np.ndarray = plan.strategy.experimental_local_results(totals)[0].numpy()
    return found
