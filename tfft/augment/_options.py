"""Augmentations made of what a user wrote."""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tfft.augment.base import Augmentation, augmentations
from tfft.core.errors import ConfigError, unknown_name

#: What a user may write: name to probability or options; or augmentations.
Specification = Mapping[str, Any] | Sequence[Augmentation]

#: Longest piece of a wrong value that a message repeats.
_MOST_CHARACTERS = 80


def parse(specification: Specification) -> tuple[Augmentation, ...]:
    """Makes augmentations of what a user wrote.

    Args:
        specification: In the order of application: name to probability, or to a mapping of the augmentation's options;
            or a list of augmentations.

    Returns:
        The augmentations.

    Raises:
        ConfigError: With one line for each mistake.
    """
    found: list[Augmentation] = []
    problems: list[str] = []
    makers: list[Callable[[], Augmentation]]
    if not isinstance(specification, Mapping | list | tuple):
        raise ConfigError(
            "augment should map names of augmentations to probabilities or options, or be a list of augmentations; "
            f"received {_shown(specification)}."
        )
    if isinstance(specification, Mapping):
        makers = [functools.partial(_from_options, name, options) for name, options in specification.items()]
    else:
        makers = [functools.partial(_checked, augmentation) for augmentation in specification]
    for make in makers:
        try:
            found.append(make())
        except ConfigError as error:
            problems.append(str(error))
    problems += [] if problems else _order_problems(found)
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(found)


def augmentation_name(augmentation: Augmentation | type[Augmentation]) -> str:
    """Returns the name by which messages call an augmentation: the registered one, or that of its class."""
    cls = augmentation if isinstance(augmentation, type) else type(augmentation)
    return augmentations.name_of(cls) or cls.__name__


def _from_options(name: str, options: Any) -> Augmentation:
    """Makes an augmentation of its name and what stands beside it: a probability, or options."""
    cls = augmentations.get(str(name))
    if isinstance(options, bool) or not isinstance(options, Mapping | int | float):
        raise ConfigError(
            f"augment: {name} should be a probability, or a mapping of options; received {_shown(options)}."
        )
    values = {"probability": float(options)} if isinstance(options, int | float) else dict(options)
    allowed = _adapters(cls)
    problems = [unknown_name(f"option of {name}", str(key), list(allowed)) for key in values if key not in allowed]
    problems += _value_problems(cls, {key: value for key, value in values.items() if key in allowed})
    if problems:
        raise ConfigError("\n".join(problems))
    return cls(**values)


def _checked(augmentation: Any) -> Augmentation:
    """Returns an augmentation that was made by hand, after the checks that one made of options goes through."""
    cls = type(augmentation)
    if not (dataclasses.is_dataclass(cls) and hasattr(cls, "prepare") and hasattr(cls, "modality")):
        raise ConfigError(
            "augment should hold augmentations, for instance RandomSwap(probability=0.3), or map names to "
            f"probabilities; received {_shown(augmentation)}."
        )
    problems = _value_problems(cls, {name: getattr(augmentation, name) for name in _adapters(cls)})
    if problems:
        raise ConfigError("\n".join(problems))
    made: Augmentation = augmentation
    return made


def _value_problems(cls: Any, values: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, value in values.items():
        try:
            _adapters(cls)[name].validate_python(os.fspath(value) if isinstance(value, os.PathLike) else value)
        except ValidationError as error:
            # A union reports one error for each member: the value matched none of them.
            reasons = dict.fromkeys(detail["msg"].removeprefix("Input should be ") for detail in error.errors())
            problems.append(
                f"The option {name} of {augmentation_name(cls)} should be {' or '.join(reasons)}; "
                f"received {_shown(value)}."
            )
    probability = values.get("probability", 1.0)
    if not problems and not 0.0 < probability <= 1.0:
        problems.append(f"The probability of {augmentation_name(cls)} should be in (0, 1]; received {probability!r}.")
    return problems


@functools.cache
def _adapters(cls: Any) -> dict[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    options = [field.name for field in dataclasses.fields(cls) if field.init]
    strict = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return {name: TypeAdapter(hints[name], config=strict) for name in options}


def _order_problems(found: Sequence[Augmentation]) -> list[str]:
    """Rows that are replaced as a whole come before those that are changed, whose changes they would undo."""
    problems, changing = [], ""
    for augmentation in found:
        if getattr(augmentation, "needs_original", False) and changing:
            problems.append(
                f"{augmentation_name(augmentation)} replaces rows by what was computed from the original text, which "
                f"would undo what {changing} did; put it before {changing}."
            )
        elif augmentation.modality == "text" and not getattr(augmentation, "needs_original", False):
            changing = changing or augmentation_name(augmentation)
    return problems


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MOST_CHARACTERS else shown[:_MOST_CHARACTERS] + "..."
