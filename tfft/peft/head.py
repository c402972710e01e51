"""Head-only training: the base gives features, and nothing of it is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import keras

from tfft.core.errors import ConfigError
from tfft.peft.base import Adapter, Base, PeftConfig, PeftMethod, register_peft


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig(PeftConfig):
    """Feature extraction (Peters et al. 2019, section 2): the head alone is trained. There are no options."""

    method: ClassVar[str] = "head"
    paper: ClassVar[str] = (
        "Peters et al. 2019, To Tune or Not to Tune? Adapting Pretrained Representations to Diverse Tasks, "
        "arXiv:1903.05987"
    )


class HeadAdapter(Adapter):
    """Nothing: the base stays as it is."""

    mergeable = False
    shares_base = False

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """There are none."""
        return {}

    @property
    def targets(self) -> Sequence[str]:
        """There are none."""
        return []

    def merge(self) -> None:
        """Refuses: there is nothing to merge.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("head adds nothing to the base: there is nothing to merge. Export the model as it is.")

    def remove(self) -> None:
        """The base is as it was already."""


@register_peft("head")
@object.__new__
class Head(PeftMethod[HeadConfig]):
    """The head alone."""

    config_class = HeadConfig
    needs = "nothing"

    def add(self, base: Base, config: HeadConfig, *, name: str, seed: int) -> HeadAdapter:
        """Adds nothing."""
        del name, seed
        return HeadAdapter(base, config)
