"""Relation extraction: how two entities that are marked in a text are related."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.entity_markers import HOW_TO_MARK, Span, entities_of, mark_entities, parse_marked, wrong_places
from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.core.learned import Learned
from tfft.data.read import Reader
from tfft.data.relation_rows import PlaceColumns, relation_examples
from tfft.data.schema import HowToRead, TextExamples, label_numbers, label_vocabulary
from tfft.metrics.classification import classification_metrics
from tfft.metrics.relations import RelationMetrics, relation_metrics
from tfft.tasks._labels import class_weighted, expected_labels, label_loss, named_probabilities, served_labels
from tfft.tasks.base import Task, register_task, unlabelled

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import EncodedRows
    from tfft.encoding.relations import EntityTexts, RelationEncoding

#: The options that name the columns of `PlaceColumns`.
_COLUMNS = tuple(f"{name}_column" for name in PlaceColumns._fields)
#: What `predict` takes.
_ALLOWED = (
    'Write predict(["The <e1>company</e1> is in <e2>Boston</e2>."]), or for each text '
    '{"text": ..., "head_start": 4, "head_end": 11, "tail_start": 18, "tail_end": 24}, or (text, (4, 11), (18, 24)).'
)


@dataclasses.dataclass(frozen=True)
class PredictedRelation:
    """What the model says of two entities of a text.

    Attributes:
        label: The most probable relation.
        probability: Its probability.
        probabilities: Every relation to its probability; they sum to 1.
        head: The head entity, as it stands in the text.
        tail: The tail entity.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    head: str
    tail: str


class RelationExtraction(Task):
    """One label for two entities of a text, which are marked in it, or whose places are in columns."""

    uses = frozenset(
        {
            *_COLUMNS, "label_column", "negative_label", "class_weights", "resample", "label_smoothing", "focal_gamma",
            "r_drop",
        }
    )  # fmt: skip
    figures = ("loss", "accuracy", "macro_f1", "micro_f1", "relation_macro_f1", "relation_micro_f1")

    def head(self, config: FitConfig) -> str:
        """Returns the head that reads both entity starts."""
        return "entity_start"

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns the text column, those of the places if they are named and, when labelled, the label column."""
        places = _place_columns(config)
        return [config.text_column, *(places or ()), *([config.label_column] if labelled else [])]

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source, checks its rows and takes marked texts and labels."""
        return relation_examples(
            reader,
            text_column=config.text_column,
            places=_place_columns(config),
            label_column=config.label_column if labelled else None,
            how=how,
            console=console,
        )

    def takes(self, data: Any) -> bool:
        """Tells a list of texts with places from a list of rows with other names."""
        if not isinstance(data, (list, tuple)) or not data:
            return False
        first = data[0]
        return isinstance(first, (list, tuple)) or (
            isinstance(first, Mapping) and first.keys() >= {"text", *PlaceColumns._fields}
        )

    def from_inputs(self, inputs: Any) -> TextExamples:
        """Takes texts whose entities are marked, or texts with the places of their entities.

        Args:
            inputs: What the caller gave.

        Returns:
            Examples without labels.

        Raises:
            DataError: When it is something else, or entities are not where they should be.
        """
        if isinstance(inputs, (str, bytes, Mapping)) or not hasattr(inputs, "__iter__"):
            raise DataError(f"A list of texts is expected; received a {type(inputs).__name__}. {_ALLOWED}")
        return unlabelled([_marked(item, place) for place, item in enumerate(inputs)])

    def unpleasant(self, texts: Sequence[str]) -> list[Any]:
        """Returns each text around and between two entities, in either order, and as both entities."""
        head, tail = "<e1>{}</e1>", "<e2>{}</e2>"
        found = [f"{text}{head.format('a')}{text}{tail.format('b')}{text}" for text in texts]
        found += [f"{tail.format('b c')}{text}{head.format('a')}" for text in texts]
        return found + [head.format(text) + tail.format(text) for text in texts if text.strip()]

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Returns the distinct relations in order, and which of them is none."""
        labels, negative = label_vocabulary(examples), config.negative_label
        if negative is not None and negative not in labels:
            raise ConfigError(f"negative_label: {unknown_name('label', negative, labels)}")
        return Learned(labels, {"negative_label": negative})

    def targets(self, examples: TextExamples, learned: Learned) -> np.ndarray:
        """Returns class numbers, int64 of shape `(rows,)`."""
        return label_numbers(examples, learned.labels)

    def sample_weights(self, targets: Any, learned: Learned, config: FitConfig) -> np.ndarray:
        """Returns the class weight of each row, float32 of shape `(rows,)`."""
        return class_weighted(targets, learned.labels, config)

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> RelationEncoding:
        """Returns the encoding of texts with two entities."""
        from tfft.encoding.relations import RelationEncoding

        return RelationEncoding(backbone, sequence_length=sequence_length)

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns cross-entropy on logits, or the focal loss, smoothed as configured."""
        return label_loss(config)

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> RelationMetrics:
        """Computes the figures over a whole split from logits of shape `(rows, num_classes)`."""
        figures = classification_metrics(targets, outputs.argmax(axis=1), learned.labels, logits=outputs)
        return relation_metrics(figures, learned.settings["negative_label"])

    def restore_metrics(self, plain: Mapping[str, Any]) -> RelationMetrics:
        """Returns the figures kept in a run directory."""
        return RelationMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Any],
        test: tuple[TextExamples, Any],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, RelationMetrics]:
        """Returns the figures of the majority class and of logistic regression on TF-IDF of each part of a text."""
        from tfft.metrics.relation_baselines import relation_baselines

        return relation_baselines(
            [entities_of(text) for text in train[0].texts],
            train[1],
            [entities_of(text) for text in test[0].texts],
            test[1],
            learned.labels,
            negative_label=learned.settings["negative_label"],
        )

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[PredictedRelation]:
        """Turns logits of shape `(rows, num_classes)` into predictions."""
        entities: EntityTexts = rows.context
        said = named_probabilities(outputs, learned.labels)
        return [
            PredictedRelation(*item, head, tail)
            for item, head, tail in zip(said, entities.heads, entities.tails, strict=True)
        ]

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns `label`, `probabilities` and `classes`, as text classification does, and both entities.

        `head` and `tail` are strings of shape `(batch,)`. A request with a text that does not mark two entities fails.
        """
        return {**served_labels(outputs, learned.labels), "head": context.heads, "tail": context.tails}

    def served_outputs(self, predictions: Sequence[PredictedRelation], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        found = expected_labels([item.label for item in predictions], [item.probabilities for item in predictions])
        entities = {name: [getattr(item, name) for item in predictions] for name in ("head", "tail")}
        return {**found, **{name: np.array(texts, dtype=object) for name, texts in entities.items()}}

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 pairs of a thing and an opinion, of that thing or, in 20 rows, of another one."""
        good, bad = (
            ("wonderful", "moving", "funny", "brilliant", "charming"),
            ("dull", "awful", "boring", "weak", "silly"),
        )
        things = ("film", "plot", "cast", "music", "ending", "script")
        rows = []
        for number in range(60):
            thing, other = things[number % 6], things[(number + 1 + number // 6 % 5) % 6]
            kinds = (good, bad) if number // 6 % 2 else (bad, good)
            word, opposite = (kind[(number + number // 12) % 5] for kind in kinds)
            head, related = f"the <e1>{thing}</e1> was", bool((number + number // 6) % 3)
            if related:
                parts = [f"{head} <e2>{word}</e2>", f"the {other} was {opposite}"]
            else:
                parts = [f"{head} {word}", f"the {other} was <e2>{opposite}</e2>"]
            label = "no_relation" if not related else "praised" if word in good else "criticised"
            # In half of the rows the other thing, and so the opinion of it, comes first.
            rows.append((" ".join(parts[:: -1 if number // 2 % 2 else 1]), label))
        return pd.DataFrame(rows, columns=["text", "label"])


def _place_columns(config: FitConfig) -> PlaceColumns | None:
    names = [getattr(config, option) for option in _COLUMNS]
    lacking = [option for option, name in zip(_COLUMNS, names, strict=True) if name is None]
    if len(lacking) == len(names):
        return None
    if lacking:
        raise ConfigError(
            f"The columns of the places of both entities go together, but {' and '.join(lacking)} name none. Name all "
            "four columns, or none where entities are marked in the text."
        )
    everything = [config.text_column, config.label_column, *names]
    if len(set(everything)) < len(everything):
        raise ConfigError(
            f"text_column, label_column, {', '.join(_COLUMNS)} are {', '.join(map(repr, everything))}; these must be "
            "different columns."
        )
    return PlaceColumns(*names)


def _marked(item: Any, place: int) -> str:
    """Returns an input as a marked text."""
    if isinstance(item, Mapping):
        item = item["text"] if item.keys() == {"text"} else _of_names(item)
    match item:
        case str() as text:
            fault = parse_marked(text)
            if isinstance(fault, str):
                raise DataError(f"The text at position {place} is one {fault}. Mark {HOW_TO_MARK}. {_ALLOWED}")
            return text
        case (str() as text, (head_start, head_end), (tail_start, tail_end)):
            try:
                head, tail = Span(_whole(head_start), _whole(head_end)), Span(_whole(tail_start), _whole(tail_end))
            except TypeError:
                pass
            else:
                if wrong := wrong_places(text, head, tail):
                    raise DataError(
                        f"The text at position {place} is one {wrong}. Places count characters (Unicode code points) "
                        "from 0, the end left out."
                    )
                return mark_entities(text, head, tail)
    raise DataError(
        f"Each item is a text with two entities; at position {place} there is {repr(item)[:60]}. {_ALLOWED}"
    )


def _of_names(item: Mapping[str, Any]) -> Any:
    """Returns text and places of an input with names; the input itself when some are missing."""
    if not item.keys() >= {"text", *PlaceColumns._fields}:
        return item
    return item["text"], (item["head_start"], item["head_end"]), (item["tail_start"], item["tail_end"])


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError(value)
    return operator.index(value)


register_task("relation_extraction")(RelationExtraction())
