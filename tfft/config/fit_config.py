"""The options of a fine-tuning run: one frozen dataclass is the only source of every default."""

from __future__ import annotations

import dataclasses
import functools
import os
import textwrap
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tfft.config.data_options import DataOptions
from tfft.config.execution_options import ExecutionOptions
from tfft.config.rules import FROM_SCRATCH, MULTI_TASK, SPLIT_COLUMNS, broken_rules
from tfft.config.training_options import TrainingOptions
from tfft.core.errors import ConfigError, unknown_name

#: Longest piece of a wrong value that a message repeats.
MOST_CHARACTERS = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(ExecutionOptions, TrainingOptions, DataOptions):
    """Everything that decides a fine-tuning run, apart from the data itself.

    The same fields are the keyword arguments of `tfft.fit`, the options of `tfft fit` and the keys of a config file.

    Example:
        >>> FitConfig(task="text_classification", epochs=2).batch_size
        32
    """

    def __post_init__(self) -> None:
        """Validates every field and every combination, and reports all mistakes at once.

        Raises:
            ConfigError: With one line for each mistake.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, field.name, os.fspath(value))
        if isinstance(self.class_weights, dict):  # YAML reads the label 1 as a number
            object.__setattr__(
                self, "class_weights", {str(label): weight for label, weight in self.class_weights.items()}
            )
        quality: Any = self.quality
        if isinstance(quality, dict):  # YAML reads the word off as false
            policies = {name: "off" if policy is False else policy for name, policy in quality.items()}
            object.__setattr__(self, "quality", policies)
        several: Any = self.tasks
        if isinstance(several, tuple):
            object.__setattr__(self, "tasks", list(several))
        if self.task is None and self.tasks is not None:
            object.__setattr__(self, "task", MULTI_TASK)
        wrong = _type_problems({name: getattr(self, name) for name in option_names()})
        problems = [*wrong.values(), *broken_rules(self, set(wrong))]
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def key_column(self) -> str | None:
        """The column that decides the split of a row; None when none does."""
        return self.group_column or self.time_column or self.split_column

    @property
    def split_method(self) -> str:
        """How rows in memory are split, with "auto" resolved."""
        if self.split != "auto":
            return self.split
        named = [method for method, name in SPLIT_COLUMNS.items() if getattr(self, name) is not None]
        return named[0] if named else "stratified"

    @property
    def validation_share(self) -> float:
        """The share of the rows that goes to validation: none when validation has a file of its own."""
        return 0.0 if self.validation_data is not None else self.validation_fraction

    @property
    def test_share(self) -> float:
        """The share of the rows that goes to the test split: none when it has a file of its own."""
        return 0.0 if self.test_data is not None else self.test_fraction

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation split."""
        return self.validation_data is not None or self.validation_fraction > 0 or self.split_method == "predefined"

    @property
    def peft_method(self) -> str | None:
        """Name of the parameter-efficient method; None when there is none."""
        if self.train_layers is not None:
            return "partial"
        name = self.peft.get("method") if isinstance(self.peft, dict) else self.peft
        return None if name in (None, "full") else str(name)

    @property
    def head_only(self) -> bool:
        """Whether nothing of the backbone is trained or added to."""
        return self.freeze == "backbone" or self.peft_method == "head"

    @property
    def peak_learning_rate(self) -> float:
        """The peak learning rate, with the default that fits what is trained."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.preset in FROM_SCRATCH:
            return 3e-3
        if self.head_only:
            return 1e-3
        return 5e-5 if self.peft_method in (None, "partial") else 5e-4

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> FitConfig:
        """Builds a config from names and values, as a config file or keyword arguments give them.

        Args:
            options: Field names and values; integers stand for floats, as YAML users expect.

        Returns:
            The validated config.

        Raises:
            ConfigError: With one line for each unknown name and each bad value.
        """
        names = option_names()
        known = {name: value for name, value in options.items() if name in names}
        problems = [unknown_name("option", str(name), names, most=40) for name in options if name not in names]
        try:
            config = cls(**known)
        except ConfigError as error:
            raise ConfigError("\n".join([*problems, str(error)])) from None
        if problems:
            raise ConfigError("\n".join(problems))
        return config

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data."""
        return dataclasses.asdict(self)


def option_names() -> list[str]:
    """Returns the names of all options."""
    return [field.name for field in dataclasses.fields(FitConfig)]


def _type_problems(values: Mapping[str, Any]) -> dict[str, str]:
    problems = {}
    for name, adapter in option_types().items():
        try:
            adapter.validate_python(values[name])
        except ValidationError as error:
            # A union reports one error for each member: the value matched none of them.
            reasons = dict.fromkeys(detail["msg"].removeprefix("Input should be ") for detail in error.errors())
            received = textwrap.shorten(repr(values[name]), MOST_CHARACTERS, placeholder=" ...")
            problems[name] = f"The option {name} should be {' or '.join(reasons)}; received {received}."
    return problems


@functools.cache
def option_types() -> dict[str, TypeAdapter[Any]]:
    """Returns what checks the type of each option."""
    hints = typing.get_type_hints(FitConfig, include_extras=True)
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    return {name: TypeAdapter(hints[name], config=strict) for name in option_names()}
