"""Texts translated into another language and back."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tfft.augment._variants import TextFunction, computed_once, text_variants, text_versions
from tfft.augment.base import (
    AugmentationContext,
    Modality,
    Probability,
    Transform,
    option,
    register_augmentation,
)
from tfft.core.errors import ConfigError


@register_augmentation("back_translation")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BackTranslation:
    """Replaces a text by its translation into another language and back (Sennrich et al. 2016; Edunov et al. 2018).

    All training texts are translated once, before training.

    Example:
        >>> BackTranslation(probability=0.3, translator="runs/en-de", backward="runs/de-en")
    """

    modality: ClassVar[Modality] = "text"
    keeps_tags: ClassVar[bool] = False
    needs_original: ClassVar[bool] = True
    hint: ClassVar[str] = "each text came back as it was"

    probability: Probability = option(0.3, "Share of the rows that are augmented.")
    translator: Any = option(
        None,
        "Into the other language: a translation run of tfft (a path, or the loaded model), or a function from texts to "
        "texts. A function without backward goes there and back itself. Required.",
    )
    backward: Any = option(None, "Back into the language of the texts: the same kinds of things.")
    variants: Annotated[int, Field(ge=1)] = option(
        1, "Versions of each text, one of which is drawn each time; more than one if translations are drawn at random."
    )
    batch_size: Annotated[int, Field(ge=1)] = option(64, "Texts translated at once.")

    def __post_init__(self) -> None:
        """Checks that the translators can translate.

        Raises:
            ConfigError: When one is neither a path nor a function nor a model.
        """
        for name, value in (("translator", self.translator), ("backward", self.backward)):
            if value is not None and not (isinstance(value, str) and value) and not _is_function(value):
                raise ConfigError(
                    f"back_translation: {name} should be a path, a function from texts to texts or an object with "
                    f"predict; received {value!r}."
                )
        if self.backward is None and isinstance(self.translator, str):
            raise ConfigError(
                f"back_translation: {self.translator!r} translates one way; name the run that translates back in the "
                "option backward."
            )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline."""
        if self.translator is None:
            raise ConfigError("back_translation needs the option translator, and backward for the way back.")
        table = computed_once(
            context,
            (BackTranslation, self.translator, self.backward, self.variants),
            lambda: text_versions(
                "back_translation",
                self._there_and_back(context),
                context,
                variants=self.variants,
                batch_size=self.batch_size,
            ),
        )
        return text_variants(table, self.probability)

    def _there_and_back(self, context: AugmentationContext) -> TextFunction:
        there = _function(self.translator, context)
        if self.backward is None:
            return there
        back = _function(self.backward, context)
        return lambda texts: back(there(texts))


def _is_function(value: Any) -> bool:
    return callable(value) or callable(getattr(value, "predict", None))


def _function(translator: Any, context: AugmentationContext) -> TextFunction:
    """Returns the function that a path, a model or a function is."""
    if isinstance(translator, str):
        if context.load_translator is None:
            raise ConfigError(f"back_translation cannot load {translator!r} here; pass a function from texts to texts.")
        return context.load_translator(translator)
    predict = getattr(translator, "predict", None)
    if not callable(predict):
        function: TextFunction = translator
        return function
    return lambda texts: [_text(prediction) for prediction in predict(texts)]


def _text(prediction: Any) -> str:
    text = prediction if isinstance(prediction, str) else getattr(prediction, "text", None)
    if not isinstance(text, str):
        raise ConfigError(
            f"back_translation: predict should return texts, or predictions with a text; it returned {prediction!r}."
        )
    return text
