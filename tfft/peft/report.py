"""What a method costs: trained weights, memory of gradients and optimizer, and the size of the adapter's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tfft.console import as_text
from tfft.distribute.memory import in_words
from tfft.peft.base import Adapter
from tfft.peft.files import weights_size

#: Numbers that Adam and AdamW keep for each trained weight.
ADAM_SLOTS = 2


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """What is trained at one layer.

    Attributes:
        path: The layer's path.
        part: Whether that is the adapter's or a layer of the model's own, such as the head.
        trainable: Number of trained weights there.
    """

    path: str
    part: str
    trainable: int


@dataclasses.dataclass(frozen=True)
class PeftReport:
    """What a method costs on a model.

    Attributes:
        method: The method.
        trainable: Number of trained weights: the adapter's, and those of the model's own that are trained.
        trainable_of_adapter: How many of them are the adapter's.
        total: Number of all weights of the model, the adapter's among them.
        gradient_bytes: Size of the gradients of a step.
        optimizer_bytes: Size of what the optimizer keeps for the trained weights.
        adapter_bytes: Size of the adapter's weights file, without the head.
        layers: What is trained layer by layer, in the order of the model.
    """

    method: str
    trainable: int
    trainable_of_adapter: int
    total: int
    gradient_bytes: int
    optimizer_bytes: int
    adapter_bytes: int
    layers: tuple[LayerRow, ...]

    @property
    def share(self) -> float:
        """The trained share of all weights, from 0 to 1."""
        return self.trainable / self.total if self.total else 0.0

    def renderables(self, *, per_layer: bool = False) -> list[RenderableType]:
        """Returns the report for the screen.

        Args:
            per_layer: Whether to add a table of layers.

        Returns:
            One or two tables.
        """
        head = self.trainable - self.trainable_of_adapter
        whole = [
            ("trained weights", f"{self.trainable:,} of {self.total:,} ({self.share:.3%})"),
            ("of them the adapter's", f"{self.trainable_of_adapter:,}"),
            ("of them the head's and others", f"{head:,}"),
            ("memory of gradients", in_words(self.gradient_bytes)),
            ("memory of the optimizer's state", in_words(self.optimizer_bytes)),
            ("adapter file", in_words(self.adapter_bytes)),
        ]
        tables: list[RenderableType] = [_table(self.method, ("what", "size"), whole)]
        if per_layer:
            rows = [
                (row.path, row.part, f"{row.trainable:,}", f"{row.trainable / max(self.trainable, 1):.1%}")
                for row in self.layers
            ]
            tables.append(_table("trained weights by layer", ("layer", "part", "weights", "share"), rows))
        return tables

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data, sizes in bytes."""
        return {**dataclasses.asdict(self), "share": self.share}

    def __str__(self) -> str:
        """Returns the first table as plain text."""
        return as_text(self.renderables())

    def _repr_html_(self) -> str:
        """Returns the same for a notebook."""
        return f"<pre>{self}</pre>"


def peft_report(model: keras.Model, adapter: Adapter, *, optimizer_slots: int = ADAM_SLOTS) -> PeftReport:
    """Says what training an adapter costs.

    Args:
        model: The model that is trained: the base with the adapter, and its head.
        adapter: The adapter.
        optimizer_slots: Numbers the optimizer keeps for each trained weight: 2 for Adam and AdamW, 1 for SGD with
            momentum, 0 for plain SGD.

    Returns:
        The report.
    """
    own = {id(variable): name for name, variable in adapter.variables.items()}
    trained: dict[tuple[str, str], int] = {}
    size = of_adapter = 0
    variables = _once([*model.trainable_variables, *adapter.trainable_variables])
    for variable in variables:
        name = own.get(id(variable))
        count = _count(variable)
        size += count * _bytes_of(variable)
        of_adapter += 0 if name is None else count
        place = (_layer_of(variable.path if name is None else name), "model" if name is None else "adapter")
        trained[place] = trained.get(place, 0) + count
    return PeftReport(
        method=adapter.config.method,
        trainable=sum(trained.values()),
        trainable_of_adapter=of_adapter,
        # Without the states of random generators.
        total=sum(map(_count, _once([*model.weights, *adapter.variables.values()]))),
        gradient_bytes=size,
        optimizer_bytes=size * optimizer_slots,
        adapter_bytes=weights_size(adapter),
        layers=tuple(LayerRow(path, part, count) for (path, part), count in trained.items()),
    )


def _once(variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def _count(variable: keras.Variable) -> int:
    return int(np.prod(variable.shape))


def _bytes_of(variable: keras.Variable) -> int:
    return int(tf.as_dtype(str(variable.dtype)).size)  # NumPy does not know bfloat16


def _layer_of(path: str) -> str:
    return path.rsplit("/", 1)[0]


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
