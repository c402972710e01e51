"""Running a model over rows without training it: sorted by length, no two batches padded more than needed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.console import Console
from tfft.data.pipeline import Gather, inference_dataset
from tfft.data.ragged_rows import RaggedRows, SequenceOutputs


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
            items: Outputs of each row that are kept, int of shape `(rows,)`: the first so many along the second axis.
                None for all of them. Outputs beyond the width of the batch are the same for all rows.

        Returns:
            Float32 of shape `(rows, ...)`; with `items`, `SequenceOutputs`.
        """
        if items is not None:
            return self._sequences(gather, lengths, items, batch_size, console, what)
        dataset, batches = inference_dataset(gather, lengths, batch_size=batch_size)
        result: np.ndarray | None = None
        with console.progress(what, len(lengths), "rows") as advance:
            for inputs, batch in zip(dataset, batches, strict=True):
                values = self._forward(self._select(inputs)).numpy()
                if result is None:
                    result = np.empty((len(lengths), *values.shape[1:]), dtype=values.dtype)
                result[batch.rows] = values
                advance(len(batch.rows))
        if result is None:
            return np.empty((0, *self.model.output.shape[1:]), dtype=np.float32)
        return result

    def _sequences(
        self, gather: Gather, lengths: np.ndarray, items: np.ndarray, batch_size: int, console: Console, what: str
    ) -> SequenceOutputs:
        dataset, batches = inference_dataset(gather, lengths, batch_size=batch_size)
        splits = np.concatenate([[0], np.cumsum(items)]).astype(np.int64)
        result = np.empty((splits[-1], *self.model.output.shape[2:]), dtype=np.float32)
        shared = np.empty((0, *self.model.output.shape[2:]), dtype=np.float32)
        with console.progress(what, len(lengths), "rows") as advance:
            for inputs, batch in zip(dataset, batches, strict=True):
                values = self._forward(self._select(inputs)).numpy()
                for row, own in zip(batch.rows, values, strict=True):
                    result[splits[row] : splits[row + 1]] = own[: items[row]]
                shared = values[0, batch.width :]
                advance(len(batch.rows))
        return SequenceOutputs(RaggedRows(result, splits), shared)

    def _select(self, inputs: Any) -> Any:
        return inputs if self._names is None else {name: inputs[name] for name in self._names}
