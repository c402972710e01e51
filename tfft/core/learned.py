"""What a task knows of its training data, besides the weights."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Learned:
    """The label vocabulary and what else a task found out; plain data, kept beside the weights.

    Attributes:
        labels: The label vocabulary, in the order of the outputs.
        settings: What else decides how inputs are read and outputs are decoded, by name; plain data.
    """

    labels: list[str]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
