"""Which rows of a batch each replica computes, cut into equal parts by filling up with rows of weight 0."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Sharing:
    """How the rows of each global batch are dealt to replicas and micro-batches.

    Each replica gets the same number of rows, a multiple of the micro-batch; rows that fill up have weight 0, so that
    the loss, a sum over real rows divided by their number, is that of the batch in one piece.

    Attributes:
        batch_size: Rows of a full global batch.
        replicas: Replicas in all processes.
        first: Number of this process' first replica.
        local: Replicas of this process.
        micro_batch_size: Most rows that a replica computes at once; None for all of its share.
        static: Whether the short last batch is filled up to a full one, so that XLA compiles nothing for it.
    """

    batch_size: int
    replicas: int = 1
    first: int = 0
    local: int = 1
    micro_batch_size: int | None = None
    static: bool = False

    @property
    def micro_rows(self) -> int | None:
        """Rows of each micro-batch: as equal as can be; None when a replica computes its share at once."""
        share = -(-self.batch_size // self.replicas)
        if self.micro_batch_size is None or self.micro_batch_size >= share:
            return None
        parts = -(-share // self.micro_batch_size)
        return -(-share // parts)

    @property
    def micro_batches(self) -> int:
        """Micro-batches that a replica computes for a full batch."""
        share = -(-self.batch_size // self.replicas)
        return 1 if self.micro_rows is None else -(-share // self.micro_rows)

    def rows_per_replica(self, rows: int) -> int:
        """Returns the rows that each replica computes for a batch, those that fill up included."""
        share = -(-(self.batch_size if self.static else rows) // self.replicas)
        micro = self.micro_rows
        return share if micro is None else -(-share // micro) * micro

    def deal(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of this process' replicas.

        Args:
            rows: Row positions of the global batch, int64 of shape `(batch,)`.

        Returns:
            Row positions, int64 of shape `(local * rows_per_replica,)`, one replica after the other; and 1 where a row
            is real, 0 where it fills up, float32 of the same shape.
        """
        share = self.rows_per_replica(len(rows))
        real = -(-len(rows) // self.replicas)
        dealt = np.full((self.replicas, share), rows[0], dtype=np.int64)
        present = np.zeros((self.replicas, share), dtype=np.float32)
        for replica in range(self.replicas):
            own = rows[replica * real : (replica + 1) * real]
            dealt[replica, : len(own)] = own
            present[replica, : len(own)] = 1.0
        mine = slice(self.first, self.first + self.local)
        return dealt[mine].reshape(-1), present[mine].reshape(-1)
