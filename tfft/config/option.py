"""How an option is declared."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Name = Annotated[str, Field(min_length=1)]


def option(default: Any, description: str) -> Any:
    """Declares an option with its default and its help text (unit and meaning)."""
    return dataclasses.field(default=default, metadata={"help": description})
