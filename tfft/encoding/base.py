"""What a way to encode examples is to the rest of tfft: the same code in training, `predict` and the exported model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfft.console import Console
from tfft.data.pipeline import Gather
from tfft.data.ragged_rows import SequenceOutputs
from tfft.data.schema import TextExamples
from tfft.data.token_cache import TokenCache


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedRows:
    """Examples as rows of tokens.

    An example that is too long for the model becomes several rows (windows), which follow each other.

    Attributes:
        gather: Makes the model's inputs from row positions.
        lengths: Length of each row in tokens, int64 of shape `(rows,)`.
        full_lengths: Tokens of each example, those that were truncated included, int of shape `(examples,)`.
        truncated: Positions of the examples that lost tokens, int64.
        windows: Rows of each example, int of shape `(examples,)`; None when each is one row.
        items: Items of each row that outputs are kept of, such as words, int of shape `(rows,)`; None when the model
            says one thing of each row.
        cache: The tokens, where examples are plain texts; None otherwise.
        context: What decoding has to know besides the outputs, such as the places of words.
        static_gather: Makes inputs of one width, where `gather` pads parts of a row each to a width of their own; None
            where that is the same.
        scored: Whether the model's own outputs are wanted; not where a decoder writes without knowing what it should.
    """

    gather: Gather
    lengths: np.ndarray
    full_lengths: np.ndarray
    truncated: np.ndarray
    windows: np.ndarray | None = None
    items: np.ndarray | None = None
    cache: TokenCache | None = None
    context: Any = None
    static_gather: Gather | None = None
    scored: bool = True

    @property
    def example_of(self) -> np.ndarray:
        """Position of the example that each row is of, int64 of shape `(rows,)`."""
        rows = np.arange(len(self.full_lengths))
        return rows if self.windows is None else np.repeat(rows, self.windows)

    def of_examples(self, outputs: Any) -> Any:
        """Returns outputs of rows as outputs of examples.

        Args:
            outputs: An array whose first axis are rows, or `SequenceOutputs`; or several of these by name.

        Returns:
            The same for examples; the items of an example are those of its rows, in order, and the context is theirs.
            What is said of rows is averaged over those of an example.
        """
        if isinstance(outputs, Mapping):
            return {name: self.of_examples(part) for name, part in outputs.items()}
        if self.windows is None:
            return outputs
        if isinstance(outputs, SequenceOutputs):
            return outputs.joined(self.windows, self.context)
        sums = np.add.reduceat(outputs, np.cumsum(self.windows) - self.windows) if len(outputs) else outputs
        return sums / self.windows.reshape([-1] + [1] * (outputs.ndim - 1)).astype(outputs.dtype)


class Served(NamedTuple):
    """A request as the model takes it, in the graph.

    Attributes:
        features: The model's inputs; first axis: rows.
        context: What decoding has to know besides the outputs.
    """

    features: dict[str, tf.Tensor]
    context: Any


class RowEncoding(Protocol):
    """A way from examples to rows of tokens."""

    @property
    def sequence_length(self) -> int:
        """Longest row in tokens."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the serving signature's inputs, each a string for an example."""

    @property
    def tables(self) -> tf.Module:
        """What an export has to keep: the tokenizer's tables."""

    @property
    def said(self) -> str | None:
        """What a user should know once rows were encoded; None for nothing."""

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes examples.

        Args:
            examples: The examples.
            console: Where progress is shown, and rows that lose tokens are said.
            what: Name of the split, for messages.

        Returns:
            The rows.
        """

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes a request in the graph: strings of shape `(batch,)` by name of the input."""
