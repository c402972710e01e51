"""AdaLoRA: a product of three matrices beside a frozen kernel, with ranks shared out among layers by importance."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import keras
from keras import ops
from pydantic import Field

from tfft.core.errors import ConfigError
from tfft.peft._linear import Linear
from tfft.peft._matrix_side import MatrixSide
from tfft.peft._rank_allocation import BudgetSchedule, most_important
from tfft.peft._sites import Side, SiteAdapter
from tfft.peft._targets import find_linear
from tfft.peft.base import Base, PeftConfig, PeftMethod, register_peft

#: Sets the seed of `Q` apart from that of `P`.
_SECOND = 0x5EED0000
_FACTORS = ("lora_p", "lora_e", "lora_q")

Steps = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0.0, lt=1.0)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaLoRAConfig(PeftConfig):
    """Options of AdaLoRA (Zhang et al. 2023, equation 3): `y = x W + (alpha / initial_rank) * x P diag(E) Q`.

    A triplet is a column of `P`, an element of `E` and a row of `Q`. In step `t`, counted from 1, the triplets of all
    layers that are not among the `b(t)` most important ones have their element of `E` set to zero; those of the first
    `tinit` steps are all kept, and in the last `tfinal` steps they stay as they are then (algorithm 1).

    Attributes:
        initial_rank: Triplets of each layer at the beginning.
        target_rank: Triplets of a layer at the end, on average.
        alpha: The scaling is `alpha / initial_rank`, then and later.
        dropout: Dropout rate of what goes into `P`; not on embeddings and recurrent layers.
        tinit: Steps before triplets are taken away: a number of steps, or below 1 a share of all.
        tfinal: Steps at the end in which the triplets that are left are trained, likewise.
        delta_t: Triplets are chosen anew every so many steps in between.
        beta1: Decay of the average sensitivity of a weight (equation 9).
        beta2: Decay of the average uncertainty of the sensitivity (equation 10).
        orthogonality_weight: Weight of the penalty on `P` and `Q`: the mean of `||P^T P - I||` and `||Q Q^T - I||` over
            all layers, as in the paper's own code (equation 4 has the sum of their squares).
        target_layers: Layers to adapt: roles such as "query", names, regular expressions of paths, "attention",
            "all-linear".
    """

    method: ClassVar[str] = "adalora"
    paper: ClassVar[str] = (
        "Zhang et al. 2023, Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, arXiv:2303.10512"
    )

    initial_rank: Annotated[int, Field(ge=1)] = 12
    target_rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0.0)] = 16.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    tinit: Steps = 0.1
    tfinal: Steps = 0.5
    delta_t: Annotated[int, Field(ge=1)] = 10
    beta1: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.85
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.85
    orthogonality_weight: Annotated[float, Field(ge=0.0)] = 0.5
    target_layers: str | tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        """Compares the ranks.

        Raises:
            ConfigError: When the target is above the initial one.
        """
        if self.target_rank > self.initial_rank:
            raise ConfigError(
                f"adalora: target_rank={self.target_rank} is above initial_rank={self.initial_rank}, but ranks are "
                f"only taken away. Use initial_rank={self.target_rank * 3 // 2}, half as much again, or a lower target."
            )

    @property
    def scaling(self) -> float:
        """The factor of the product."""
        return self.alpha / self.initial_rank


class AdaLoRASide(MatrixSide):
    """The three matrices at one layer, and what is remembered of their importance."""

    def __init__(self, view: Linear, config: AdaLoRAConfig, name: str, seed: int) -> None:
        """Keeps the sizes; `build` makes the variables."""
        super().__init__(view, dropout=config.dropout, name=name, seed=seed)
        self.config = config

    def build(self, _: Any) -> None:
        """Makes `P` and `Q` normal and `E` zero (section 3.1), with the deviation of the paper's own code."""
        super().build(_)
        rank = self.config.initial_rank
        first, second = (keras.initializers.RandomNormal(stddev=0.02, seed=self.seed ^ bits) for bits in (0, _SECOND))
        self.lora_p = self._add("lora_p", (self.view.inputs, rank), first)
        self.lora_e = self._add("lora_e", (rank,), "zeros")
        self.lora_q = self._add("lora_q", (rank, self.view.outputs), second)
        self.sensitivity = [self._add(f"{item.name}_sensitivity", item.shape, "zeros") for item in self.factors]
        self.uncertainty = [self._add(f"{item.name}_uncertainty", item.shape, "zeros") for item in self.factors]
        #: 1 for each triplet that is not taken away for good.
        self.kept = self._add("kept", (rank,), "ones")

    def _add(self, name: str, shape: Any, initializer: Any) -> keras.Variable:
        # `after_update` computes the same on all replicas, so any one's value is everybody's.
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            trainable=name in _FACTORS,
            aggregation="only_first_replica",
        )

    @property
    def factors(self) -> tuple[keras.Variable, keras.Variable, keras.Variable]:
        """The matrices `P`, `E` and `Q`."""
        return self.lora_p, self.lora_e, self.lora_q

    def call(self, outputs: Any, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """Adds the scaled product to the layer's outputs."""
        down = ops.multiply(self.lora_p, self.lora_e)
        delta = self.delta(outputs, self.dropped(inputs, training), down, self.lora_q, options)
        return outputs + delta * ops.cast(self.config.scaling, outputs.dtype)

    def changed_matrix(self, matrix: Any) -> Any:
        """Returns `W + scaling * P diag(E) Q`."""
        down = ops.multiply(self.lora_p, self.lora_e)
        return matrix + ops.matmul(down, self.lora_q) * self.config.scaling

    def penalty_gradients(self, weight: float) -> tuple[Any, Any]:
        """Returns the gradients of `weight * (||P^T P - I|| + ||Q Q^T - I||)` by `P` and by `Q`."""
        first, second = (ops.convert_to_tensor(item) for item in (self.lora_p, self.lora_q))
        excess = _excess(ops.matmul(ops.transpose(first), first))
        other = _excess(ops.matmul(second, ops.transpose(second)))
        return 2.0 * weight * ops.matmul(first, excess), 2.0 * weight * ops.matmul(other, second)

    def score(self, gradients: Sequence[Any], counts: Any) -> Any:
        """Takes the gradients of a step into the averages (equations 8 to 10).

        Args:
            gradients: Of `P`, `E` and `Q`.
            counts: Whether they count, a boolean scalar.

        Returns:
            The importance of each triplet (equations 7 and 11), a float32 tensor of shape `(rank,)`.
        """
        importance = []
        for factor, gradient, *averages in zip(
            self.factors, gradients, self.sensitivity, self.uncertainty, strict=True
        ):
            now = ops.abs(ops.convert_to_tensor(factor) * ops.cast(gradient, "float32"))
            before = [ops.convert_to_tensor(average) for average in averages]
            sensitivity = self.config.beta1 * before[0] + (1.0 - self.config.beta1) * now
            uncertainty = self.config.beta2 * before[1] + (1.0 - self.config.beta2) * ops.abs(now - sensitivity)
            # An overflow of a scaled loss, whose step is left out, must not stay in the averages.
            counted = ops.logical_and(counts, ops.isfinite(now))
            both = [ops.where(counted, new, old) for new, old in zip((sensitivity, uncertainty), before, strict=True)]
            for average, value in zip(averages, both, strict=True):
                average.assign(value)
            importance.append(both[0] * both[1])
        return importance[1] + ops.mean(importance[0], axis=0) + ops.mean(importance[2], axis=1)

    def keep(self, important: Any, chosen: Any, last: Any) -> None:
        """Takes triplets away.

        Args:
            important: Which triplets are kept, a boolean tensor of shape `(rank,)`.
            chosen: Whether they are chosen in this step, a boolean scalar.
            last: Whether it is the last time; those that go then do not come back.
        """
        there = ops.cast(important, "float32")
        kept = ops.where(last, there, ops.convert_to_tensor(self.kept))
        value = ops.convert_to_tensor(self.lora_e) * ops.where(chosen, there, 1.0) * kept
        self.kept.assign(kept)
        self.lora_e.assign(value)


def _excess(product: Any) -> Any:
    """Returns the difference of a matrix and the identity, divided by its norm."""
    difference = product - ops.eye(product.shape[0])
    norm = ops.sqrt(ops.sum(ops.square(difference)))
    return difference / ops.where(norm == 0.0, 1.0, norm)


class AdaLoRAAdapter(SiteAdapter):
    """AdaLoRA on a base."""

    config: AdaLoRAConfig

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The matrices; what is remembered of their importance serves training alone."""
        factors = {id(factor) for side in self._own() for factor in side.factors}
        return {name: variable for name, variable in super().variables.items() if id(variable) in factors}

    @property
    def ranks(self) -> dict[str, int]:
        """The ranks that layers have now, by their paths: elements of `E` that are not zero."""
        values = (ops.convert_to_numpy(side.lora_e.value) for side in self._own())
        return {path: int((value != 0.0).sum()) for path, value in zip(self.targets, values, strict=True)}

    def _own(self) -> list[AdaLoRASide]:
        return [side for _, side in self.sides if isinstance(side, AdaLoRASide)]

    def check_steps(self, steps: int) -> None:
        """Compares the schedule with the number of steps."""
        tinit, tfinal = self._phases(steps)
        if tinit + tfinal >= steps:
            raise ConfigError(
                f"adalora takes ranks away between step {tinit} (tinit={self.config.tinit}) and the last {tfinal} "
                f"steps (tfinal={self.config.tfinal}), but this run has {steps} step{'s' if steps != 1 else ''}. Train "
                "longer, or choose them so that their sum is below the number of steps; below 1 they are shares of it."
            )

    def _phases(self, steps: int) -> tuple[int, int]:
        first, last = (
            int(item * steps) if isinstance(item, float) else item for item in (self.config.tinit, self.config.tfinal)
        )
        return first, last

    def penalty_gradients(self, variables: Sequence[Any]) -> dict[int, Any]:
        """Returns the gradients of the orthogonality penalty."""
        if not self.config.orthogonality_weight:
            return {}
        places = {id(variable): place for place, variable in enumerate(variables)}
        sides = self._own()
        found = {}
        for side in sides:
            gradients = side.penalty_gradients(self.config.orthogonality_weight / (2 * len(sides)))
            for factor, gradient in zip((side.lora_p, side.lora_q), gradients, strict=True):
                if id(factor) in places:
                    found[places[id(factor)]] = gradient
        return found

    def after_update(self, variables: Sequence[Any], gradients: Sequence[Any], step: Any, steps: int) -> None:
        """Scores the triplets and takes those away that are over the budget."""
        by_variable = {id(item): gradient for item, gradient in zip(variables, gradients, strict=True)}
        sides = self._own()
        tinit, tfinal = self._phases(steps)
        config = self.config
        schedule = BudgetSchedule(
            initial=config.initial_rank * len(sides),
            target=config.target_rank * len(sides),
            begin=tinit,
            end=steps - tfinal,
            interval=config.delta_t,
        )
        number = ops.cast(step, "int64") + 1
        counts = schedule.scores(number)
        scores = []
        for side in sides:
            found = [by_variable.get(id(factor)) for factor in side.factors]
            dense = [
                ops.zeros(item.shape) if part is None else part for item, part in zip(side.factors, found, strict=True)
            ]
            scores.append(side.score(dense, counts))
        important = most_important(scores, schedule.budget(number))
        for side, kept in zip(sides, important, strict=True):
            side.keep(kept, schedule.chooses(number), schedule.last(number))


@register_peft("adalora")
@object.__new__
class AdaLoRA(PeftMethod[AdaLoRAConfig]):
    """Low-rank adaptation with a budget of ranks."""

    config_class = AdaLoRAConfig
    needs = "layers with a kernel"

    def add(self, base: Base, config: AdaLoRAConfig, *, name: str, seed: int) -> AdaLoRAAdapter:
        """Adds three matrices to each target."""
        views = find_linear(base, config.target_layers, recurrent=True)
        sides: list[tuple[Any, Side]] = [
            (view.layer, AdaLoRASide(view, config, f"{name}_adalora", seed + number))
            for number, view in enumerate(views)
        ]
        return AdaLoRAAdapter(base, config, name, sides)
