"""Every Keras optimizer, exact on repeated tokens, with rates by variable and weight decay on matrices only."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from tfft.config import FitConfig
from tfft.core.errors import ConfigError, TrainingError, name_list, unknown_name
from tfft.training.gradient_rules import decays, dense
from tfft.training.native_adam import NativeAdam
from tfft.training.parameter_groups import Groups
from tfft.training.schedule import WarmupDecay

#: Constructor arguments of Keras optimizers that are options of tfft, or that its training step does itself.
_TAKEN = {
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "clipnorm": "clip_norm",
    "global_clipnorm": "clip_norm",
    "clipvalue": "clip_value",
    "use_ema": "ema",
    "ema_momentum": "ema",
    "ema_overwrite_frequency": "ema",
    "loss_scale_factor": "precision",
    "gradient_accumulation_steps": "micro_batch_size",
}
#: Optimizers of Keras that are not offered, and why.
_REFUSED = {
    "schedulefreeadamw": "Keras 3.15's ScheduleFreeAdamW computes its average from a momentum that was already "
    "updated, so that it is not the published algorithm"
}


class ExactUpdates(keras.optimizers.Optimizer):
    """Mixin over a Keras optimizer class.

    A token that occurs twice in a batch gives two rows of a sparse gradient. Keras squares them one by one before
    adding them up, which is not the gradient of the loss: here gradients are made dense first. Weight decay is
    decoupled (Loshchilov and Hutter 2019), and touches matrices only. Each variable may have a multiple of the
    schedule's rate, and a step at which it begins to be trained: until then neither it nor its averages change, and
    Adam's bias correction counts its steps from there.
    """

    def __init__(self, *args: Any, rates: Sequence[Sequence[float]] | None = None, **kwargs: Any) -> None:
        """Creates the optimizer.

        Args:
            *args: Arguments of the Keras optimizer.
            rates: For each variable in the order of `build`, its factor of the learning rate and its first step.
            **kwargs: Arguments of the Keras optimizer.
        """
        super().__init__(*args, **kwargs)
        self._rates = None if rates is None else tuple((float(factor), int(first)) for factor, first in rates)
        self._decayed: tuple[bool, ...] = ()
        self._gradients_reduced = False
        self._delay = 0
        self._rate_factor: Any = None

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the slots.

        Args:
            variables: The trainable variables.

        Raises:
            ConfigError: When `rates` is for another number of variables.
        """
        if self.built:
            return
        if self._rates is not None and len(self._rates) != len(variables):
            raise ConfigError(
                f"The optimizer has rates for {len(self._rates)} variables, but was built for {len(variables)}; "
                "build it for the model it was made for, or make a new one."
            )
        super().build(list(variables))
        self._rate_factor = self.add_variable((), initializer="ones", dtype="float32", name="rate_factor")
        self._decayed = tuple(decays(variable) and self._use_weight_decay(variable) for variable in variables)

    @property
    def learning_rate(self) -> Any:
        """The rate of the schedule at this step, times what a callback has made of it."""
        rate = self._get_current_learning_rate()
        return rate if self._rate_factor is None else rate * self._rate_factor

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        """Scales the rest of the schedule so that the rate is this one now, as `ReduceLROnPlateau` wants it."""
        schedule = self._learning_rate
        now = float(schedule(self._iterations)) if isinstance(schedule, LearningRateSchedule) else 0.0
        if self._rate_factor is None or now <= 0.0:
            keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)
        else:
            self._rate_factor.assign(float(learning_rate) / now)

    @property
    def iterations(self) -> Any:
        """Steps taken; during the update of one variable, those since it began to be trained."""
        steps = super().iterations
        return steps - self._delay if self._delay else steps

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Updates the variables once.

        Args:
            grads: One gradient a variable, dense or sparse.
            trainable_variables: The variables; those of `build` when None.

        Returns:
            What Keras returns.
        """
        return super().apply([dense(gradient) for gradient in grads], trainable_variables)

    @contextlib.contextmanager
    def reduced_gradients(self) -> Iterator[None]:
        """Inside it, `apply` takes gradients that are summed over the replicas already, and does not sum them again."""
        before, self._gradients_reduced = self._gradients_reduced, True
        try:
            yield
        finally:
            self._gradients_reduced = before

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decays and updates one variable, unless it is still frozen.

        Args:
            gradient: Dense gradient.
            variable: The variable, as `tf.distribute` hands it to an update.
            learning_rate: The schedule's rate of this step.
        """
        index = self._get_variable_index(variable)
        factor, first_step = (1.0, 0) if self._rates is None else self._rates[index]
        rate = learning_rate if factor == 1.0 else learning_rate * factor

        def update() -> None:
            decay = self._decay_of(variable, index)
            if decay:
                # Once the gradient is there: TensorFlow copies a variable that is changed while a pass holds its value.
                with tf.control_dependencies([gradient]):
                    variable.assign_sub(variable * tf.cast(rate * decay, variable.dtype))
            # `super()` needs the class by name inside a function that tf.cond traces.
            super(ExactUpdates, self).update_step(gradient, variable, rate)

        if not first_step:
            update()
            return
        trained = tf.convert_to_tensor(self._iterations) >= first_step
        self._delay = first_step
        try:
            tf.cond(trained, update, lambda: None)
        finally:
            self._delay = 0

    def _decay_of(self, variable: Any, index: int) -> float:
        if not self._decayed[index]:
            return 0.0
        by_adam = getattr(self, "adam_velocities", None)  # Muon updates some variables as AdamW, with a decay for it
        decay = self.weight_decay if by_adam is None or by_adam[index] is None else self.adam_weight_decay
        return float(decay or 0.0)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Does nothing: `update_step` decays each variable by its own rate."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        if self._gradients_reduced:
            return list(grads_and_vars)
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rates": None if self._rates is None else [list(rate) for rate in self._rates]}


@keras.saving.register_keras_serializable(package="tfft")
class DynamicLossScale(keras.optimizers.LossScaleOptimizer):
    """Keras' loss scaling for float16 around an optimizer with `ExactUpdates`."""

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Updates the variables once, or halves the scale when a gradient is not finite.

        Args:
            grads: One gradient of the scaled loss a variable, dense or sparse.
            trainable_variables: The variables; those of `build` when None.

        Returns:
            What Keras returns.
        """
        return super().apply([dense(gradient) for gradient in grads], trainable_variables)

    def reduced_gradients(self) -> contextlib.AbstractContextManager[None]:
        """Inside it, `apply` takes gradients that are summed over the replicas already."""
        return self.inner_optimizer.reduced_gradients()  # type: ignore[no-any-return]


def _keras_classes() -> dict[str, type[Any]]:
    wrappers = {"Optimizer", "MultiOptimizer", "LossScaleOptimizer"}
    found = {name: getattr(keras.optimizers, name) for name in dir(keras.optimizers) if name not in wrappers}
    return {
        name.lower(): item
        for name, item in found.items()
        if isinstance(item, type) and issubclass(item, keras.optimizers.Optimizer) and name.lower() not in _REFUSED
    }


def _exact(keras_class: type[Any]) -> type[Any]:
    """Makes the class of a Keras optimizer with exact updates; registered, so that compiled models can be loaded."""
    native = keras_class in (keras.optimizers.Adam, keras.optimizers.AdamW)
    bases = (ExactUpdates, NativeAdam, keras_class) if native else (ExactUpdates, keras_class)
    made = type(f"Exact{keras_class.__name__}", bases, {"__doc__": keras_class.__doc__, "__module__": __name__})
    return keras.saving.register_keras_serializable(package="tfft")(made)  # type: ignore[no-any-return]


_KERAS = _keras_classes()
#: Name, in lower case, to the class with exact updates. All are made here: loading a model looks them up by name.
OPTIMIZERS: dict[str, type[Any]] = {name: _exact(keras_class) for name, keras_class in _KERAS.items()}


def check_optimizer(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Checks the name and the options of an optimizer, without creating anything.

    Args:
        name: Name of a Keras optimizer, in any case.
        options: Arguments of its constructor.

    Raises:
        ConfigError: With one line for each mistake.
    """
    key = _key(name)
    if key in _REFUSED:
        raise ConfigError(f"optimizer={name!r}: {_REFUSED[key]}. Use 'adamw'.")
    if key not in OPTIMIZERS:
        raise ConfigError(unknown_name("optimizer", name, list(OPTIMIZERS), most=20))
    defaults = _defaults(key)
    problems = []
    for option, value in (options or {}).items():
        if option in _TAKEN:
            problems.append(f"optimizer_options: {option!r} is set by the option {_TAKEN[option]} of tfft; use that.")
        elif option not in defaults:
            problems.append(unknown_name(f"option of {key}", option, list(defaults), most=20))
        elif not _fits(value, defaults[option]):
            expected = type(defaults[option]).__name__
            problems.append(f"optimizer_options: {option} of {key} should be {expected}; received {value!r}.")
    if problems:
        raise ConfigError("\n".join(problems))


def build_optimizer(
    config: FitConfig,
    total_steps: int,
    variables: Sequence[Any],
    groups: Groups | None = None,
    precision: str = "float32",
    schedule: keras.optimizers.schedules.LearningRateSchedule | None = None,
) -> Any:
    """Returns the optimizer of a run, built for its variables.

    Gradients are neither clipped nor averaged by it: `GradientRules` and the training step do that.

    Args:
        config: The run's options.
        total_steps: Optimizer steps of the whole run.
        variables: The trainable variables.
        groups: Rates of single variables; None when all follow the schedule.
        precision: Keras dtype policy of the run; "mixed_float16" adds loss scaling.
        schedule: Learning rates in place of those that the options say.

    Returns:
        A `keras.optimizers.Optimizer` with `reduced_gradients()`, whose slots exist already, so that the first step is
        traced once.

    Raises:
        ConfigError: When the optimizer or one of its options is unknown or refused by Keras.
        TrainingError: When a trainable variable is in half precision.
    """
    check_optimizer(config.optimizer, config.optimizer_options)
    _check_dtypes(variables)
    warmup = round(config.warmup_fraction * total_steps)
    rate = schedule or WarmupDecay(config.peak_learning_rate, total_steps, warmup, config.schedule)
    key = _key(config.optimizer)
    defaults = _defaults(key)
    options: dict[str, Any] = dict(config.optimizer_options or {})
    options.update({name: float(value) for name, value in options.items() if isinstance(defaults[name], float)})
    if "adam_weight_decay" in defaults:
        options.setdefault("adam_weight_decay", config.weight_decay)
    rates = None if groups is None or groups.plain else [(rate.factor, rate.first_step) for rate in groups.rates]
    try:
        optimizer = OPTIMIZERS[key](rate, weight_decay=config.weight_decay, rates=rates, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Keras refuses optimizer={config.optimizer!r} with {options}: {error}") from error
    if precision == "mixed_float16":
        optimizer = DynamicLossScale(optimizer)
    optimizer.build(list(variables))
    return optimizer


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _defaults(key: str) -> dict[str, Any]:
    """Returns the constructor arguments that `optimizer_options` may set, with their defaults."""
    parameters = inspect.signature(_KERAS[key]).parameters.values()
    taken = {*_TAKEN, "name"}
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in taken}


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float | int):
        return isinstance(value, int) or (isinstance(value, float) and isinstance(default, float))
    return isinstance(value, type(default))


def _check_dtypes(variables: Sequence[Any]) -> None:
    half = {"float16", "bfloat16"}
    odd = [variable.path for variable in variables if keras.backend.standardize_dtype(variable.dtype) in half]
    if odd:
        raise TrainingError(
            f"{len(odd)} trainable variables are in half precision ({name_list(odd, most=3)}), in which an optimizer's "
            "averages and small updates are lost. Load the preset in float32 and use precision='mixed_bfloat16'."
        )
