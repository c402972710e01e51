"""Running a model over rows without training it: sorted by length, no two batches padded more than needed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.console import Console
from tfft.data.bucketing import Batch
from tfft.data.joint_rows import JointRows
from tfft.data.pipeline import Gather, inference_dataset
from tfft.data.ragged_rows import RaggedRows, SequenceOutputs

#: Name of the output of a model that has one.
_ONLY = ""
#: Dimensions of an output that says one thing of each row: rows and features.
_ONE_A_ROW = 2


class ForwardRunner:
    """Runs a model's forward pass over a whole split, in one traced function for all widths."""

    def __init__(self, model: keras.Model) -> None:
        """Creates a runner.

        Args:
            model: A functional model; a dict of inputs is matched by name.
        """
        self.model = model
        self._names = list(model.input) if isinstance(model.input, dict) else None
        # One trace for every batch size and width.
        specs = tf.nest.map_structure(lambda item: tf.TensorSpec([None, *item.shape[1:]], item.dtype), model.input)
        forward = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        self._forward = forward.get_concrete_function(specs)

    def outputs(
        self,
        gather: Gather,
        lengths: np.ndarray,
        *,
        batch_size: int,
        console: Console,
        what: str,
        items: np.ndarray | None = None,
    ) -> Any:
        """Returns the outputs of all rows, in the order of the rows.

        Args:
            gather: Makes the model's inputs.
            lengths: Length of each row in tokens, shape `(rows,)`.
            batch_size: Rows per batch.
            console: Where progress is shown.
            what: What is being done, for the progress bar.
            items: Outputs of each row that are kept, int of shape `(rows,)`: the first so many along the second axis,
                where an output has one besides that of its features. None for all of them. Outputs beyond the width of
                the batch are the same for all rows.

        Returns:
            Float32 of shape `(rows, ...)`; with `items`, `SequenceOutputs`; of a model with several outputs, these by
            name.
        """
        collected = {
            name: _Rows(len(lengths), output)
            if items is None or len(output.shape) <= _ONE_A_ROW
            else _Items(items, output)
            for name, output in _named(self.model.output).items()
        }
        dataset, batches = inference_dataset(gather, lengths, batch_size=batch_size)
        with console.progress(what, len(lengths), "rows") as advance:
            for inputs, batch in zip(dataset, batches, strict=True):
                values = _named(self._forward(self._select(inputs)))
                for name, part in collected.items():
                    part.add(batch, values[name].numpy())
                advance(len(batch.rows))
        found = {name: part.result() for name, part in collected.items()}
        return found if isinstance(self.model.output, dict) else found[_ONLY]

    def _select(self, inputs: Any) -> Any:
        return inputs if self._names is None else {name: inputs[name] for name in self._names}


def as_rows(outputs: Any) -> np.ndarray | RaggedRows | JointRows:
    """Returns outputs as rows that batches can be gathered of.

    Args:
        outputs: What `ForwardRunner.outputs` gave.

    Returns:
        The rows, without what is said once for all of them.
    """
    if isinstance(outputs, dict):
        return JointRows({name: as_rows(part) for name, part in outputs.items()})
    rows: np.ndarray | RaggedRows = outputs.rows if isinstance(outputs, SequenceOutputs) else outputs
    return rows


def finite(outputs: Any) -> bool:
    """Tells whether outputs are finite.

    Args:
        outputs: What `ForwardRunner.outputs` gave.

    Returns:
        Whether all of them are.
    """
    if isinstance(outputs, dict):
        return all(map(finite, outputs.values()))
    return outputs.finite if isinstance(outputs, SequenceOutputs) else bool(np.isfinite(outputs).all())


def _named(outputs: Any) -> dict[str, Any]:
    return outputs if isinstance(outputs, dict) else {_ONLY: outputs}


class _Rows:
    """Collects an output of which each row has one."""

    def __init__(self, rows: int, output: Any) -> None:
        self._values = np.empty((0, *output.shape[1:]), dtype=np.float32) if not rows else None
        self._rows = rows

    def add(self, batch: Batch, values: np.ndarray) -> None:
        if self._values is None:
            self._values = np.empty((self._rows, *values.shape[1:]), dtype=values.dtype)
        self._values[batch.rows] = values

    def result(self) -> np.ndarray:
        if self._values is None:
            raise RuntimeError("No batch was seen.")
        return self._values


class _Items:
    """Collects an output of which each row has several."""

    def __init__(self, items: np.ndarray, output: Any) -> None:
        self._items = items
        self._splits = np.concatenate([[0], np.cumsum(items)]).astype(np.int64)
        self._values = np.empty((self._splits[-1], *output.shape[2:]), dtype=np.float32)
        self._shared = np.empty((0, *output.shape[2:]), dtype=np.float32)

    def add(self, batch: Batch, values: np.ndarray) -> None:
        for row, own in zip(batch.rows, values, strict=True):
            self._values[self._splits[row] : self._splits[row + 1]] = own[: self._items[row]]
        self._shared = values[0, batch.width :]

    def result(self) -> SequenceOutputs:
        return SequenceOutputs(RaggedRows(self._values, self._splits), self._shared)
