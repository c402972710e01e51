"""The flow of a fine-tuning run, from raw data to a trained model; each step can be called alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.backbones.packaged import DEFAULT_TEXT_PRESET
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, TrainingError
from tfft.data.bucketing import choose_widths, padded_tokens
from tfft.data.pipeline import Gather, array_gather, token_gather
from tfft.data.splits import TRAIN, VALIDATION
from tfft.data.token_cache import TokenCache, encode_texts
from tfft.distribute.plan import ExecutionPlan
from tfft.evaluation.report import Report
from tfft.finetuned import FineTunedModel, RunRecord
from tfft.inference import ForwardRunner
from tfft.layers.text_encoder import TextEncoder
from tfft.metrics.base import Metrics
from tfft.splitting import SplitData
from tfft.tasks.base import tasks
from tfft.training.build import BuiltModel, build_model, check_trainable
from tfft.training.loop import TrainingData, train

#: Test rows kept in the run directory, to verify exports with.
HELD_OUT_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One split as the model takes it.

    Attributes:
        gather: Makes the inputs from row positions.
        lengths: Length of each row in tokens, int64 of shape `(rows,)`.
        targets: One target a row.
    """

    gather: Gather
    lengths: np.ndarray
    targets: np.ndarray


def run_fit(config: FitConfig, data: SplitData, plan: ExecutionPlan, console: Console) -> FineTunedModel:
    """Fine-tunes a model on data that is read, checked and split.

    Args:
        config: The run's options.
        data: The splits.
        plan: Where and how the training step runs.
        console: Where progress and decisions are said.

    Returns:
        The trained model, evaluated before and after, not saved yet.

    Raises:
        TfftError: When an option, the data or the preset cannot be used.
    """
    started = time.monotonic()
    # Initialisation and dropout draw from these; data order has generators of its own.
    keras.utils.set_random_seed(config.seed)
    plan.apply()
    task = tasks.get(str(config.task))
    for line in plan.lines():
        console.say(line)
    if config.preset is None:
        console.say(f"preset: {DEFAULT_TEXT_PRESET} (none was named)")
    backbone = load_text_backbone(config.preset)
    encoder, caches = tokenize(config, backbone, data, console)
    built = build_model(backbone, task.head, config, len(data.labels))
    trained = check_trainable(built, config)
    total = sum(int(variable.value.shape.num_elements()) for variable in built.model.variables)
    console.say(
        f"training {trained:,} of {total:,} parameters (freeze={config.freeze}), "
        f"peak learning rate {config.peak_learning_rate:g}"
    )
    model, splits = (
        _frozen_features(built=built, encoder=encoder, caches=caches, data=data, config=config, console=console)
        if config.freeze == "backbone"
        else (built.model, {name: _encoded(cache, encoder, data.targets[name]) for name, cache in caches.items()})
    )
    widths = choose_widths(caches[TRAIN].lengths, config.num_buckets)
    real, padded = int(caches[TRAIN].lengths.sum()), padded_tokens(caches[TRAIN].lengths, widths)
    console.say(f"batch widths: {', '.join(map(str, widths))} tokens, of which {1 - real / padded:.1%} are padding")
    runner = ForwardRunner(model)

    def figures(name: str, what: str) -> Metrics:
        split = splits[name]
        outputs = runner.outputs(split.gather, split.lengths, batch_size=config.batch_size, console=console, what=what)
        if not np.isfinite(outputs).all():
            raise TrainingError(
                f"The model's outputs on the {name} split are not finite: training has diverged. Lower learning_rate "
                "or raise warmup_fraction. Nothing has been written."
            )
        return task.metrics(outputs, split.targets, data.labels)

    judged = data.report_split
    before = figures(judged, f"evaluating before ({judged})")
    training = splits[TRAIN]
    result = train(
        model,
        TrainingData(
            training.gather,
            training.targets,
            data.weights,
            training.lengths,
            widths,
        ),
        loss=task.loss(config),
        validate=(lambda: figures(VALIDATION, "validating")) if VALIDATION in splits else None,
        config=config,
        plan=plan,
        console=console,
    )
    after = figures(judged, f"evaluating after ({judged})")
    baselines: Mapping[str, Metrics] = {}
    if config.baselines:
        console.say("baselines: majority class, TF-IDF + logistic regression")
        pairs = [(data.examples[name], data.targets[name]) for name in (TRAIN, judged)]
        baselines = task.baselines(pairs[0], pairs[1], data.labels)
    record = RunRecord(
        history=result.history,
        best_epoch=result.best_epoch,
        data=data.record,
        held_out=_spread(data.examples[judged].texts, HELD_OUT_ROWS),
        plan={
            "preset": backbone.preset,
            "device": plan.device,
            "jit_compile": plan.jit_compile,
            "widths": list(widths),
            "steps": result.steps,
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    return FineTunedModel(
        config=config,
        labels=data.labels,
        backbone=backbone,
        built=built,
        encoder=encoder,
        record=record,
        report=Report(data.report_title, len(data.targets[judged]), baselines, before, after),
        console=console,
    )


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """Takes texts evenly, so that data sorted by label gives texts of every label."""
    places = np.linspace(0, len(texts) - 1, min(count, len(texts))).round().astype(int)
    return [texts[place] for place in places]


def tokenize(
    config: FitConfig, backbone: TextBackbone, data: SplitData, console: Console
) -> tuple[TextEncoder, dict[str, TokenCache]]:
    """Tokenizes every split once.

    Args:
        config: The run's options.
        backbone: Its tokenizer is used.
        data: The splits.
        console: Where progress and truncation are said.

    Returns:
        The encoder, and the token ids of each split.

    Raises:
        ConfigError: When sequence_length is more than the backbone takes.
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
    return encoder, caches


def _encoded(cache: TokenCache, encoder: TextEncoder, targets: np.ndarray) -> Encoded:
    return Encoded(token_gather(cache, encoder), cache.lengths, targets)


def _frozen_features(
    *,
    built: BuiltModel,
    encoder: TextEncoder,
    caches: dict[str, TokenCache],
    data: SplitData,
    config: FitConfig,
    console: Console,
) -> tuple[keras.Model, dict[str, Encoded]]:
    """Runs the frozen backbone once over every split; what is left to train is the head."""
    runner = ForwardRunner(built.features)
    splits = {}
    for name, cache in caches.items():
        features = runner.outputs(
            token_gather(cache, encoder),
            cache.lengths,
            batch_size=config.batch_size,
            console=console,
            what=f"backbone features ({name})",
        )
        splits[name] = Encoded(array_gather(features), cache.lengths, data.targets[name])
    return built.head, splits
