"""Partial freezing: some layers of the base are trained, for instance the last blocks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import ClassVar

from tfft.core.errors import ConfigError, name_list, unknown_name
from tfft.peft._blocks import block_numbers, stack
from tfft.peft._own_weights import OwnWeightsAdapter
from tfft.peft._surgery import layer_paths
from tfft.peft.base import Base, PeftConfig, PeftMethod, register_peft

_ENDS = re.compile(r"(last|first):(\d+)")
_NUMBERS = re.compile(r"layers\.(\d+)(?:-(\d+))?")
_EMBEDDINGS = "embeddings"
_FORMS = (
    "'last:2', 'first:1', 'layers.3', 'layers.0-2', 'embeddings', or a regular expression that matches a whole path of "
    "a layer or a weight"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartialConfig(PeftConfig):
    """Options of partial freezing (Lee et al. 2019, section 3).

    Blocks are those of the base in order, from 0; those of an encoder come before those of its decoder. What comes
    after a block, such as the last normalisation, belongs to it. A table of embeddings that is used in reverse too is
    one of the embeddings.

    Attributes:
        train_layers: What is trained, one or several of "last:2" (the last two blocks), "first:1", "layers.3",
            "layers.0-2" (both ends included), "embeddings" (all that comes before the blocks), and regular expressions
            that match a whole path of a layer, with all that is inside, or of a weight.
    """

    method: ClassVar[str] = "partial"
    paper: ClassVar[str] = (
        "Lee et al. 2019, What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning, arXiv:1911.03090"
    )

    train_layers: str | tuple[str, ...] = "last:2"


@register_peft("partial")
@object.__new__
class Partial(PeftMethod[PartialConfig]):
    """Some of the base's own weights."""

    config_class = PartialConfig
    needs = "blocks, or layers with names"

    def add(self, base: Base, config: PartialConfig, *, name: str, seed: int) -> OwnWeightsAdapter:
        """Lets the weights of the layers be trained; nothing is random."""
        del name, seed
        given = (config.train_layers,) if isinstance(config.train_layers, str) else config.train_layers
        if not given:
            raise ConfigError(f"train_layers is empty; write {_FORMS}.")
        weights = _weight_paths(base)
        chosen: set[tuple[int, str]] = set()
        for text in given:
            chooses = _reading(base, text)
            found = {key for key in weights if chooses(*key)}
            if not found:
                names = sorted({part for _, path in weights for part in path.split("/")[:-1]})
                raise ConfigError(
                    f"train_layers: {text!r} means no weight of {base.model.name!r}. "
                    f"{unknown_name('layer', text, names, most=24)} Write {_FORMS}."
                )
            chosen |= found
        return OwnWeightsAdapter(base, config, lambda layer, path: (id(layer), path) in chosen)


def _weight_paths(base: Base) -> list[tuple[int, str]]:
    """Returns ids of layers and the paths of their weights."""
    paths = layer_paths(base.model)
    layers = {id(layer): layer for layer in base.model._flatten_layers()}
    return [
        (number, f"{path}/{variable.name}")
        for number, path in paths.items()
        for variable in layers[number]._trainable_variables
    ]


def _reading(base: Base, text: str) -> Callable[[int, str], bool]:
    """Returns what tells of a layer's id and a weight's path whether it is meant."""
    wanted = _blocks(base, text)
    if wanted is not None:
        numbers = block_numbers(base)
        return lambda layer, path: numbers[layer] in wanted
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"train_layers: {text!r} is no regular expression ({error}). Write {_FORMS}.") from None
    of_keras = {id(layer): layer.path for layer in base.model._flatten_layers()}

    def matches(layer: int, path: str) -> bool:
        own = (path.removeprefix("/"), f"{of_keras[layer]}/{path.rsplit('/', 1)[-1]}")
        return any(pattern.fullmatch(part) for each in own for part in _beginnings(each))

    return matches


def _beginnings(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _blocks(base: Base, text: str) -> range | None:
    """Returns the numbers of the blocks that a text means, from 1, and 0 for what comes before; None: another form."""
    count = len(stack(base))
    if text == _EMBEDDINGS:
        wanted = range(1)
    elif ends := _ENDS.fullmatch(text):
        some = int(ends[2])
        wanted = range(count - some + 1, count + 1) if ends[1] == "last" else range(1, some + 1)
    elif numbers := _NUMBERS.fullmatch(text):
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        wanted = range(first + 1, last + 2)
    else:
        return None
    if not count:
        names = [repr(layer.name) for layer in base.model.layers if layer.weights]
        raise ConfigError(
            f"train_layers={text!r}: {base.model.name!r} is not made of repeated blocks. Write a regular expression "
            f"that matches paths of its layers: {name_list(names, most=24)}."
        )
    if text != _EMBEDDINGS and (not wanted or wanted[0] < 1 or wanted[-1] > count):
        raise ConfigError(
            f"train_layers={text!r} is not among the {count} blocks of {base.model.name!r}, layers.0 to "
            f"layers.{count - 1}. Write {_FORMS}."
        )
    return wanted
