"""The contract of an exporter, and what it gets to export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from tfft.console import Console
from tfft.core.learned import Learned
from tfft.core.registry import Registry
from tfft.encoding.base import RowEncoding
from tfft.generating import Generator
from tfft.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Exportable:
    """A trained model as an exporter needs it.

    Attributes:
        model: From token features to outputs.
        encoding: From strings to rows of tokens.
        task: The task, for decoding in the graph.
        learned: The label vocabulary, and what else the task learned.
        held_out: Inputs the model was not trained on, to verify the export with.
        predict: `predict` of the trained model, what the export must agree with.
        metadata: Plain data to put beside the model.
        generator: Writes texts in the graph; None where the model's outputs are what is decoded.
    """

    model: keras.Model
    encoding: RowEncoding
    task: Task
    learned: Learned
    held_out: Sequence[Any]
    predict: Callable[[Sequence[Any]], list[Any]]
    metadata: dict[str, Any]
    generator: Generator | None = None

    def expected(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Returns what the export must answer for these inputs."""
        return self.task.served_outputs(self.predict(inputs), self.learned)


class Exporter(Protocol):
    """Writes a model for a runtime, and verifies it before it says so."""

    def export(self, exportable: Exportable, directory: Path, console: Console) -> Path:
        """Exports below `directory` and returns what was written."""


exporters: Registry[Exporter] = Registry("exporter", "tfft.export")
register_exporter = exporters.register
