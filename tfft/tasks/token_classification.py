"""Token classification: a tag for each word, and the entities that the tags mark."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.core.learned import Learned
from tfft.core.tag_schemes import parse_tag
from tfft.data.ragged_rows import RaggedRows, SequenceOutputs
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.tagged_words import LEARNED_TAGS, WORDS, spanned_examples, tagged_examples
from tfft.metrics.entities import EntityMetrics, entity_metrics
from tfft.tasks._tags import learn_tags, shape_tags, tag_rules
from tfft.tasks.base import RowTargets, Targets, Task, register_task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import EncodedRows
    from tfft.encoding.words import WordEncoding, WordPlaces

#: Heads, the first of which is taken when none is named.
HEADS = ("crf", "softmax")
#: Rows that are decoded at once.
_ROWS_PER_CALL = 256


@dataclasses.dataclass(frozen=True)
class Entity:
    """A stretch of a text with a type.

    Attributes:
        text: The stretch itself.
        type: Its type; "" where tags are prefixes alone.
        start: Place of its first character in the text, from 0.
        end: Place after its last character.
        probability: Probability that its words have just the tags that mark it.
    """

    text: str
    type: str
    start: int
    end: int
    probability: float


@dataclasses.dataclass(frozen=True)
class TaggedWord:
    """A word and its tag.

    Attributes:
        text: The word.
        tag: Its tag in the best sequence of tags.
        start: Place of its first character in the text, from 0.
        end: Place after its last character.
        probability: Probability of the tag, whatever the others are.
    """

    text: str
    tag: str
    start: int
    end: int
    probability: float


@dataclasses.dataclass(frozen=True)
class TaggedText:
    """What the model says of one text.

    Attributes:
        entities: The entities, in order.
        words: All words, in order.
    """

    entities: tuple[Entity, ...]
    words: tuple[TaggedWord, ...]


class TokenClassification(Task):
    """Tags of words and entities, from columns of words and tags, or from texts with spans of characters."""

    uses = frozenset({"tokens_column", "tags_column", "spans_column", "tag_scheme", "words", "window_overlap", "head"})
    figures = ("loss", "entity_f1", "entity_precision", "entity_recall", "token_accuracy")
    joinable = True
    tags_words = True

    def head(self, config: FitConfig) -> str:
        """Returns "crf" unless another head is named.

        Args:
            config: The run's options.

        Returns:
            The name.

        Raises:
            ConfigError: When there is no such head for this task.
        """
        if config.head is None:
            return HEADS[0]
        if config.head not in HEADS:
            raise ConfigError(f"head: {unknown_name('head', config.head, HEADS)}")
        return config.head

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str] | None:
        """Returns the columns of words and tags, or of texts and spans; all of them without labels."""
        self.head(config)
        if not labelled:
            return None
        if config.spans_column is not None:
            return [config.text_column, config.spans_column]
        return [config.tokens_column, config.tags_column]

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source; without labels, texts where there are any, else words."""
        if not labelled:
            texts = config.text_column in reader.names()
            if texts or config.spans_column is not None:
                return spanned_examples(
                    reader, text_column=config.text_column, spans_column=None, how=how, console=console
                )
            words = config.tokens_column
            return tagged_examples(reader, tokens_column=words, tags_column=None, how=how, console=console)
        if config.spans_column is not None:
            return spanned_examples(
                reader, text_column=config.text_column, spans_column=config.spans_column, how=how, console=console
            )
        return tagged_examples(
            reader, tokens_column=config.tokens_column, tags_column=config.tags_column, how=how, console=console
        )

    def learned(self, examples: TextExamples, config: FitConfig, console: Console) -> Learned:
        """Finds out the scheme, the tags, and how raw texts are cut."""
        scheme = None if config.tag_scheme == "auto" else config.tag_scheme
        words = None if config.words == "auto" else config.words
        settings = learn_tags(examples, scheme, words, console)
        labels = settings.pop("tags")
        return Learned(labels, {**settings, "head": self.head(config)})

    def shaped(self, examples: TextExamples, learned: Learned) -> TextExamples:
        """Writes tags in the scheme that is learned."""
        return shape_tags(examples, learned)

    def targets(self, examples: TextExamples, learned: Learned) -> RaggedRows:
        """Returns the number of each word's tag.

        Args:
            examples: Shaped examples.
            learned: The label vocabulary.

        Returns:
            Int32, one row an example.

        Raises:
            DataError: When an entity is of a type that no training row has.
        """
        rows = examples.columns[LEARNED_TAGS]
        numbers = {label: number for number, label in enumerate(learned.labels)}
        for place, tags in enumerate(rows):
            for tag in tags:
                if tag not in numbers:
                    scheme = learned.settings["scheme"]
                    parsed, known = parse_tag(tag, scheme), [parse_tag(label, scheme) for label in learned.labels]
                    kinds = dict.fromkeys(item.type for item in known if item is not None and item.type)
                    kind = tag if parsed is None else parsed.type
                    raise DataError(
                        f"{examples.where}, {examples.name_rows(np.array([place]))}: "
                        f"{unknown_name('entity type', kind, list(kinds))} The types are those of the training split."
                    )
        flat = [np.array([numbers[tag] for tag in tags], np.int32) for tags in rows]
        return RaggedRows.from_rows(flat, np.empty(0, np.int32))

    def row_targets(self, targets: Targets, rows: EncodedRows, learned: Learned) -> RowTargets:
        """Cuts the tags of examples into those of windows; each word is tagged in one of them."""
        if not isinstance(targets, RaggedRows) or rows.items is None:
            return super().row_targets(targets, rows, learned)
        return RaggedRows.from_lengths(targets.values, rows.items)

    def row_units(self, rows: EncodedRows) -> np.ndarray | None:
        """Returns the words of each row: the loss is a mean over words."""
        return None if rows.items is None else rows.items.astype(np.float32)

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> WordEncoding:
        """Returns the encoding of words in windows."""
        from tfft.encoding.words import WordEncoding

        return WordEncoding(
            backbone,
            sequence_length=sequence_length,
            overlap=config.window_overlap,
            words=learned.settings["words"],
        )

    def loss(self, config: FitConfig, learned: Learned) -> keras.losses.Loss:
        """Returns the loss of the head."""
        from tfft.losses.tagging import CrfLoss, TagCrossentropy

        return CrfLoss() if learned.settings["head"] == "crf" else TagCrossentropy()

    def metrics(self, outputs: Any, targets: Any, learned: Learned) -> EntityMetrics:
        """Counts entities over a whole split."""
        decoded = _decode(outputs, learned, targets)
        labels = np.array(learned.labels, dtype=object)
        predicted = RaggedRows(decoded.tags, outputs.rows.splits)
        return entity_metrics(
            [labels[row].tolist() for row in targets],
            [labels[row].tolist() for row in predicted],
            learned.settings["scheme"],
            loss=float(decoded.loss.sum() / max(len(targets.values), 1)),
        )

    def restore_metrics(self, plain: Mapping[str, Any]) -> EntityMetrics:
        """Returns the figures kept in a run directory."""
        return EntityMetrics(**plain)

    def baselines(
        self,
        train: tuple[TextExamples, Targets],
        test: tuple[TextExamples, Targets],
        learned: Learned,
        config: FitConfig,
    ) -> Mapping[str, EntityMetrics]:
        """Returns the figures of the most frequent tag of each word, and of a CRF over hand-made features."""
        from tfft.metrics.tagging_baselines import tagging_baselines

        found: Mapping[str, EntityMetrics] = tagging_baselines(
            train[0].columns[WORDS],
            train[0].columns[LEARNED_TAGS],
            test[0].columns[WORDS],
            test[0].columns[LEARNED_TAGS],
            learned.settings["scheme"],
            seed=config.seed,
        )
        return found

    def decode(self, outputs: Any, rows: EncodedRows, learned: Learned) -> list[TaggedText]:
        """Turns scores of words into words with tags, and entities."""
        places: WordPlaces = rows.context
        decoded = _decode(outputs, learned)
        scheme = learned.settings["scheme"]
        kinds = [tag.type for tag in (parse_tag(label, scheme) for label in learned.labels) if tag is not None]
        chances = np.exp(np.minimum(decoded.begin + decoded.end, 0.0))
        found = []
        for number, text in enumerate(places.texts):
            begin, end = places.splits[number], places.splits[number + 1]
            starts, ends = places.starts[begin:end].tolist(), places.ends[begin:end].tolist()
            words = tuple(
                TaggedWord(text[start:stop], learned.labels[tag], start, stop, chance)
                for start, stop, tag, chance in zip(
                    starts, ends, decoded.tags[begin:end].tolist(), chances[begin:end].tolist(), strict=True
                )
            )
            entities = tuple(
                Entity(text[starts[first] : ends[last]], kinds[tag], starts[first], ends[last], chance)
                for first, last, tag, chance in decoded.entities[number]
            )
            found.append(TaggedText(entities, words))
        return found

    def serve(self, outputs: tf.Tensor, context: Any, learned: Learned) -> dict[str, tf.Tensor]:
        """Returns words and entities of each text, filled up with "" and 0 to those of the longest one.

        For words: `word` and `tag`, string, `word_start` and `word_end`, int32, and `word_probability`, float32, each
        of shape `(batch, words)`; for entities: `entity_text`, `entity_type`, `entity_start`, `entity_end` and
        `entity_probability`, each of shape `(batch, entities)`.
        """
        from tfft.tasks._served_tags import served_tags

        return served_tags(outputs, context, learned)

    def served_outputs(self, predictions: Sequence[TaggedText], learned: Learned) -> dict[str, np.ndarray]:
        """Returns the tensors of `serve` for predictions of `decode`."""
        found = {}
        for name, field in (
            ("word", "text"), ("tag", "tag"), ("word_start", "start"), ("word_end", "end"),
            ("word_probability", "probability"),
        ):  # fmt: skip
            found[name] = _filled([[getattr(word, field) for word in item.words] for item in predictions], field)
        for field in ("text", "type", "start", "end", "probability"):
            rows = [[getattr(entity, field) for entity in item.entities] for item in predictions]
            found[f"entity_{field}"] = _filled(rows, field)
        return found

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short film opinions in which the thing and the opinion of it are entities."""
        opinions = ("wonderful", "moving", "funny", "brilliant", "charming", "dull", "awful", "boring", "weak", "silly")
        things = (["film"], ["plot"], ["film", "music"], ["cast"], ["film", "script"], ["ending"])
        rows = [
            (["the", *thing, "was", opinion], ["O", "B-THING", *["I-THING"] * (len(thing) - 1), "O", "B-OPINION"])
            for thing in things
            for opinion in opinions
        ]
        return pd.DataFrame(rows, columns=["tokens", "tags"])


@dataclasses.dataclass(frozen=True, eq=False)
class _Decoded:
    """Best tags of all examples, end to end.

    Attributes:
        tags: Int32 of shape `(words,)`.
        begin: Float32 of shape `(words,)`, as `DecodedTags` has it.
        end: Float32 of shape `(words,)`.
        loss: Negative log-likelihood of the true tags of each example; empty when these were not given.
        entities: First and last word, tag and probability of each entity, by example.
    """

    tags: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    loss: np.ndarray
    entities: list[list[tuple[int, int, int, float]]]


def _decode(outputs: SequenceOutputs, learned: Learned, targets: RaggedRows | None = None) -> _Decoded:
    """Decodes all examples, those of like length together."""
    import tensorflow as tf

    lengths = outputs.rows.lengths
    splits = outputs.rows.splits
    compute = _decoder(tuple(learned.labels), learned.settings["scheme"])
    tags = np.zeros(splits[-1], np.int32)
    begin, end = np.zeros(splits[-1], np.float32), np.zeros(splits[-1], np.float32)
    loss = np.zeros(len(lengths), np.float64)
    entities: list[list[tuple[int, int, int, float]]] = [[] for _ in lengths]
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), _ROWS_PER_CALL):
        rows = order[start : start + _ROWS_PER_CALL]
        width = max(int(lengths[rows].max()), 1)
        scores = np.zeros((len(rows), width, len(learned.labels)), np.float32)
        true = np.zeros((len(rows), width), np.int32)
        for place, row in enumerate(rows):
            scores[place, : lengths[row]] = outputs.rows.row(row)
            if targets is not None:
                true[place, : lengths[row]] = targets.row(row)
        found = compute(
            tf.constant(scores), tf.constant(lengths[rows], tf.int32), tf.constant(outputs.shared), tf.constant(true)
        )
        found = tf.nest.map_structure(lambda item: item.numpy(), found)
        best, begins, ends, losses, firsts, lasts, kinds, chances = found
        loss[rows] = losses
        for place, row in enumerate(rows):
            own = slice(splits[row], splits[row + 1])
            tags[own], begin[own], end[own] = (item[place, : lengths[row]] for item in (best, begins, ends))
            entities[row] = list(zip(*(item[place].tolist() for item in (firsts, lasts, kinds, chances)), strict=True))
    return _Decoded(tags, begin, end, loss, entities)


@functools.lru_cache(maxsize=8)
def _decoder(labels: tuple[str, ...], scheme: Any) -> Any:
    """Returns a graph from scores, lengths, shared scores and true tags to all of `_Decoded`."""
    import tensorflow as tf

    from tfft.layers.tag_decoding import decode_tags, find_entities, potentials_of, row_losses

    rules = tag_rules(labels, scheme)

    def compute(scores: tf.Tensor, lengths: tf.Tensor, shared: tf.Tensor, true: tf.Tensor) -> Any:
        potentials = potentials_of(scores, lengths, shared)
        decoded = decode_tags(potentials, rules)
        return (*decoded, row_losses(potentials, true), *find_entities(decoded, lengths, rules))

    count = len(labels)
    return tf.function(compute, autograph=False).get_concrete_function(
        tf.TensorSpec([None, None, count]), tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, count]),
        tf.TensorSpec([None, None], tf.int32),
    )  # fmt: skip


def _filled(rows: Sequence[Sequence[Any]], field: str) -> np.ndarray:
    """Returns rows as one array, filled up with "" or 0."""
    kinds: Mapping[str, tuple[Any, Any]] = {
        "start": (np.int32, 0),
        "end": (np.int32, 0),
        "probability": (np.float32, 0),
    }
    kind, fill = kinds.get(field, (object, ""))
    found = np.full((len(rows), max(map(len, rows), default=0)), fill, dtype=kind)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found


register_task("token_classification")(TokenClassification())
