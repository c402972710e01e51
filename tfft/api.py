"""The public functions: they fold their arguments into a config and hand over."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.core.files import check_target
from tfft.tasks.base import tasks

if TYPE_CHECKING:
    from tfft.finetuned import FineTunedModel


def fit(data: Any = None, *, config: FitConfig | None = None, quiet: bool = False, **options: Any) -> FineTunedModel:
    """Fine-tunes a pretrained model on your data.

    Args:
        data: A path (.csv, .tsv, .jsonl), a DataFrame, a dict of columns, or a list of dicts or (text, label) pairs.
        config: All options as an object; `options` replace single fields of it.
        quiet: Say nothing and show no progress.
        **options: The fields of `tfft.FitConfig`: `task` (required), `preset`, `text_column`, `epochs`, ...

    Returns:
        The fine-tuned model; saved already when `output_dir` is given.

    Raises:
        ConfigError: When an option is unknown, of the wrong type or contradicts another; all mistakes at once.
        DataError: When the data cannot be read or used.
        PresetError: When the preset is unknown or cannot be fetched.
        ArtifactError: When output_dir is not empty or cannot be written.
        TrainingError: When the loss is not finite.

    Example:
        >>> model = tfft.fit("reviews.csv", task="text_classification", epochs=2, output_dir="runs/reviews")
        >>> print(model.report)
        >>> model.predict(["what a film"])
    """
    from tfft.data.read import describe

    base = {} if config is None else config.to_dict()
    source = data if data is not None else options.get("data", base.get("data"))
    settings = FitConfig.from_mapping({**base, **options, "data": None if source is None else describe(source)})
    if source is None:
        raise DataError("No data was given; pass a file or a DataFrame as the first argument, or name it as data.")
    tasks.get(str(settings.task))
    if settings.output_dir is not None:
        check_target(Path(settings.output_dir), overwrite=settings.overwrite)
    console = Console(quiet=quiet)

    from tfft.splitting import split_data

    splits = split_data(settings, source, console)
    _prepare_tensorflow()

    from tfft.distribute.plan import resolve
    from tfft.fitting import run_fit

    model = run_fit(settings, splits, resolve(settings.jit_compile), console)
    if settings.output_dir is not None:
        model.save(settings.output_dir, overwrite=settings.overwrite)
    return model


def load(directory: str | os.PathLike[str], *, quiet: bool = False) -> FineTunedModel:
    """Loads a run directory; nothing in it is executed.

    Args:
        directory: The `output_dir` of an earlier `tfft.fit`.
        quiet: Say nothing and show no progress.

    Returns:
        The model, which predicts exactly as the one that was saved.

    Raises:
        ArtifactError: When a file is missing, truncated or altered.

    Example:
        >>> tfft.load("runs/reviews").evaluate("more.csv")["accuracy"]
        0.91
    """
    from tfft.runs.run_directory import read_manifest

    read_manifest(Path(directory))
    _prepare_tensorflow()

    from tfft.finetuned import load_run

    return load_run(Path(directory), Console(quiet=quiet))


def _prepare_tensorflow() -> None:
    """Imports TensorFlow and makes Keras run on it.

    Raises:
        ConfigError: When Keras runs on another backend already.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _without_early_log():
        importlib.import_module("tfft.backbones.keras_hub")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"Keras runs on the {keras.backend.backend()!r} backend; tfft needs TensorFlow. "
            "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
        )


@contextlib.contextmanager
def _without_early_log() -> Iterator[None]:
    """Hides what TensorFlow prints before it has read TF_CPP_MIN_LOG_LEVEL, when that asks for silence."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3" or "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _with_options(function: Any) -> None:
    """Shows every field of `FitConfig` in the signature, for help() and notebooks."""
    signature = inspect.signature(function)
    shown = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in dataclasses.fields(FitConfig)
        if field.name != "data"
    ]
    own = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=[*own, *shown])


_with_options(fit)
