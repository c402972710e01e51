"""The contract of a task: everything that differs between text classification and, say, tagging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.registry import Registry
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.metrics.base import Metrics

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class Task(Protocol):
    """What a task has to say; one file with one decorator adds one.

    A task has no state: the label vocabulary is passed to it. Its module must not import TensorFlow or Keras at the
    top: bad data is reported before they are loaded.
    """

    head: str
    """Name of the head in the head registry."""

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns the columns to read."""

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source, checks its rows and takes what the task needs."""

    def vocabulary(self, examples: TextExamples) -> list[str]:
        """Returns the label vocabulary of the training data."""

    def targets(self, examples: TextExamples, labels: Sequence[str]) -> np.ndarray:
        """Returns what the loss and the metrics compare outputs with; first axis: rows."""

    def sample_weights(self, targets: np.ndarray, labels: Sequence[str], config: FitConfig) -> np.ndarray:
        """Returns the weight of each training row in the loss, float32 of shape `(rows,)`."""

    def loss(self, config: FitConfig) -> keras.losses.Loss:
        """Returns the training loss."""

    def metrics(self, outputs: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Metrics:
        """Computes the figures over a whole split."""

    def restore_metrics(self, plain: Mapping[str, Any]) -> Metrics:
        """Returns the metrics whose `to_dict` gave this."""

    def baselines(
        self,
        train: tuple[TextExamples, np.ndarray],
        test: tuple[TextExamples, np.ndarray],
        labels: Sequence[str],
    ) -> Mapping[str, Metrics]:
        """Trains what the model must beat, and returns their figures on the test split."""

    def decode(self, outputs: np.ndarray, labels: Sequence[str]) -> list[Any]:
        """Turns outputs into predictions for people."""

    def serve(self, outputs: tf.Tensor, labels: Sequence[str]) -> dict[str, tf.Tensor]:
        """Turns outputs into the serving signature's tensors, in the graph; first axis: rows."""

    def served_outputs(self, predictions: Sequence[Any]) -> dict[str, np.ndarray]:
        """Returns what `serve` must give for these predictions, to verify an export."""

    def sample_data(self) -> pd.DataFrame:
        """Returns a small table that the task can be trained on, for tests and tutorials."""


tasks: Registry[Task] = Registry("task", "tfft.tasks")
register_task = tasks.register
