"""Splits as the model takes them: tokens or features, their lengths and targets, and the figures over a whole split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, TrainingError
from tfft.data.pipeline import array_gather
from tfft.distribute.memory import in_words
from tfft.encoding.base import EncodedRows, RowEncoding
from tfft.generating import Generator
from tfft.inference import ForwardRunner, as_rows, finite
from tfft.metrics.base import Metrics
from tfft.splitting import SplitData, without_rows
from tfft.tasks.base import RowTargets, Targets, tasks
from tfft.training.build import BuiltModel

#: Features of words that are computed once and kept, in bytes.
MOST_CACHED = 2 << 30


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One split as the model takes it.

    Attributes:
        rows: The rows, of tokens or of features computed once.
        targets: What the metrics compare outputs with, one for each example.
        row_targets: What the loss compares outputs with, one for each row.
        cached: Whether the rows are features computed once.
    """

    rows: EncodedRows
    targets: Targets
    row_targets: RowTargets
    cached: bool = False


class SplitFigures:
    """Computes the figures of a model, as it is at the moment, over one whole split.

    Attributes:
        learned: What outputs are decoded with.
    """

    def __init__(
        self,
        model: keras.Model,
        splits: Mapping[str, Encoded],
        data: SplitData,
        config: FitConfig,
        console: Console,
        generator: Generator | None = None,
    ) -> None:
        """Traces the forward pass once.

        Args:
            model: The model that is trained.
            splits: What it takes, by split.
            data: What was learned of it is used.
            config: The run's options.
            console: Where progress is shown.
            generator: Writes texts, where the model does.
        """
        self._generator = generator
        self._runner = ForwardRunner(model)
        self._splits = splits
        self.learned = data.learned
        self._config = config
        self._console = console

    def __call__(self, name: str, what: str, *, generate: bool = True) -> Metrics:
        """Computes the figures.

        Args:
            name: Name of the split.
            what: What is being done, for the progress bar.
            generate: Whether a model that writes texts writes them.

        Returns:
            The task's figures.

        Raises:
            TrainingError: When an output is not finite.
        """
        outputs = self.outputs(name, what)
        if self._generator is not None:
            written = self._written(name, what) if generate else {}
            outputs = {"scored": outputs, **written}
        return tasks.get(str(self._config.task)).metrics(outputs, self._splits[name].targets, self.learned)

    def _written(self, name: str, what: str) -> dict[str, np.ndarray]:
        generator: Any = self._generator
        batch_size = self._config.batch_size
        found: dict[str, np.ndarray] = generator.outputs(
            self._splits[name].rows, batch_size=batch_size, console=self._console, what=f"{what}: writing"
        )
        return found

    def outputs(self, name: str, what: str) -> Any:
        """Computes the model's outputs on the examples of a split.

        Args:
            name: Name of the split.
            what: What is being done, for the progress bar.

        Returns:
            The outputs, as the task takes them.

        Raises:
            TrainingError: When an output is not finite.
        """
        rows = self._splits[name].rows
        outputs = self._runner.outputs(
            rows.gather,
            rows.lengths,
            batch_size=self._config.batch_size,
            console=self._console,
            what=what,
            items=rows.items,
        )
        if not finite(outputs):
            raise TrainingError(
                f"The model's outputs on the {name} split are not finite: training has diverged. Lower learning_rate "
                "or raise warmup_fraction. Nothing has been written."
            )
        return rows.of_examples(outputs)


def tokenize(
    config: FitConfig, backbone: TextBackbone, data: SplitData, console: Console
) -> tuple[RowEncoding, dict[str, EncodedRows], SplitData]:
    """Tokenizes every split once.

    Args:
        config: The run's options.
        backbone: Its tokenizer is used.
        data: The splits.
        console: Where progress and truncation are said.

    Returns:
        The encoding, the rows of each split, and the splits with targets that only tokens tell, without examples that
        a policy drops for their length.

    Raises:
        ConfigError: When sequence_length is more than the backbone takes.
        DataError: When rows are too long and the policy for lengths is "fail".
    """
    limit = backbone.max_sequence_length
    if limit is not None and config.sequence_length is not None and config.sequence_length > limit:
        raise ConfigError(
            f"sequence_length is {config.sequence_length}, but {backbone.preset!r} takes at most {limit} tokens."
        )
    task = tasks.get(str(config.task))
    encoding = task.encoding(backbone, config, data.learned, config.sequence_length)
    length = encoding.sequence_length
    console.say(f"rows of up to {length} tokens")
    rows = {name: encoding.encode(examples, console, what=name) for name, examples in data.examples.items()}
    if encoding.said is not None:
        console.say(encoding.said)
    policy = (config.quality or {}).get("lengths", "report")
    too_long = {name: split.truncated for name, split in rows.items() if len(split.truncated)}
    if not too_long or policy in ("report", "off"):
        return encoding, rows, _with_token_targets(data, rows, config)
    if policy == "fail":
        name, places = next(iter(too_long.items()))
        examples = data.examples[name]
        raise DataError(
            f"{examples.where}: {len(places):,} rows of the {name} split are longer than {length} tokens "
            f"({examples.name_rows(places)}). Raise sequence_length, or set quality={{'lengths': 'report'}} to "
            "truncate them."
        )
    kept = without_rows(data, too_long, f"longer than {length} tokens", config)
    counts = ", ".join(f"{len(places):,} of {name}" for name, places in too_long.items())
    console.say(f"lengths: dropped rows that would have been truncated: {counts}")
    quiet = Console(quiet=True)
    rows = {name: encoding.encode(split, quiet, what=name) for name, split in kept.examples.items()}
    return encoding, rows, _with_token_targets(kept, rows, config)


def _with_token_targets(data: SplitData, rows: Mapping[str, EncodedRows], config: FitConfig) -> SplitData:
    task = tasks.get(str(config.task))
    found = {name: task.token_targets(data.targets[name], split) for name, split in rows.items()}
    return dataclasses.replace(data, targets=found)


def model_inputs(
    built: BuiltModel,
    rows: Mapping[str, EncodedRows],
    data: SplitData,
    config: FitConfig,
    console: Console,
) -> tuple[keras.Model, dict[str, Encoded]]:
    """Returns the model to train and what it takes: all of it on tokens, or its head on features computed once."""
    task = tasks.get(str(config.task))
    model = built.trained
    taken = dict(rows)
    every_step = "rows are augmented" if config.augment else "the data is streamed" if data.streamed else ""
    if task.hides_tokens:
        every_step = "other tokens are hidden in every step"
    if built.writer is not None:
        every_step = "a decoder attends to all tokens"
    if config.head_only and not every_step:
        every_step = _too_large(built, rows)
    if config.head_only and every_step:
        console.say(f"the frozen backbone runs in every step, since {every_step}")
    elif config.head_only:
        model, runner = built.head, ForwardRunner(built.features)
        for name, split in rows.items():
            taken[name] = cached_features(
                split, runner, batch_size=config.batch_size, console=console, what=f"backbone features ({name})"
            )
    cached = model is built.head
    return model, {
        name: Encoded(split, data.targets[name], task.row_targets(data.targets[name], split, data.learned), cached)
        for name, split in taken.items()
    }


def cached_features(
    rows: EncodedRows, runner: ForwardRunner, *, batch_size: int, console: Console, what: str
) -> EncodedRows:
    """Computes what goes into the head.

    Args:
        rows: The rows.
        runner: Runs the model up to the head.
        batch_size: Rows per forward pass.
        console: Where progress is shown.
        what: What is being done, for the progress bar.

    Returns:
        The same rows, of features instead of tokens.
    """
    features = runner.outputs(
        rows.gather, rows.lengths, batch_size=batch_size, console=console, what=what, items=rows.items
    )
    gather = array_gather(as_rows(features))
    if rows.items is None:
        return dataclasses.replace(rows, gather=gather)
    # A row without words still is a row.
    return dataclasses.replace(rows, gather=gather, lengths=np.maximum(rows.items, 1))


def _too_large(built: BuiltModel, rows: Mapping[str, EncodedRows]) -> str:
    items = sum(int(split.items.sum()) for split in rows.values() if split.items is not None)
    size = items * int(keras.tree.flatten(built.features.output)[0].shape[-1]) * 4
    return f"its features of {items:,} words would take {in_words(size)}" if size > MOST_CACHED else ""
