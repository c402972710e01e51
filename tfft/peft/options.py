"""A method made of what a user wrote: its name, a mapping of its options, or its config."""

from __future__ import annotations

import dataclasses
import textwrap
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tfft.core.errors import ConfigError, unknown_name
from tfft.peft.base import PeftConfig, methods

_MOST_CHARACTERS = 80


def parse_peft(specification: str | Mapping[str, Any] | PeftConfig) -> PeftConfig:
    """Makes the config of a method.

    Args:
        specification: The method's name; or a mapping with the key `method` and options; or a config.

    Returns:
        The config, validated.

    Raises:
        ConfigError: With one line for each mistake.
    """
    if isinstance(specification, PeftConfig):
        specification = specification.to_dict()
    if isinstance(specification, str):
        specification = {"method": specification}
    name = specification.get("method")
    if not isinstance(name, str):
        raise ConfigError(
            f"peft names no method: {_shown(dict(specification))}. Write peft='lora', or peft={{'method': 'lora', "
            f"'rank': 16}}. Methods: {', '.join(methods.names())}."
        )
    config_class: type[PeftConfig] = methods.get(name).config_class
    types = _option_types(config_class)
    given = {str(option): value for option, value in specification.items() if option != "method"}
    problems = [unknown_name(f"option of {name}", option, list(types)) for option in given if option not in types]
    values = {}
    for option, value in given.items():
        if option not in types:
            continue
        # JSON and YAML know lists only.
        candidate = tuple(value) if isinstance(value, list) else value
        try:
            values[option] = types[option].validate_python(candidate)
        except ValidationError as error:
            reasons = dict.fromkeys(detail["msg"].removeprefix("Input should be ") for detail in error.errors())
            problems.append(f"peft: {name}.{option} should be {' or '.join(reasons)}; received {_shown(value)}.")
    if problems:
        raise ConfigError("\n".join(problems))
    return config_class(**values)


def _option_types(config_class: type[PeftConfig]) -> dict[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(config_class, include_extras=True)
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    return {field.name: TypeAdapter(hints[field.name], config=strict) for field in dataclasses.fields(config_class)}


def _shown(value: Any) -> str:
    return textwrap.shorten(repr(value), _MOST_CHARACTERS, placeholder=" ...")
