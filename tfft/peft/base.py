"""The contract of a method: a frozen dataclass of options, and what it adds to a base model."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import keras
import numpy as np

from tfft.core.collection import young_collections
from tfft.core.errors import ConfigError
from tfft.core.registry import Registry
from tfft.peft._surgery import SideLayer


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """Options of a method; each method has a subclass, whose fields are plain data."""

    #: Name of the method, as in `peft="lora"`.
    method: ClassVar[str]
    #: Its paper.
    paper: ClassVar[str]

    @property
    def tokens_taken(self) -> int:
        """Number of tokens of the base's longest row that the method needs for itself."""
        return 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the method's name and its options as plain data, as JSON has it."""
        options = dataclasses.asdict(self)
        lists = {name: list(value) for name, value in options.items() if isinstance(value, tuple)}
        return {"method": self.method, **options, **lists}


C = TypeVar("C", bound=PeftConfig)


@dataclasses.dataclass(frozen=True)
class Base:
    """A pretrained model as methods see it.

    Attributes:
        model: The backbone, from features to token features, feature maps or vectors; its layers are changed in place.
        blocks: Its repeated blocks in order, from the input up, for instance transformer layers; may be empty.
        hidden_dim: Size of a token vector; None where there are no tokens.
    """

    model: keras.Model
    blocks: tuple[Any, ...] = ()
    hidden_dim: int | None = None


class Adapter(abc.ABC):
    """What one method added to one base model: its variables, and how to switch, save, merge and remove them.

    The weights of the base are never changed, other than by `merge`.

    Attributes:
        config: The options.
        base: What it was added to.
        enabled: Whether the base computes with it; takes effect in graphs traced afterwards.
    """

    #: Whether the method is the identity as long as it is untrained.
    starts_as_identity: ClassVar[bool] = True
    #: Whether `merge` can fold it into the base's weights.
    mergeable: ClassVar[bool] = True
    #: Whether several adapters of the kind can share a base, each row with its own (`tfft.peft.adapter_set`).
    shares_base: ClassVar[bool] = True
    #: Whether the base must be called as a whole, since the method changes what goes in.
    whole_model: ClassVar[bool] = False
    #: Whether its variables are the base's own weights.
    trains_base: ClassVar[bool] = False

    def __init__(self, base: Base, config: PeftConfig) -> None:
        """Keeps base and options."""
        self.base = base
        self.config = config
        self.enabled = True

    @property
    @abc.abstractmethod
    def variables(self) -> dict[str, keras.Variable]:
        """Its variables by name: the same names for the same base and options, in any process."""

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Those of its variables that are trained."""
        return [variable for variable in self.variables.values() if variable.trainable]

    @property
    @abc.abstractmethod
    def targets(self) -> Sequence[str]:
        """Paths of the base's layers that it acts on."""

    @property
    def tokens_taken(self) -> int:
        """Tokens of a row that the method takes for itself: a text may be that much shorter."""
        return self.config.tokens_taken

    @abc.abstractmethod
    def remove(self) -> None:
        """Takes it off the base, which is then as it was before, to the bit; a merged adapter is unmerged first."""

    def state(self) -> dict[str, np.ndarray]:
        """Returns the values of its variables by name."""
        return {name: np.array(keras.ops.convert_to_numpy(item.value)) for name, item in self.variables.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Sets its variables; nothing is set when a name or shape does not fit.

        Args:
            state: What `state` returned, of an adapter with the same base and options.

        Raises:
            ConfigError: When names or shapes differ.
        """
        own = self.variables
        odd = sorted(own.keys() ^ state.keys())
        odd += [name for name in own.keys() & state.keys() if tuple(own[name].shape) != state[name].shape]
        if odd:
            raise ConfigError(
                f"These are not the variables of this {self.config.method} adapter: {', '.join(odd[:3])}"
                f"{' and more' if odd[3:] else ''}. It has to be made with the same base, targets and sizes."
            )
        for name, variable in own.items():
            variable.assign(state[name])

    @property
    def can_merge(self) -> bool:
        """Whether `merge` works on this base."""
        return self.mergeable

    @property
    def merged(self) -> bool:
        """Whether the base's weights hold it now."""
        return False

    def merge(self) -> None:
        """Folds it into the base's weights, so that the base alone computes what both did.

        Raises:
            ConfigError: When the method, or a quantized base, does not allow it.
        """
        raise ConfigError(
            f"{self.config.method} cannot be merged: what it does is not a change of the base's weights. "
            "Export the model as it is; the adapter is part of the graph."
        )

    def unmerge(self) -> None:
        """Gives the base its own weights back, to the bit.

        Raises:
            ConfigError: When it is not merged.
        """
        raise ConfigError(f"This {self.config.method} adapter is not merged.")

    def rate_factor(self, variable: keras.Variable) -> float:
        """Returns the learning rate of one of its variables as a multiple of the schedule's."""
        del variable
        return 1.0

    def check_steps(self, steps: int) -> None:
        """Says before training whether a run is long enough for the method's schedule, if it has one.

        Args:
            steps: Number of steps of the run.

        Raises:
            ConfigError: When it is not.
        """
        del steps

    def penalty_gradients(self, variables: Sequence[Any]) -> dict[int, Any]:
        """Returns gradients of the method's own penalty, which are added to those of the loss in each step.

        It runs in a graph, and must be a function of the variables alone.

        Args:
            variables: The model's trainable variables.

        Returns:
            From positions among `variables` to gradients.
        """
        del variables
        return {}

    def after_update(self, variables: Sequence[Any], gradients: Sequence[Any], step: Any, steps: int) -> None:
        """Acts after the optimizer's update of a step; runs in a graph, in replica context, the same on each replica.

        Whatever it remembers has to be in its (not trainable) variables, so that it is in checkpoints.

        Args:
            variables: The model's trainable variables.
            gradients: The gradients of the step, before clipping and noise.
            step: Number of the step, from 0, an int64 scalar.
            steps: Number of steps of the run.
        """
        del variables, gradients, step, steps


class PeftMethod(abc.ABC, Generic[C]):
    """A method; it holds no state.

    Attributes:
        config_class: The dataclass of its options.
        needs: What a model must have for it, for people: "attention layers", "biases".
    """

    config_class: type[C]
    needs: ClassVar[str]

    @abc.abstractmethod
    def add(self, base: Base, config: C, *, name: str, seed: int) -> Adapter:
        """Adds the method to a base whose weights are not trained (`freeze_base` did that).

        Args:
            base: The base.
            config: The options.
            name: Name of the adapter among others on the same base.
            seed: Decides initialisation and dropout.

        Returns:
            The adapter.

        Raises:
            ConfigError: When the method finds nothing in the base that it could act on.
        """


methods: Registry[PeftMethod[Any]] = Registry(
    "PEFT method", "tfft.peft", apart_from=("adapter_set", "files", "hugging_face", "options", "report")
)
register_peft = methods.register


def freeze_base(model: keras.Model) -> None:
    """Keeps all weights of a model from being trained; layers stay trainable, so that adapters inside them are.

    Batch normalisation is switched to inference as a whole: its averages are weights too.

    Args:
        model: The model, not compiled yet.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    for variable in model.variables:
        if variable.trainable:
            variable.trainable = False


def quantize_base(model: keras.Model, mode: str) -> None:
    """Keeps the kernels and tables of a model in few bits (QLoRA, Dettmers et al. 2023, with Keras' own quantizers).

    Args:
        model: The model; nothing has been added to it yet.
        mode: "int8" or "int4".

    Raises:
        ConfigError: When none of its layers can be quantized, or adapters were added to some.
    """
    if any(isinstance(layer, SideLayer) for layer in model._flatten_layers()):
        raise ConfigError(f"{model.name!r} has adapters already; quantize it before any is added.")
    before = [layer for layer in model._flatten_layers() if _can_quantize(layer)]
    if not before:
        raise ConfigError(f"{model.name!r} has no layer that can be quantized; leave quantize_base out.")
    # Keras warns of each layer that it cannot quantize, such as position embeddings.
    with young_collections():
        model.quantize(mode, filters=_can_quantize)


def _can_quantize(layer: Any) -> bool:
    own = type(layer).quantize is not keras.layers.Layer.quantize
    return own and not isinstance(layer, keras.Model) and layer.quantization_mode is None


def is_quantized(model: keras.Model) -> bool:
    """Tells whether a layer of a model is quantized."""
    return any(getattr(layer, "quantization_mode", None) is not None for layer in model._flatten_layers())
