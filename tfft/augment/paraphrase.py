"""Texts replaced by what a function makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field

from tfft.augment._variants import computed_once, text_variants, text_versions
from tfft.augment.base import (
    AugmentationContext,
    Modality,
    Probability,
    Transform,
    option,
    register_augmentation,
)
from tfft.core.errors import ConfigError


@register_augmentation("paraphrase")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Paraphrase:
    """Replaces a text by what a function of your own made of it before training: a language model, rules, any code.

    Example:
        >>> Paraphrase(probability=0.3, function=lambda texts: [text.lower() for text in texts])
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = False
    needs_original: ClassVar[bool] = True
    hint: ClassVar[str] = "the function returned each text as it was"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    function: Callable[[list[str]], list[str]] | None = option(
        None, "From texts to as many texts. Required; a config file cannot name one."
    )
    variants: Annotated[int, Field(ge=1)] = option(
        1, "Versions of each text, one of which is drawn each time; more than one if the function is random."
    )
    batch_size: Annotated[int, Field(ge=1)] = option(64, "Texts given to the function at once.")

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        function = self.function
        if function is None:
            raise ConfigError("paraphrase needs the option function, from a list of texts to a list of as many texts.")
        table = computed_once(
            context,
            (Paraphrase, function, self.variants),
            lambda: text_versions("paraphrase", function, context, variants=self.variants, batch_size=self.batch_size),
        )
        return text_variants(table, self.probability)
