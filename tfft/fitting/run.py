"""A fine-tuning run: prepare, evaluate, train, evaluate again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.augment.base import Augmentation
from tfft.augmenting import say_fired
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.learned import Learned
from tfft.data.splits import TRAIN, VALIDATION
from tfft.distribute.memory import out_of_memory_error, workload_of
from tfft.distribute.plan import ExecutionPlan
from tfft.evaluation.report import Report
from tfft.finetuned import FineTunedModel
from tfft.fitting.encoded import SplitFigures
from tfft.fitting.prepared import Prepared, diverged_step, prepare
from tfft.layers.recompute import recompute
from tfft.metrics.base import Metrics
from tfft.runs.run_directory import versions
from tfft.runs.run_record import RunRecord
from tfft.splitting import SplitData
from tfft.tasks.base import tasks
from tfft.training.loggers.base import LoggedRun, RunLogger, make_loggers
from tfft.training.loop import TrainingResult
from tfft.training.resuming import open_checkpoints
from tfft.training.train import Extras, train

#: Test rows kept in the run directory, to verify exports with.
HELD_OUT_ROWS = 32
#: The TF-IDF baseline is trained on at most so many rows, which it holds in memory.
MOST_BASELINE_ROWS = 200_000


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
    loggers = _loggers(config, plan, console)
    run = prepare(config, data, plan, console, augmentations)
    data = run.data
    judged = data.report_split
    figures = SplitFigures(run.judged, run.splits, data, config, console, run.generator(config))
    before = figures(judged, f"evaluating before ({judged})")
    with run.computing(config, plan):
        result = _train(run, figures, config, plan, console, extras or Extras(), loggers)
    figures.learned = _tuned(run, figures, config, console)
    after = figures(judged, f"evaluating after ({judged})")
    details = {
        "preset": run.backbone.preset,
        "device": plan.device,
        "strategy": plan.strategy_name,
        "replicas": plan.num_replicas,
        "precision": plan.precision,
        "jit_compile": plan.jit_compile,
        "batching": run.training.order.batching,
        "widths": [width for _, width in run.training.order.shapes],
        "steps": result.steps,
        "augmented": {} if run.augmenter is None else say_fired(run.augmenter, console),
        "seconds": round(time.monotonic() - started, 1),
    }
    task = tasks.get(str(config.task))
    held_out = task.inputs(data.examples[judged].take(_spread(len(data.examples[judged]), HELD_OUT_ROWS)))
    return FineTunedModel(
        config=config,
        learned=figures.learned,
        backbone=run.backbone,
        built=run.built,
        encoding=run.encoding,
        record=RunRecord(result.history, result.best_epoch, data.record, held_out, details),
        report=Report(data.report_title, len(data.targets[judged]), _baselines(config, data, console), before, after),
        console=console,
    )


def _train(
    run: Prepared,
    figures: SplitFigures,
    config: FitConfig,
    plan: ExecutionPlan,
    console: Console,
    extras: Extras,
    loggers: Sequence[RunLogger],
) -> TrainingResult:
    generates = tasks.get(str(config.task)).generates(config)
    try:
        with open_checkpoints(config, _identity(run.data, plan), plan, console) as checkpoints:
            return train(
                run.trained,
                run.training,
                loss=tasks.get(str(config.task)).loss(config, run.data.learned),
                validate=(lambda: figures(VALIDATION, "validating", generate=generates))
                if VALIDATION in run.splits
                else None,
                config=config,
                plan=plan,
                console=console,
                groups=run.groups,
                checkpoints=checkpoints,
                diverged=diverged_step(run.data, run.splits[TRAIN], config, run.trained),
                extras=Extras([*loggers, *extras.callbacks], extras.metrics),
                adapter=run.built.adapter,
            )
    except tf.errors.ResourceExhaustedError as error:
        widest = max(width for _, width in run.training.order.shapes)
        step = int(run.trained.optimizer.iterations) + 1
        recomputing = None if config.gradient_checkpointing else (lambda: recompute(run.backbone.blocks))
        raise out_of_memory_error(
            run.judged, workload_of(config, plan, widest), step=step, recomputing=recomputing
        ) from error
    finally:
        for logger in loggers:
            logger.abandon()


def _tuned(run: Prepared, figures: SplitFigures, config: FitConfig, console: Console) -> Learned:
    task, learned = tasks.get(str(config.task)), run.data.learned
    if not task.tunes(config):
        return learned  # the outputs would be computed in vain
    if VALIDATION not in run.splits:
        return task.tuned(None, None, learned, console)
    outputs = figures.outputs(VALIDATION, "tuning (validation)")
    return task.tuned(outputs, run.splits[VALIDATION].targets, learned, console)


def _loggers(config: FitConfig, plan: ExecutionPlan, console: Console) -> list[RunLogger]:
    if not config.log_to or config.output_dir is None or not plan.is_chief:
        return []
    target = Path(config.output_dir)
    folder = target.with_name(f"{target.name}.logs")
    console.say(f"logging to {folder}: {', '.join(config.log_to)}")
    return make_loggers(config.log_to, LoggedRun(folder, target.name, config.to_dict(), console))


def _identity(data: SplitData, plan: ExecutionPlan) -> dict[str, Any]:
    """Returns what decides the result of a run besides its options, as JSON gives it back."""
    deciding = {
        "data": data.record,
        "replicas": plan.num_replicas,
        "precision": plan.precision,
        "jit_compile": plan.jit_compile,
        "versions": versions(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(deciding))
    return plain


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
    return tasks.get(str(config.task)).baselines((examples.take(rows), targets[rows]), judged, data.learned, config)


def _spread(rows: int, count: int) -> np.ndarray:
    """Takes positions evenly, so that data sorted by label gives rows of every label."""
    places: np.ndarray = np.linspace(0, rows - 1, min(count, rows)).round().astype(int)
    return places
