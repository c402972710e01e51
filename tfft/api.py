"""The public functions: they fold their arguments into a config and hand over."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfft.arguments import settings_of, with_a_task
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError
from tfft.launching import Launch, check_first_run, first_run, is_finished, prepare_tensorflow

if TYPE_CHECKING:
    from tfft.adapted_model import AdaptedModel
    from tfft.evaluation.cross_validation import CrossValidation
    from tfft.finetuned import FineTunedModel
    from tfft.inspection import Inspection
    from tfft.peft.report import PeftReport
    from tfft.planning import RunPlan
    from tfft.training.learning_rate_finder import LearningRateCurve


def fit(data: Any = None, *, config: FitConfig | None = None, quiet: bool = False, **options: Any) -> FineTunedModel:
    """Fine-tunes a pretrained model on your data.

    Data is a path (.csv, .tsv, .jsonl, .parquet, .tfrecord, ...), a pattern, a list of paths, a folder, a DataFrame, a
    dict of columns, a list of dicts or of (text, label) pairs, a `tf.data.Dataset`, a Hugging Face dataset,
    "tfds:name/config:split", or a callable that gives any of these. `validation_data`, `test_data`, `synthetic_data`
    and `pretrain_on` take the same.

    Args:
        data: The training data.
        config: All options as an object; `options` replace single fields of it.
        quiet: Say nothing and show no progress.
        **options: The fields of `tfft.FitConfig`: `task` (required), `preset`, `text_column`, `epochs`, ... Besides,
            `callbacks` and `metrics`: lists of Keras callbacks, and of Keras metrics of the training rows. `strategy`
            may be a `tf.distribute.Strategy`.

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
    corpus = options.get("pretrain_on", None if config is None else config.pretrain_on)
    settings, sources = settings_of(data, config, options)
    console = Console(quiet=quiet)
    if is_finished(settings):
        console.say(f"resume: {settings.output_dir} is finished; loading it")
        return load(str(settings.output_dir), quiet=quiet)

    from tfft.splitting import split_data

    if corpus is None:
        run = Launch(settings, options, console)
        model = run.fit(split_data(settings, sources, console))
    else:
        with first_run(settings) as first:
            settings = dataclasses.replace(settings, preset=first.output_dir)
            run = Launch(settings, options, console)
            splits = split_data(settings, sources, console)  # what is wrong with it is said before the first run
            console.say(f"pretrain_on: a first run on {settings.pretrain_on}, into {first.output_dir}")
            strategy = options.get("strategy", first.strategy)
            check_first_run(first, fit(corpus, config=first, quiet=quiet, strategy=strategy).config)
            model = run.fit(splits)
    if settings.output_dir is not None and run.plan.is_chief:
        from tfft.training.resuming import discard_checkpoints

        # With resume, an unfinished directory of the same name cannot be in the way: it appears whole at the end.
        model.save(settings.output_dir, overwrite=settings.overwrite)
        discard_checkpoints(settings, console)
    return model


def cross_validate(
    data: Any = None, *, folds: int = 5, config: FitConfig | None = None, quiet: bool = False, **options: Any
) -> CrossValidation:
    """Trains and tests on small data `folds` times; each row is in the test split once.

    Args:
        data: Anything that `tfft.fit` takes.
        folds: Number of folds, at least 2.
        config: All options as an object; `options` replace single fields of it.
        quiet: Say nothing and show no progress.
        **options: The fields of `tfft.FitConfig`. Folds are stratified by label; `group_column` keeps groups together.

    Returns:
        The report of each fold, and mean and standard deviation of the figures.

    Raises:
        ConfigError: When an option does not go with cross-validation.
        DataError: When the data cannot be used, or a label has fewer rows than there are folds.

    Example:
        >>> print(tfft.cross_validate("reviews.csv", folds=5, task="text_classification"))
    """
    settings, sources = settings_of(data, config, options)
    unused = [
        name
        for name in ("output_dir", "test_data", "synthetic_data", "pretrain_on")
        if getattr(settings, name) is not None
    ]
    if unused or settings.split_method not in ("stratified", "grouped"):
        what = ", ".join(unused) or f"split={settings.split_method!r}"
        raise ConfigError(f"Cross-validation makes splits of its own and keeps no model; it does not take {what}.")
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:  # noqa: PLR2004
        raise ConfigError(f"folds should be an integer of at least 2; received {folds!r}.")
    console = Console(quiet=quiet)
    run = Launch(settings, options, console)

    from tfft.splitting import fold_data

    parts = list(fold_data(settings, sources, folds, console))
    reports = []
    for number, part in enumerate(parts, 1):
        console.say(f"fold {number} of {folds}")
        reports.append(run.fit(part).report)

    from tfft.evaluation.cross_validation import CrossValidation

    return CrossValidation(reports)


def find_learning_rate(
    data: Any = None,
    *,
    lowest: float = 1e-7,
    highest: float = 1.0,
    steps: int = 100,
    plot: str | os.PathLike[str] | None = None,
    config: FitConfig | None = None,
    quiet: bool = False,
    **options: Any,
) -> LearningRateCurve:
    """Suggests a learning rate: trains a few steps at rising rates, until the loss diverges (Smith 2017).

    Args:
        data: Anything that `tfft.fit` takes.
        lowest: First learning rate.
        highest: Last learning rate.
        steps: Steps from one to the other.
        plot: PNG file to draw the curve into.
        config: All options as an object; `options` replace single fields of it.
        quiet: Say nothing and show no progress.
        **options: The fields of `tfft.FitConfig`, as for `fit`.

    Returns:
        The curve with its suggestions; `str()` of it is for people.

    Raises:
        ConfigError: When an option is wrong.
        DataError: When the data cannot be used.

    Example:
        >>> print(tfft.find_learning_rate("reviews.csv", task="text_classification", plot="rates.png"))
    """
    settings, sources = settings_of(data, config, options)
    if settings.pretrain_on is not None:
        raise ConfigError("pretrain_on is for fit; run it first, and name its directory as preset here.")
    console = Console(quiet=quiet)
    run = Launch(settings, options, console)

    from tfft.splitting import split_data

    splits = split_data(settings, sources, console)
    curve = run.range_test(splits, lowest=lowest, highest=highest, steps=steps)
    if plot is not None:
        curve.plot(Path(plot))
    return curve


def plan(
    data: Any = None, *, memory: bool = False, config: FitConfig | None = None, quiet: bool = False, **options: Any
) -> RunPlan:
    """Says on which devices, in which precision and how compiled a run would be, without training.

    Args:
        data: Anything that `tfft.fit` takes; it decides how wide rows are. None: as wide as the options allow.
        memory: Whether to load the backbone and estimate the memory of a step, with advice when it does not fit.
        config: All options as an object; `options` replace single fields of it.
        quiet: Say nothing and show no progress.
        **options: The fields of `tfft.FitConfig` as for `fit`; `task` may be left out.

    Returns:
        The plan; `str()` of it is for people.

    Raises:
        ConfigError: When an option is wrong, or a strategy cannot be had here.
        DataError: When the data cannot be read.

    Example:
        >>> print(tfft.plan("reviews.csv", memory=True, batch_size=64))
    """
    given = with_a_task(options, config)
    without = data is None and "data" not in options and (config is None or config.data is None)
    settings, sources = settings_of("-" if without else data, config, given)
    console = Console(quiet=quiet)
    run = Launch(settings, options, console)
    execution = run.plan
    prepare_tensorflow()

    from tfft.planning import plan_run

    return plan_run(settings, None if without else sources, execution, console, memory=memory)


def peft_report(
    run: str | os.PathLike[str] | None = None, *, config: FitConfig | None = None, quiet: bool = False, **options: Any
) -> PeftReport:
    """Says what a parameter-efficient method trains and what that costs, without training.

    Args:
        run: The run directory of an earlier `tfft.fit`; None for what `options` say.
        config: All options as an object; `options` replace single fields of it.
        quiet: Say nothing and show no progress.
        **options: The fields of `tfft.FitConfig` as for `fit`: `preset`, `peft` or `train_layers`.

    Returns:
        Trained weights and their share, memory of gradients and optimizer, size of the adapter's file, layer by layer.

    Raises:
        ConfigError: When no method is named, or it finds nothing to act on.
        ArtifactError: When the run directory was altered.

    Example:
        >>> print(tfft.peft_report(peft="lora"))
    """
    if run is not None:
        if given := sorted([*options, *([] if config is None else ["config"])]):
            raise ConfigError(f"A run directory says by itself what it is; leave {given[0]} out.")
        return load(run, quiet=quiet).peft_report()
    settings, _ = settings_of("-", config, with_a_task(options, config))
    if settings.peft_method is None or settings.head_only:
        raise ConfigError("No method is named; pass for instance peft='lora' or train_layers='last:2'.")
    prepare_tensorflow()

    from tfft.planning import report_peft

    return report_peft(settings)


def inspect(
    data: Any = None, *, quality: bool | Mapping[str, str] = False, rows: int = 5, quiet: bool = False, **options: Any
) -> Inspection:
    """Shows what is in the data and what a run would use.

    Args:
        data: Anything that `tfft.fit` takes.
        quality: Whether to check the quality too, split as `fit` would split it; findings are reported whatever the
            default policies. A mapping sets policies, as for `fit`.
        rows: First rows to show.
        quiet: Show no progress.
        **options: The fields of `tfft.FitConfig` as for `fit`; `task` may be left out. With `preset`, lengths are
            checked in tokens.

    Returns:
        Schema, rows, labels, lengths and first rows, and with `quality` the findings.

    Raises:
        ConfigError: When an option is wrong.
        DataError: When the data cannot be read.

    Example:
        >>> print(tfft.inspect("reviews.csv", quality=True))
    """
    given = with_a_task(options)
    if isinstance(quality, Mapping):
        given["quality"] = dict(quality)
    settings, sources = settings_of(data, None, given)
    console = Console(quiet=quiet)

    from tfft.inspection import check_source, inspect_source

    found = inspect_source(sources.train, settings, console, rows=rows)
    if quality is False or (found.notes and not quality):
        return found
    if settings.preset is not None:
        prepare_tensorflow()
    return dataclasses.replace(found, quality=check_source(settings, sources, console))


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
    prepare_tensorflow()

    from tfft.loading import load_run

    return load_run(Path(directory), Console(quiet=quiet))


def load_adapter(
    directory: str | os.PathLike[str], *, preset: str | None = None, quiet: bool = False
) -> FineTunedModel:
    """Loads an adapter with its head onto the backbone it was trained on; nothing in its files is executed.

    Args:
        directory: What `FineTunedModel.save_adapter` wrote.
        preset: The backbone, for instance where it lies now; None for the one named when the adapter was trained.
        quiet: Say nothing and show no progress.

    Returns:
        The model, which predicts exactly as the one that was saved.

    Raises:
        ArtifactError: When a file is missing, truncated or altered, or the backbone is another one.

    Example:
        >>> model.save_adapter("adapters/reviews")
        >>> tfft.load_adapter("adapters/reviews").predict(["what a film"])[0].label
        'positive'
    """
    prepare_tensorflow()

    from tfft.loading import load_adapter_run

    return load_adapter_run(Path(directory), preset, Console(quiet=quiet))


def load_adapters(
    adapters: Mapping[str, str | os.PathLike[str]], *, preset: str | None = None, quiet: bool = False
) -> AdaptedModel:
    """Loads several adapters with their heads onto one backbone, which is in memory once.

    Args:
        adapters: Name to the directory that `FineTunedModel.save_adapter` wrote.
        preset: The backbone, for instance where it lies now; None for the one that the first was trained on.
        quiet: Say nothing and show no progress.

    Returns:
        The model, in which each row names its adapter, and to which more can be added.

    Raises:
        ArtifactError: When a file is missing, truncated or altered, or the adapters belong to different backbones.
        ConfigError: When there are none, or a method cannot share its backbone with others.

    Example:
        >>> model = tfft.load_adapters({"reviews": "adapters/reviews", "news": "adapters/news"})
        >>> model.predict(["what a film", "rain tomorrow"], adapter=["reviews", "news"])
    """
    prepare_tensorflow()

    from tfft.adapted_model import load_adapted

    return load_adapted(adapters, preset, Console(quiet=quiet))


def _with_options(function: Any) -> None:
    """Shows every field of `FitConfig` in the signature, for help() and notebooks."""
    shown = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in dataclasses.fields(FitConfig)
        if field.name not in ("data", *signature(function).parameters)
    ]
    own = [item for item in signature(function).parameters.values() if item.kind is not Parameter.VAR_KEYWORD]
    function.__signature__ = signature(function).replace(parameters=[*own, *shown])


for _function in (fit, cross_validate, find_learning_rate, plan, peft_report, inspect):
    _with_options(_function)
