"""The flow of a fine-tuning run, from raw data to a trained model; each step can be called alone."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.augment.base import Augmentation
from tfft.augment.compose import Augmenter
from tfft.augmenting import say_fired, text_augmenter
from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone, masked_language_model
from tfft.backbones.packaged import DEFAULT_TEXT_PRESET
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, TrainingError
from tfft.data.pipeline import Gather, TrainingGather, array_gather, augmented_gather, token_gather
from tfft.data.splits import TRAIN, VALIDATION
from tfft.data.token_cache import TokenCache, encode_texts
from tfft.distribute.plan import ExecutionPlan
from tfft.evaluation.report import Report
from tfft.finetuned import FineTunedModel, RunRecord, load_run
from tfft.inference import ForwardRunner
from tfft.layers.text_encoder import TextEncoder
from tfft.metrics.base import Metrics
from tfft.runs.run_directory import versions
from tfft.splitting import SplitData, without_rows
from tfft.tasks.base import tasks
from tfft.training.build import BuiltModel, build_model, check_trainable
from tfft.training.feeding import TrainingData, epoch_order, say_sharing, sharing_of
from tfft.training.loop import Diverged
from tfft.training.parameter_groups import Groups, parameter_groups
from tfft.training.resuming import open_checkpoints
from tfft.training.run_state import Position
from tfft.training.train import Extras, train

#: Test rows kept in the run directory, to verify exports with.
HELD_OUT_ROWS = 32
#: The TF-IDF baseline is trained on at most so many rows, which it holds in memory.
MOST_BASELINE_ROWS = 200_000


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


def run_fit(
    config: FitConfig,
    data: SplitData,
    plan: ExecutionPlan,
    console: Console,
    *,
    augmentations: Sequence[Augmentation] = (),
    extras: Extras | None = None,
) -> FineTunedModel:
    """Fine-tunes a model on data that is read, checked and split.

    Args:
        config: The run's options.
        data: The splits.
        plan: Where and how the training step runs.
        console: Where progress and decisions are said.
        augmentations: Augmentations of training rows, in order.
        extras: Callbacks and metrics of the caller.

    Returns:
        The trained model, evaluated before and after, not saved yet.

    Raises:
        TfftError: When an option, the data or the preset cannot be used.
    """
    started = time.monotonic()
    for line in plan.lines():
        console.say(line)
    # Initialisation draws from these; data order, dropout and augmentations have seeds of their own.
    keras.utils.set_random_seed(config.seed)
    plan.apply()
    if config.preset is None:
        console.say(f"preset: {DEFAULT_TEXT_PRESET} (none was named)")
    with plan.scope():
        backbone = load_text_backbone(config.preset, plan.precision)
    if backbone.fast_tokenizer.reason is not None:
        console.say(f"tokenizing with KerasHub's own layer: {backbone.fast_tokenizer.reason}")
    encoder, caches, data = tokenize(config, backbone, data, console)
    augmenter = text_augmenter(
        augmentations,
        config,
        backbone,
        encoder,
        data.examples[TRAIN],
        console,
        load_translator=lambda path: _translator(path, console),
        masked_lm=masked_language_model(config.preset),
    )
    with plan.scope(), plan.policy():
        built = _build(config, backbone, data, console)
    model, splits = _model_inputs(built, encoder, caches, data, config, console)
    training = _training_data(splits[TRAIN], caches[TRAIN], encoder, augmenter, data, config, plan, console)
    groups = _groups(built, backbone, model, training, config, console)

    judged = data.report_split
    figures = SplitFigures(model, splits, data, config, console)
    before = figures(judged, f"evaluating before ({judged})")
    with open_checkpoints(config, _identity(data, plan), plan, console) as checkpoints:
        result = train(
            model,
            training,
            loss=tasks.get(str(config.task)).loss(config),
            validate=(lambda: figures(VALIDATION, "validating")) if VALIDATION in splits else None,
            config=config,
            plan=plan,
            console=console,
            groups=groups,
            checkpoints=checkpoints,
            diverged=_diverged(data, config),
            extras=extras or Extras(),
        )
    after = figures(judged, f"evaluating after ({judged})")
    details = {
        "preset": backbone.preset,
        "device": plan.device,
        "strategy": plan.strategy_name,
        "replicas": plan.num_replicas,
        "precision": plan.precision,
        "jit_compile": plan.jit_compile,
        "widths": list(training.order.widths),
        "steps": result.steps,
        "augmented": {} if augmenter is None else say_fired(augmenter, console),
        "seconds": round(time.monotonic() - started, 1),
    }
    held_out = _spread(data.examples[judged].texts, HELD_OUT_ROWS)
    return FineTunedModel(
        config=config,
        labels=data.labels,
        backbone=backbone,
        built=built,
        encoder=encoder,
        record=RunRecord(result.history, result.best_epoch, data.record, held_out, details),
        report=Report(data.report_title, len(data.targets[judged]), _baselines(config, data, console), before, after),
        console=console,
    )


def _groups(
    built: BuiltModel,
    backbone: TextBackbone,
    model: keras.Model,
    training: TrainingData,
    config: FitConfig,
    console: Console,
) -> Groups | None:
    """Gives each variable its learning rate, and says the groups when there are several."""
    top = len(backbone.blocks) + 1

    def depth(variable: Any) -> int:
        found = backbone.depth(variable)
        return top if found is None else found

    groups = parameter_groups(
        model.trainable_variables, depth, len(backbone.blocks), config, training.order.steps_per_epoch
    )
    if groups.plain:
        return None
    for row in groups.table():
        console.say(str(row))
    return groups


def _identity(data: SplitData, plan: ExecutionPlan) -> dict[str, Any]:
    """Returns what decides the result of a run besides its options, as JSON gives it back."""
    deciding = {"data": data.record, "replicas": plan.num_replicas, "plan": plan.jit_compile, "versions": versions()}
    plain: dict[str, Any] = json.loads(json.dumps(deciding))
    return plain


def _diverged(data: SplitData, config: FitConfig) -> Diverged:
    """Returns what makes the error of a step that went astray."""

    def error(position: Position, rows: np.ndarray, batch: Any, loss: float, norm: float) -> Exception:
        what = f"The training loss became {loss}" if not math.isfinite(loss) else f"The gradient's norm became {norm}"
        return TrainingError(
            f"{what} at step {position.step + 1}. Lower learning_rate, raise warmup_fraction or set "
            "a smaller clip_norm."
        )

    return error


def _translator(path: str, console: Console) -> Callable[[list[str]], list[str]]:
    """Loads a run whose predictions are texts."""
    model = load_run(Path(path), console)

    def translate(texts: list[str]) -> list[str]:
        predictions = model.predict(texts)
        if not all(isinstance(prediction, str) for prediction in predictions):
            raise ConfigError(f"{path} is a run of {model.config.task}, which gives no texts; name a translation run.")
        return predictions

    return translate


def _build(config: FitConfig, backbone: TextBackbone, data: SplitData, console: Console) -> BuiltModel:
    built = build_model(backbone, tasks.get(str(config.task)).head, config, len(data.labels))
    trained = check_trainable(built, config)
    total = sum(int(variable.value.shape.num_elements()) for variable in built.model.variables)
    console.say(
        f"training {trained:,} of {total:,} parameters (freeze={config.freeze}), "
        f"peak learning rate {config.peak_learning_rate:g}"
    )
    return built


def _training_data(
    split: Encoded,
    cache: TokenCache,
    encoder: TextEncoder,
    augmenter: Augmenter | None,
    data: SplitData,
    config: FitConfig,
    plan: ExecutionPlan,
    console: Console,
) -> TrainingData:
    order = epoch_order(split.lengths, split.targets, config, plan, console, cached=split.cached)
    sharing = sharing_of(config, plan)
    say_sharing(sharing, config, console)

    def as_they_are(rows: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> Any:
        del seed
        return split.gather(rows, width)

    gather: TrainingGather = as_they_are
    if augmenter is not None:
        gather = augmented_gather(data.examples[TRAIN].texts, cache, encoder, augmenter, order.widths)
    return TrainingData(gather, split.targets, data.weights, order, sharing)


def _baselines(config: FitConfig, data: SplitData, console: Console) -> Mapping[str, Metrics]:
    if not config.baselines:
        return {}
    examples, targets = data.examples[TRAIN], data.targets[TRAIN]
    rows = np.arange(len(examples))
    if len(rows) > MOST_BASELINE_ROWS:
        rows = np.sort(np.random.default_rng(config.seed).choice(len(rows), MOST_BASELINE_ROWS, replace=False))
        console.say(f"training the baselines on {len(rows):,} of {len(examples):,} rows, chosen by the seed")
    else:
        console.say("training the baselines")
    judged = (data.examples[data.report_split], data.targets[data.report_split])
    return tasks.get(str(config.task)).baselines((examples.take(rows), targets[rows]), judged, data.labels)


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """Takes texts evenly, so that data sorted by label gives texts of every label."""
    places = np.linspace(0, len(texts) - 1, min(count, len(texts))).round().astype(int)
    return [texts[place] for place in places]


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


def _model_inputs(
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
    if config.freeze == "backbone" and every_step:
        console.say(f"the frozen backbone runs in every step, since {every_step}")
    elif config.freeze == "backbone":
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
