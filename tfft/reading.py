"""Reading labelled or unlabelled data the way a run's options say."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, unknown_name
from tfft.data.cell_faults import CELL_CHECKS, Policy
from tfft.data.read import Fingerprint, Reader, expand, source_bytes
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.sources.base import sources
from tfft.quality.base import detectors
from tfft.tasks.base import tasks

#: Files larger than this (bytes) are streamed unless the options say otherwise.
STREAMED_FROM = 1 << 30


@dataclasses.dataclass(frozen=True)
class ReadData:
    """A source as examples.

    Attributes:
        examples: The examples.
        fingerprint: What identifies the source, as plain data.
    """

    examples: TextExamples
    fingerprint: dict[str, Any]


def read_examples(
    source: Any,
    config: FitConfig,
    console: Console,
    *,
    labelled: bool,
    keyed: bool = False,
    clean: Callable[[str], str] | None = None,
    missing: Policy | None = None,
) -> ReadData:
    """Reads a source as the task of a run needs it.

    Args:
        source: Anything that `tfft.fit` takes as data.
        config: The run's options.
        console: Where progress and rows left out are said.
        labelled: Whether labels are wanted.
        keyed: Whether the column that decides the split is wanted.
        clean: Applied to each text.
        missing: Policy for missing cells; None for the run's own.

    Returns:
        The examples and the fingerprint.

    Raises:
        DataError: When the data cannot be used.
        ConfigError: When a policy is for no known check.
    """
    policies = cell_policies(config)
    if missing is not None:
        policies["missing"] = missing
    task = tasks.get(str(config.task))
    columns = task.columns(config, labelled=labelled)
    key_column = config.key_column if keyed else None
    fingerprint = Fingerprint()
    how = HowToRead(
        policies=policies,
        key_column=key_column,
        clean=clean,
        cache_dir=cache_directory(config) if is_streamed(source, config) else None,
        fingerprint=fingerprint,
    )
    wanted = columns if key_column is None or columns is None else [*columns, key_column]
    reader = Reader(source, wanted, encoding=config.encoding, console=console)
    examples = task.examples(reader, config, labelled=labelled, how=how, console=console)
    return ReadData(examples, fingerprint.to_dict(source, examples.where))


def check_batch_size(batch_size: int) -> None:
    """Checks the rows of a forward pass.

    Args:
        batch_size: What the caller gave.

    Raises:
        ConfigError: When it is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size should be at least 1; received {batch_size}.")


def is_source(data: Any) -> bool:
    """Tells a data source from texts to predict. A list of strings is texts; a list of `Path` is files.

    Args:
        data: What was passed to `predict`.

    Returns:
        True for a data source.
    """
    if isinstance(data, (list, tuple)):
        return bool(data) and isinstance(data[0], (dict, list, tuple, os.PathLike))
    if isinstance(data, str):
        return Path(data).exists() or any(
            sources.get(name).accepts(piece) for piece in expand(data) for name in sources
        )
    return any(sources.get(name).accepts(data) for name in sources)


def cell_policies(config: FitConfig) -> dict[str, Policy]:
    """Returns the policies of the checks that are made while reading.

    Args:
        config: The run's options.

    Returns:
        Check to policy.

    Raises:
        ConfigError: When `quality` names an unknown check, or switches one of these off.
    """
    known = [*CELL_CHECKS, *detectors.names()]
    given = config.quality or {}
    problems = [f"quality: {unknown_name('data check', name, known, most=20)}" for name in given if name not in known]
    problems += [
        f"quality: {name!r} cannot be off, since such cells cannot be used as they are; use report, drop or fail."
        for name in CELL_CHECKS
        if given.get(name) == "off"
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return {name: given.get(name, policy) for name, policy in CELL_CHECKS.items()}


def is_streamed(source: Any, config: FitConfig) -> bool:
    """Tells whether a source is kept on disk while it is used.

    Args:
        source: What is read.
        config: The run's options.

    Returns:
        True when asked for, or when the files are large.
    """
    if isinstance(config.streaming, bool):
        return config.streaming
    return config.split not in ("stratified", "random") and (source_bytes(source) or 0) > STREAMED_FROM


def cache_directory(config: FitConfig) -> Path:
    """Returns where streamed rows are kept."""
    return Path(tempfile.gettempdir() if config.cache_dir is None else config.cache_dir)
