"""Options that are mappings of options: checked against a dataclass, all mistakes at once."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tfft.core.errors import ConfigError, unknown_name

T = TypeVar("T")

#: Longest piece of a wrong value that a message repeats.
_MOST_CHARACTERS = 80


def parse_nested(cls: type[T], given: Mapping[str, Any] | None, name: str) -> T:
    """Makes a dataclass of what a user wrote.

    Args:
        cls: A dataclass, whose fields are the options; it may check more when it is made.
        given: Option to value; None for the defaults.
        name: What the mapping is called, for messages.

    Returns:
        The options.

    Raises:
        ConfigError: With one line for each mistake.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    types = {
        field.name: TypeAdapter[Any](hints[field.name], config=strict)
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
    }
    problems, values = [], {}
    for option, value in (given or {}).items():
        if option not in types:
            problems.append(unknown_name(f"option of {name}", str(option), list(types)))
            continue
        try:
            values[option] = types[option].validate_python(value)
        except ValidationError as error:
            reasons = dict.fromkeys(detail["msg"].removeprefix("Input should be ") for detail in error.errors())
            shown = repr(value)
            shown = shown if len(shown) <= _MOST_CHARACTERS else f"{shown[:_MOST_CHARACTERS]}..."
            problems.append(f"{name}: {option} should be {' or '.join(reasons)}; received {shown}.")
    if problems:
        raise ConfigError("\n".join(problems))
    return cls(**values)
