"""Splits as the model takes them: tokens or features, their lengths and targets, and the figures over a whole split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, TrainingError
from tfft.data.pipeline import Gather, array_gather, token_gather
from tfft.data.token_cache import TokenCache, encode_texts
from tfft.inference import ForwardRunner
from tfft.layers.text_encoder import TextEncoder
from tfft.metrics.base import Metrics
from tfft.splitting import SplitData, without_rows
from tfft.tasks.base import tasks
from tfft.training.build import BuiltModel


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One split as the model takes it.

    Attributes:
        gather: Makes the inputs from row positions, as they are.
        lengths: Length of each row in tokens, int64 of shape `(rows,)`.
        targets: One target a row.
        cached: Whether the model takes features computed once, one vector a row.
    """

    gather: Gather
    lengths: np.ndarray
    targets: np.ndarray
    cached: bool = False


class SplitFigures:
    """Computes the figures of a model, as it is at the moment, over one whole split."""

    def __init__(
        self, model: keras.Model, splits: Mapping[str, Encoded], data: SplitData, config: FitConfig, console: Console
    ) -> None:
        """Traces the forward pass once.

        Args:
            model: The model that is trained.
            splits: What it takes, by split.
            data: Its label vocabulary is used.
            config: The run's options.
            console: Where progress is shown.
        """
        self._runner = ForwardRunner(model)
        self._splits = splits
        self._labels = data.labels
        self._config = config
        self._console = console

    def __call__(self, name: str, what: str) -> Metrics:
        """Computes the figures.

        Args:
            name: Name of the split.
            what: What is being done, for the progress bar.

        Returns:
            The task's figures.

        Raises:
            TrainingError: When an output is not finite.
        """
        split = self._splits[name]
        outputs = self._runner.outputs(
            split.gather, split.lengths, batch_size=self._config.batch_size, console=self._console, what=what
        )
        if not np.isfinite(outputs).all():
            raise TrainingError(
                f"The model's outputs on the {name} split are not finite: training has diverged. Lower learning_rate "
                "or raise warmup_fraction. Nothing has been written."
            )
        return tasks.get(str(self._config.task)).metrics(outputs, split.targets, self._labels)


def tokenize(
    config: FitConfig, backbone: TextBackbone, data: SplitData, console: Console
) -> tuple[TextEncoder, dict[str, TokenCache], SplitData]:
    """Tokenizes every split once.

    Args:
        config: The run's options.
        backbone: Its tokenizer is used.
        data: The splits.
        console: Where progress and truncation are said.

    Returns:
        The encoder, the token ids of each split, and the splits without rows that a policy drops for their length.

    Raises:
        ConfigError: When sequence_length is more than the backbone takes.
        DataError: When rows are too long and the policy for lengths is "fail".
    """
    limit = backbone.max_sequence_length
    if limit is not None and config.sequence_length is not None and config.sequence_length > limit:
        raise ConfigError(
            f"sequence_length is {config.sequence_length}, but {backbone.preset!r} takes at most {limit} tokens."
        )
    encoder = backbone.encoder(config.sequence_length)
    console.say(f"rows of up to {encoder.sequence_length} tokens")
    caches = {
        name: encode_texts(examples.texts, encoder, console, what=name) for name, examples in data.examples.items()
    }
    if encoder.reason is not None:
        console.say(f"tokenized with KerasHub's own layer: {encoder.reason}")
    policy = (config.quality or {}).get("lengths", "report")
    too_long = {name: cache.truncated for name, cache in caches.items() if len(cache.truncated)}
    if not too_long or policy in ("report", "off"):
        return encoder, caches, data
    if policy == "fail":
        name, rows = next(iter(too_long.items()))
        examples = data.examples[name]
        raise DataError(
            f"{examples.where}: {len(rows):,} rows of the {name} split are longer than {encoder.sequence_length} "
            f"tokens ({examples.name_rows(rows)}). Raise sequence_length, or set quality={{'lengths': 'report'}} to "
            "truncate them."
        )
    kept = without_rows(data, too_long, f"longer than {encoder.sequence_length} tokens", config)
    counts = ", ".join(f"{len(rows):,} of {name}" for name, rows in too_long.items())
    console.say(f"lengths: dropped rows that would have been truncated: {counts}")
    quiet = Console(quiet=True)
    return (
        encoder,
        {name: encode_texts(split.texts, encoder, quiet, what=name) for name, split in kept.examples.items()},
        kept,
    )


def model_inputs(
    built: BuiltModel,
    encoder: TextEncoder,
    caches: Mapping[str, TokenCache],
    data: SplitData,
    config: FitConfig,
    console: Console,
) -> tuple[keras.Model, dict[str, Encoded]]:
    """Returns the model to train and what it takes: all of it on tokens, or its head on features computed once."""
    gathers = {name: token_gather(cache, encoder) for name, cache in caches.items()}
    model = built.model
    every_step = "rows are augmented" if config.augment else "the data is streamed" if data.streamed else ""
    if config.head_only and every_step:
        console.say(f"the frozen backbone runs in every step, since {every_step}")
    elif config.head_only:
        model, runner = built.head, ForwardRunner(built.features)
        for name, cache in caches.items():
            features = runner.outputs(
                gathers[name],
                cache.lengths,
                batch_size=config.batch_size,
                console=console,
                what=f"backbone features ({name})",
            )
            gathers[name] = array_gather(features)
    cached = model is built.head
    return model, {
        name: Encoded(gathers[name], cache.lengths, data.targets[name], cached) for name, cache in caches.items()
    }
