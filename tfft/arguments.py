"""The arguments of the public functions as options and data sources."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfft.config import FitConfig
from tfft.core.errors import DataError
from tfft.tasks.base import check_task

if TYPE_CHECKING:
    from tfft.splitting import Sources

#: Options that take data of their own, and what `Sources` calls them.
_DATA_OPTIONS = {"data": "train", "validation_data": "validation", "test_data": "test", "synthetic_data": "synthetic"}


#: Arguments of `fit` that are objects and no options.
_OBJECTS = ("callbacks", "metrics")


def settings_of(data: Any, config: FitConfig | None, options: Mapping[str, Any]) -> tuple[FitConfig, Sources]:
    """Folds arguments into options and data sources.

    Args:
        data: The training data; None when `config` or `options` name it.
        config: All options as an object.
        options: Arguments of the caller, which replace single fields of it; objects among them.

    Returns:
        The options, validated, and the sources.

    Raises:
        DataError: When no data was given.
    """
    from tfft.data.read import describe
    from tfft.splitting import Sources

    base = {} if config is None else config.to_dict()
    given = {**base, **{name: value for name, value in options.items() if name not in _OBJECTS}}
    if not isinstance(given.get("strategy", "auto"), str):
        del given["strategy"]  # an object; the run directory records what it was
    if data is not None:
        given["data"] = data
    sources = {field: given.get(name) for name, field in _DATA_OPTIONS.items()}
    described = {
        name: None if sources[field] is None else describe(sources[field]) for name, field in _DATA_OPTIONS.items()
    }
    if given.get("pretrain_on") is not None:
        described["pretrain_on"] = describe(given["pretrain_on"])
    if given.get("augment") is not None:
        described["augment"] = _plain_augmentations(given["augment"])
    if hasattr(given.get("peft"), "to_dict"):  # a config of a method
        described["peft"] = given["peft"].to_dict()
    settings = FitConfig.from_mapping({**given, **described})
    if sources["train"] is None:
        raise DataError("No data was given; pass a file or a DataFrame as the first argument, or name it as data.")
    check_task(settings)
    return settings, Sources(**sources)


def with_a_task(options: Mapping[str, Any], config: FitConfig | None = None) -> dict[str, Any]:
    """Returns the options of a function that needs no task: text classification where none is named.

    Args:
        options: Arguments of the caller.
        config: All options as an object.

    Returns:
        The options.
    """
    named = config is not None or options.get("task") is not None or options.get("tasks") is not None
    return dict(options) if named else {**options, "task": "text_classification"}


def _plain_augmentations(specification: Any) -> Any:
    """Returns augmentations as a config keeps them: objects as their options, functions by name."""
    if isinstance(specification, (list, tuple)) and all(map(dataclasses.is_dataclass, specification)):
        return {
            f"{place}. {type(item).__name__}": {
                field.name: _plain(getattr(item, field.name)) for field in dataclasses.fields(item)
            }
            for place, item in enumerate(specification, 1)
        }
    return _plain(specification)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return f"<{getattr(value, '__name__', type(value).__name__)}>"
