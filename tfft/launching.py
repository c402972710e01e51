"""What comes between arguments and a run: TensorFlow is started, devices are chosen, what is wrong is said early."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfft.config import FitConfig
from tfft.config.pretraining import differing, pretrained_directory, pretraining_config
from tfft.console import Console
from tfft.core.collection import uncollected_imports
from tfft.core.errors import ConfigError, name_list
from tfft.core.files import check_target
from tfft.tasks.base import tasks

if TYPE_CHECKING:
    from tfft.augment.base import Augmentation
    from tfft.distribute.plan import ExecutionPlan
    from tfft.finetuned import FineTunedModel
    from tfft.splitting import SplitData
    from tfft.training.learning_rate_finder import LearningRateCurve


class Launch:
    """What a run needs besides its data: checked before the data is read as far as that needs no TensorFlow."""

    def __init__(self, settings: FitConfig, options: Mapping[str, Any], console: Console) -> None:
        """Checks what can be checked without data.

        Args:
            settings: The run's options.
            options: The arguments of the caller, objects among them.
            console: Where progress is shown.
        """
        self._settings = settings
        self._console = console
        self._strategy = options.get("strategy", settings.strategy)
        self._callbacks = list(options.get("callbacks", ()))
        self._metrics = list(options.get("metrics", ()))
        _check_metrics(settings, self._metrics)
        self._plan: ExecutionPlan | None = None
        self._serve_if_asked()
        if not isinstance(self._strategy, str) or self._strategy == "multi_worker" or "TF_CONFIG" in os.environ:
            _ = self.plan  # several machines have to be connected before TensorFlow does anything else
        if settings.optimizer != FitConfig.optimizer or settings.optimizer_options:
            prepare_tensorflow()

            from tfft.training.optimizer import check_optimizer

            check_optimizer(settings.optimizer, settings.optimizer_options)
        self._augmentations = make_augmentations(settings, options)

    def _serve_if_asked(self) -> None:
        """Makes a worker or a parameter server of a cluster serve; such a process reads no data and writes nothing.

        Raises:
            SystemExit: When the chief is gone: that is how this process ends.
        """
        if self._strategy not in ("auto", "parameter_server") or "TF_CONFIG" not in os.environ:
            return
        choose_backend()
        with _importing():
            from tfft.distribute.cluster import read_cluster
            from tfft.distribute.serving import serve, serves

        cluster = read_cluster()
        if cluster is None or not serves(cluster):
            return
        who = f"{cluster.task_type} {cluster.task_index}"
        self._console.say(f"{who} of TF_CONFIG: serving the chief; it trains, and this process writes nothing")
        serve(deterministic=self._settings.jit_compile is not True)
        self._console.say(f"{who}: the chief has ended, so this process ends")
        raise SystemExit(0)

    @property
    def plan(self) -> ExecutionPlan:
        """Where and how the run is computed; decided once."""
        if self._plan is None:
            choose_backend()
            with _importing():
                from tfft.distribute.plan import resolve

            settings = self._settings
            self._plan = resolve(settings.jit_compile, strategy=self._strategy, precision=settings.precision)
        return self._plan

    def fit(self, splits: SplitData) -> FineTunedModel:
        """Trains on data that is split."""
        with uncollected_imports():
            plan = self.plan
            prepare_tensorflow()

        from tfft.distribute.lost_process import lost_process_named
        from tfft.fitting import run_fit
        from tfft.training.train import Extras

        extras = Extras(self._callbacks, self._metrics)
        with lost_process_named(plan), plan.kernels():
            return run_fit(
                self._settings, splits, plan, self._console, augmentations=self._augmentations, extras=extras
            )

    def range_test(self, splits: SplitData, **sweep: Any) -> LearningRateCurve:
        """Tries learning rates on data that is split."""
        with uncollected_imports():
            plan = self.plan
            prepare_tensorflow()

        from tfft.distribute.lost_process import lost_process_named
        from tfft.fitting import run_range_test

        with lost_process_named(plan), plan.kernels():
            return run_range_test(
                self._settings, splits, plan, self._console, augmentations=self._augmentations, **sweep
            )


def _check_metrics(settings: FitConfig, metrics: Sequence[Any]) -> None:
    """Refuses Keras metrics, which compare one output with one target, where there are several heads."""
    heads = [part.name for part in tasks.get(str(settings.task)).head_parts(settings, None) if part.name]
    if metrics and heads:
        raise ConfigError(
            f"metrics= takes Keras metrics of one output, but the model has {len(heads)}: {name_list(heads)}. Leave it "
            f"out: each epoch reports the figures of every head on the validation split."
        )


def is_finished(settings: FitConfig) -> bool:
    """Checks that the run directory can be written; tells whether it is there already and to be resumed."""
    if settings.output_dir is None:
        return False
    target = Path(settings.output_dir)
    if settings.resume and (target / "run.json").is_file():
        return True
    check_target(target, overwrite=settings.overwrite)

    from tfft.training.checkpoint_folder import check_no_leftovers

    check_no_leftovers(settings)
    return False


@contextlib.contextmanager
def first_run(settings: FitConfig) -> Iterator[FitConfig]:
    """Plans the run on `pretrain_on` that comes before another one.

    Args:
        settings: The options of the other run.

    Yields:
        The options of the first run. It goes beside `output_dir`, or where there is none into a temporary folder.

    Raises:
        ConfigError: When several processes would have to do it together.
    """
    if "TF_CONFIG" in os.environ:
        raise ConfigError(
            "pretrain_on is for one process. Run task='masked_language_modeling' first, and name its output_dir as "
            "preset."
        )
    with contextlib.ExitStack() as kept:
        if settings.output_dir is None:
            folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="tfft-"))) / "pretrained"
        else:
            folder = pretrained_directory(settings.output_dir)
        yield pretraining_config(settings, str(folder))


def check_first_run(wanted: FitConfig, found: FitConfig) -> None:
    """Checks that a first run which was there already is the one that is wanted.

    Args:
        wanted: Its options as they should be.
        found: Its options.

    Raises:
        ConfigError: When they differ.
    """
    if other := differing(wanted, found):
        raise ConfigError(
            f"{wanted.output_dir} is of a run that differs in {name_list(other)}. Use the same options, or begin anew "
            "with overwrite=True."
        )


def make_augmentations(settings: FitConfig, options: Mapping[str, Any]) -> Sequence[Augmentation]:
    """Makes the augmentations that were asked for, before any data is read."""
    if not options.get("augment", settings.augment):
        return ()
    prepare_tensorflow()

    from tfft.augment.compose import parse

    return parse(options.get("augment", settings.augment))


def prepare_tensorflow() -> None:
    """Imports TensorFlow and makes Keras run on it.

    Raises:
        ConfigError: When Keras runs on another backend already.
    """
    choose_backend()
    with _importing():
        importlib.import_module("tfft.backbones.keras_hub")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"Keras runs on the {keras.backend.backend()!r} backend; tfft needs TensorFlow. "
            "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
        )


def choose_backend() -> None:
    """Makes Keras run on TensorFlow, unless it is loaded already."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Imports TensorFlow in peace: without garbage collection, and quietly if that was asked for."""
    with uncollected_imports(), _without_early_log():
        yield


@contextlib.contextmanager
def _without_early_log() -> Iterator[None]:
    """Hides what TensorFlow prints before it has read TF_CPP_MIN_LOG_LEVEL, when that asks for silence."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
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
