"""What a graph allocates while it runs, as TensorFlow's own allocator records it: the same on every machine.

Resident memory would also count what the C library keeps of freed memory, which depends on cores, threads and its
version. Here one thread runs the operations, and every block that a kernel asks for or gives back is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def peak_allocated(function: Any, arguments: Sequence[Any]) -> int:
    """Runs a graph once and returns the bytes that it had allocated at most.

    Args:
        function: A concrete function without variables or compiled parts; what is done to graphs before they run, such
            as merging equal operations, is done to it.
        arguments: Its tensors, which do not count themselves.

    Returns:
        Bytes.
    """
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(function.graph.as_graph_def(), name="")
        wanted = [graph.get_tensor_by_name(tensor.name).op for tensor in function.graph.outputs]
        named = {tensor.name: np.asarray(value) for tensor, value in zip(function.inputs, arguments, strict=True)}
    v1 = tf.compat.v1
    threads = v1.ConfigProto(
        inter_op_parallelism_threads=1, intra_op_parallelism_threads=1, use_per_session_threads=True
    )
    options, told = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), v1.RunMetadata()
    with v1.Session(graph=graph, config=threads) as session:
        session.run(wanted, named, options=options, run_metadata=told)
    records = [
        (record.alloc_micros, record.alloc_bytes)
        for device in told.step_stats.dev_stats
        for node in device.node_stats
        for memory in node.memory
        for record in memory.allocation_records
    ]
    assert records, "TensorFlow has recorded nothing"
    sizes = np.array([size for _, size in sorted(records)])  # within a microsecond, what is given back comes first
    assert sizes.sum() == 0, "all is given back in the end"
    return int(sizes.cumsum().max())
