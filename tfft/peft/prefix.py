"""Prefix tuning: trained keys and values before those of every attention layer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import keras
from keras import ops
from pydantic import Field

from tfft.core.errors import ConfigError, name_list
from tfft.peft._around import release, surround
from tfft.peft._attention import Attention, attention
from tfft.peft._blocks import is_attention
from tfft.peft._surgery import SideLayer, all_layers, attach, detach, layer_paths
from tfft.peft.base import Adapter, Base, PeftConfig, PeftMethod, register_peft


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixConfig(PeftConfig):
    """Options of prefix tuning (Li & Liang 2021, equation 3): attention over `[P_k; K]` and `[P_v; V]` in every layer.

    With `reparameterize`, `P = W_2 tanh(W_1 E + b_1) + b_2` (section 4.3), where `E`, `W_1` and `b_1` are common to all
    layers, as in Hugging Face's `PrefixEncoder`; otherwise `P` itself is trained. The paper found the first to train
    more steadily.

    Tokens keep the positions that they have without a prefix. Hugging Face counts those of models with absolute
    positions from `num_virtual_tokens` on, which leaves that many fewer for the text.

    Attributes:
        num_virtual_tokens: Length of the prefix.
        reparameterize: Whether `P` is computed from a smaller matrix; see `PrefixAdapter.drop_reparameterization`.
        hidden_dim: Units between the two products; None for as many as a token's keys have numbers.
    """

    method: ClassVar[str] = "prefix"
    paper: ClassVar[str] = "Li & Liang 2021, Prefix-Tuning: Optimizing Continuous Prompts, arXiv:2101.00190"

    num_virtual_tokens: Annotated[int, Field(ge=1)] = 20
    reparameterize: bool = True
    hidden_dim: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        """Checks the options against each other."""
        if self.hidden_dim is not None and not self.reparameterize:
            raise ConfigError(
                f"prefix: hidden_dim={self.hidden_dim} is a size of the reparameterisation, which "
                "reparameterize=False leaves out. Set reparameterize=True, or leave out hidden_dim."
            )


class PrefixEncoder(SideLayer):
    """What the prefixes of all layers are computed from: `tanh(W_1 E + b_1)`."""

    def __init__(self, tokens: int, size: int, hidden_dim: int, name: str, seed: int) -> None:
        """Keeps the sizes; `build` makes the variables."""
        super().__init__(name=name, dtype="float32", autocast=False)
        self.tokens, self.size, self.hidden_dim = tokens, size, hidden_dim
        self._seed = seed

    def build(self, _: Any) -> None:
        """Makes the variables as PyTorch makes those of an embedding and of a linear layer."""
        standard: Any = keras.initializers.RandomNormal(stddev=1.0, seed=self._seed)
        self.embedding = self.add_weight(shape=(self.tokens, self.size), initializer=standard, name="embedding")
        self.kernel = self.add_weight(
            shape=(self.size, self.hidden_dim), initializer=_uniform(self.size, self._seed + 1), name="kernel"
        )
        self.bias = self.add_weight(
            shape=(self.hidden_dim,), initializer=_uniform(self.size, self._seed + 2), name="bias"
        )

    def hidden(self) -> Any:
        """Returns hidden values, float32 of shape `(tokens, hidden_dim)`."""
        return ops.tanh(ops.matmul(self.embedding, self.kernel) + self.bias)


class PrefixSide(SideLayer):
    """The prefix of one attention layer; computed in float32, whatever the layer computes in."""

    def __init__(self, view: Attention, tokens: int, encoder: PrefixEncoder | None, name: str, seed: int) -> None:
        """Keeps the sizes; `build` makes the variables.

        Args:
            view: The attention layer.
            tokens: Length of the prefix.
            encoder: Where its hidden values come from; None when it is trained itself.
            name: Name of this layer.
            seed: Decides the initialisation, with the number after it.
        """
        super().__init__(name=name, dtype="float32", autocast=False)
        self.shapes = tuple((tokens, view.heads, size) for size in (view.key_size, view.value_size))
        #: A sublayer of every attention layer, so that gradients reach it from blocks that are recomputed.
        self.encoder = encoder
        self._seed = seed

    def build(self, _: Any) -> None:
        """Makes the keys and values, or the matrices that they are computed with."""
        if self.encoder is None:
            self.keys, self.values = (
                self.add_weight(
                    shape=shape, initializer=keras.initializers.RandomNormal(stddev=1.0, seed=seed), name=name
                )
                for shape, name, seed in zip(self.shapes, ("keys", "values"), self._seeds(), strict=True)
            )
            return
        if not self.encoder.built:
            self.encoder.build(None)
        units = self.encoder.hidden_dim
        self.key_kernel, self.value_kernel = (
            self.add_weight(shape=(units, heads * size), initializer=_uniform(units, seed), name=name)
            for (_, heads, size), name, seed in zip(
                self.shapes, ("key_kernel", "value_kernel"), self._seeds(), strict=True
            )
        )
        self.key_bias, self.value_bias = (
            self.add_weight(shape=(heads * size,), initializer=_uniform(units, seed + 2), name=name)
            for (_, heads, size), name, seed in zip(self.shapes, ("key_bias", "value_bias"), self._seeds(), strict=True)
        )

    def _seeds(self) -> tuple[int, int]:
        return self._seed, self._seed + 1

    def prefix(self) -> tuple[Any, Any]:
        """Returns keys and values, float32 of shape `(tokens, heads, size)`."""
        if self.encoder is None:
            return ops.convert_to_tensor(self.keys), ops.convert_to_tensor(self.values)
        hidden = self.encoder.hidden()
        keys = ops.matmul(hidden, self.key_kernel) + self.key_bias
        values = ops.matmul(hidden, self.value_kernel) + self.value_bias
        return ops.reshape(keys, self.shapes[0]), ops.reshape(values, self.shapes[1])

    def call(self, own: Any) -> tuple[Any, Any]:
        """Returns keys and values for each row.

        Args:
            own: Keys or values of the attention layer, `(batch, length, ...)`.

        Returns:
            Both of shape `(batch, tokens, heads, size)`, of the dtype of `own`.
        """
        rows = ops.shape(own)[0]
        keys, values = (
            ops.broadcast_to(ops.cast(part, own.dtype)[None], (rows, *shape))
            for part, shape in zip(self.prefix(), self.shapes, strict=True)
        )
        return keys, values


class PrefixAdapter(Adapter):
    """Prefixes in the attention layers of a base."""

    config: PrefixConfig
    starts_as_identity = False
    mergeable = False
    shares_base = False

    def __init__(self, base: Base, config: PrefixConfig, views: Sequence[Attention], name: str, seed: int) -> None:
        """Adds a prefix to each attention layer.

        Args:
            base: The base.
            config: The options.
            views: The attention layers.
            name: Name of the adapter.
            seed: Decides the initialisation.
        """
        super().__init__(base, config)
        self.name = name
        self._views = list(views)
        self._paths = layer_paths(base.model)
        encoder = None
        if config.reparameterize:
            size = views[0].heads * views[0].key_size
            encoder = PrefixEncoder(
                config.num_virtual_tokens, size, config.hidden_dim or size, f"{name}_prefix_encoder", seed
            )
        first = seed + 3  # the encoder takes three
        self._sides = [
            PrefixSide(view, config.num_virtual_tokens, encoder, f"{name}_prefix", first + 4 * number)
            for number, view in enumerate(views)
        ]
        self._around: list[tuple[Any, Callable[..., Any]]] = []
        try:
            self._attach()
        except BaseException:
            self.remove()
            raise

    def _attach(self) -> None:
        for view, side in zip(self._views, self._sides, strict=True):
            attach(view.layer, side, None, path=self._paths[id(view.layer)])
            around = functools.partial(self._call, view.around(side, self.config.num_virtual_tokens))
            surround(view.layer, around)
            self._around.append((view.layer, around))

    def _detach(self) -> None:
        for layer, around in self._around:
            release(layer, around)
        for view, side in zip(self._views, self._sides, strict=True):
            detach(view.layer, side)
        self._around = []

    def _call(self, around: Callable[..., Any], compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return around(compute, *args, **kwargs) if self.enabled else compute(*args, **kwargs)

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """Its variables: those of the encoder, and those of each layer by its path."""
        found: dict[str, keras.Variable] = {}
        for view, side in zip(self._views, self._sides, strict=True):
            common = [] if side.encoder is None else side.encoder.variables
            found |= {f"prefix_encoder/{variable.name}": variable for variable in common}
            path = self._paths[id(view.layer)]
            others = {id(variable) for variable in common}
            found |= {f"{path}/{item.name}": item for item in side.variables if id(item) not in others}
        return found

    @property
    def targets(self) -> list[str]:
        """Paths of the attention layers."""
        return [self._paths[id(view.layer)] for view in self._views]

    def remove(self) -> None:
        """Takes the prefixes off the attention layers."""
        self._detach()
        self._views, self._sides = [], []

    def drop_reparameterization(self) -> None:
        """Keeps the keys and values alone, which are all that matters after training (section 4.3).

        Options and state are those of an adapter with `reparameterize=False` from then on. Graphs that were traced
        before go on with the variables that are dropped.

        Raises:
            ConfigError: When there is no reparameterisation.
        """
        if not self.config.reparameterize:
            raise ConfigError("This prefix adapter has no reparameterisation to drop: its keys and values are trained.")
        prefixes = [[ops.convert_to_numpy(part) for part in side.prefix()] for side in self._sides]
        trained = [side.trainable for side in self._sides]
        self._detach()
        self.config = dataclasses.replace(self.config, reparameterize=False, hidden_dim=None)
        self._sides = [
            PrefixSide(view, self.config.num_virtual_tokens, None, side.name, 0)
            for view, side in zip(self._views, self._sides, strict=True)
        ]
        self._attach()
        for side, (keys, values), trainable in zip(self._sides, prefixes, trained, strict=True):
            side.keys.assign(keys)
            side.values.assign(values)
            side.trainable = trainable


@register_peft("prefix")
@object.__new__
class Prefix(PeftMethod[PrefixConfig]):
    """Keys and values before those of the text."""

    config_class = PrefixConfig
    needs = "attention layers"

    def add(self, base: Base, config: PrefixConfig, *, name: str, seed: int) -> PrefixAdapter:
        """Adds a prefix to each attention layer."""
        return PrefixAdapter(base, config, _attention_layers(base), name, seed)


def _attention_layers(base: Base) -> list[Attention]:
    """Returns the attention layers of a base; all of them, or none."""
    views, unknown = [], []
    for layer in all_layers(base.model):
        view = attention(layer)
        if view is not None:
            views.append(view)
        elif is_attention(layer) and layer.weights:
            unknown.append(layer)
    inside = {id(part) for view in views for part in view.layer._flatten_layers()}
    around = {
        id(layer) for layer in unknown if any(id(part) in inside for part in layer._flatten_layers(include_self=False))
    }
    left = sorted({type(layer).__name__ for layer in unknown if id(layer) not in inside | around})
    if left:
        raise ConfigError(
            f"prefix tuning puts keys and values before those of every attention layer, and it is not known how "
            f"{name_list(left)} of {base.model.name!r} computes attention. Use another method: lora, ia3 and houlsby "
            "act on layers with a kernel."
        )
    if not views:
        raise ConfigError(
            f"prefix tuning puts keys and values before those of attention layers, and {base.model.name!r} has none. "
            "Use another method: lora and bitfit act on any layers with a kernel or a bias."
        )
    return views


def _uniform(inputs: int, seed: int) -> Any:
    bound = inputs**-0.5
    return keras.initializers.RandomUniform(-bound, bound, seed=seed)
