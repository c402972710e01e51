"""Texts with two entities, which are marked for the model by punctuation that any tokenizer has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.core.entity_markers import entities_of
from tfft.core.errors import ConfigError
from tfft.data.feature_cache import FeatureCache
from tfft.data.schema import TextExamples
from tfft.encoding.base import EncodedRows, Served
from tfft.layers.marked_entities import CutTexts, cut_at_markers

#: What stands on both sides of the head entity, and of the tail entity.
SIGNS = ("@", "#")
#: Texts that are encoded at once.
_ROWS_PER_CALL = 1024
#: Tokens of both entities together, at least: one of each.
_LEAST_ROOM = 2
#: Before both entities, the first one, between, the second one, after both.
_PARTS = 5


class EntityTexts(NamedTuple):
    """The entities of texts, as they stand there.

    Attributes:
        heads: Strings, one a text: a list, or in a graph a tensor of shape `(batch,)`.
        tails: The same for the tail entities.
    """

    heads: Sequence[str] | tf.Tensor
    tails: Sequence[str] | tf.Tensor


class EncodedRelations(NamedTuple):
    """Texts as rows of tokens.

    Attributes:
        ids: Token ids, ragged int32 of shape `(batch, None)`.
        entity_positions: Position of the sign before the head entity and before the tail entity, int32 of shape
            `(batch, 2)`.
        full_lengths: Tokens that each row would have if nothing were cut, int32 of shape `(batch,)`.
        cut_inside: Whether tokens between the entities, or of an entity, were cut, bool of shape `(batch,)`.
    """

    ids: tf.RaggedTensor
    entity_positions: tf.Tensor
    full_lengths: tf.Tensor
    cut_inside: tf.Tensor


class RelationEncoding:
    """`before @ head @ between # tail # after`, with the entities in the order in which they stand in the text.

    Zhou and Chen 2022 (arXiv:2102.01373), "entity marker (punct)": no token is added to the vocabulary. A
    row is tokenized part by part, as if each part and each sign were set off by spaces; so a sign is the same tokens in
    every row, and no token holds parts of both.

    A row that is too long keeps both entities with their signs. It loses tokens at both ends first, so that what is
    left is around the entities; then, from the middle outwards, those between the entities; then the longer entity
    loses its end.
    """

    inputs = ("text",)

    def __init__(self, backbone: TextBackbone, *, sequence_length: int | None) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone.
            sequence_length: Longest row in tokens; None for what the backbone allows.

        Raises:
            ConfigError: When the backbone is causal, or there is no room for a token of each entity.
        """
        if backbone.causal:
            raise ConfigError(
                f"{backbone.preset!r} is causal: its tokens do not see what follows them, so what it says of the start "
                "of an entity knows nothing of the entity. Name an encoder, such as a BERT, RoBERTa or DeBERTa preset."
            )
        pieces = backbone.encoder(sequence_length)
        self._prefix = backbone.word_prefix
        signs = pieces.pieces(tf.constant([f"{self._prefix}{sign}" for sign in SIGNS])).to_list()
        self._signs = [ids or [backbone.unknown_id] for ids in signs]
        self._unknown = [
            sign for sign, ids in zip(SIGNS, self._signs, strict=True) if set(ids) <= {backbone.unknown_id}
        ]
        self._special = len(pieces.start_ids) + len(pieces.end_ids) + 2 * sum(map(len, self._signs))
        self._room = pieces.sequence_length - self._special
        if self._room < _LEAST_ROOM:
            raise ConfigError(
                f"sequence_length is {pieces.sequence_length}, of which {self._special} mark the start, the end and "
                f"both entities; a row needs at least {self._special + _LEAST_ROOM}."
            )
        self._pieces = pieces
        self.sequence_length = pieces.sequence_length
        self.tables: tf.Module = pieces

    @property
    def said(self) -> str | None:
        """Which signs the vocabulary lacks, and why nothing faster than KerasHub's tokenizer was used."""
        found = []
        if self._unknown:
            signs = " and ".join(map(repr, self._unknown))
            found.append(f"the vocabulary has no {signs} to mark entities with; the unknown token marks them")
        if self._pieces.reason is not None:
            found.append(f"tokenized with KerasHub's own layer: {self._pieces.reason}")
        return "; ".join(found) or None

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes marked texts; rows that are cut are counted.

        Args:
            examples: The examples; their texts are marked.
            console: Where progress and rows that are cut are said.
            what: Name of the split, for messages.

        Returns:
            The rows; their context are the entities.
        """
        parsed = [entities_of(text) for text in examples.texts]
        ids, lengths, full = ([np.empty(0, np.int32)] for _ in range(3))
        positions, inside = [np.empty((0, 2), np.int32)], [np.empty(0, bool)]
        total = len(examples)
        with console.progress(f"tokenizing {what}", total, "rows") as advance:
            for start in range(0, total, _ROWS_PER_CALL):
                texts = examples.texts[start : start + _ROWS_PER_CALL]
                if start == 0:
                    self._pieces.expect(sum(map(len, texts)) * total // len(texts))
                strings = tf.constant([text.encode("utf-8", "replace") for text in texts])
                found = self.join(cut_at_markers(strings))
                ids.append(found.ids.flat_values.numpy())
                lengths.append(found.ids.row_lengths().numpy().astype(np.int32))
                positions.append(found.entity_positions.numpy())
                full.append(found.full_lengths.numpy())
                inside.append(found.cut_inside.numpy())
                advance(len(texts))
        splits = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        features = {"token_ids": np.concatenate(ids), "segment_ids": np.zeros(splits[-1], np.int32)}
        cache = FeatureCache(features, splits, {"token_ids": self._pieces.pad_id})
        full_lengths, places = np.concatenate(full), tf.constant(np.concatenate(positions))
        truncated = np.flatnonzero(full_lengths > cache.lengths)
        self._say(console, what, total, len(truncated), int(np.concatenate(inside).sum()))

        @tf.autograph.experimental.do_not_convert
        def gather(rows: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
            return {**cache.gather(rows, width), "entity_positions": tf.gather(places, rows)}

        context = EntityTexts([text.head for text in parsed], [text.tail for text in parsed])
        return EncodedRows(gather, cache.lengths, full_lengths, truncated, context=context)

    def _say(self, console: Console, what: str, total: int, truncated: int, inside: int) -> None:
        if not truncated:
            return
        more = f"; {inside:,} of them lost tokens between the entities, or of an entity" if inside else ""
        console.say(
            f"{what}: {truncated:,} of {total:,} texts ({truncated / total:.1%}) are longer than "
            f"{self.sequence_length} tokens and were cut to what is around their entities{more}"
        )

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes marked texts in the graph."""
        cut = cut_at_markers(inputs["text"])
        found = self.join(cut)
        features = {**self._pieces.pad(found.ids), "entity_positions": found.entity_positions}
        return Served(features, EntityTexts(cut.heads, cut.tails))

    def join(self, cut: CutTexts) -> EncodedRelations:
        """Tokenizes the parts of texts and puts them into rows.

        Args:
            cut: The parts.

        Returns:
            The rows.
        """
        pieces = self._pieces.pieces(tf.reshape(self._spaced(cut.parts), [-1]))
        lengths = tf.reshape(tf.cast(pieces.row_lengths(), tf.int32), [-1, _PARTS])
        begins = tf.reshape(tf.cast(pieces.row_starts(), tf.int32), [-1, _PARTS])
        before, first, between, second, after = tf.unstack(lengths, axis=1)
        first_kept, second_kept = _shared(first, second, self._room)
        room = self._room - first_kept - second_kept
        between_kept = tf.minimum(between, room)
        before_kept, after_kept = _shared(before, after, room - between_kept)
        half = (between_kept + 1) // 2
        rest = between_kept - half

        def taken(part: int, skipped: tf.Tensor | int, kept: tf.Tensor) -> tf.RaggedTensor:
            start = begins[:, part] + skipped
            places = tf.ragged.range(start, start + kept)
            return places.with_flat_values(tf.gather(pieces.flat_values, places.flat_values))

        signs = tf.ragged.constant(self._signs, tf.int32)
        first_sign, second_sign = (tf.gather(signs, tf.where(cut.head_first, *numbers)) for numbers in ((0, 1), (1, 0)))
        rows = tf.shape(lengths)[0]
        ids = tf.concat(
            [
                _repeated(self._pieces.start_ids, rows),
                taken(0, before - before_kept, before_kept),
                first_sign,
                taken(1, 0, first_kept),
                first_sign,
                taken(2, 0, half),
                taken(2, between - rest, rest),
                second_sign,
                taken(3, 0, second_kept),
                second_sign,
                taken(4, 0, after_kept),
                _repeated(self._pieces.end_ids, rows),
            ],
            axis=1,
        )
        place = len(self._pieces.start_ids) + before_kept
        sign_lengths = tf.cast(first_sign.row_lengths(), tf.int32)
        second_place = place + 2 * sign_lengths + first_kept + between_kept
        order = tf.where(cut.head_first[:, tf.newaxis], [[0, 1]], [[1, 0]])
        return EncodedRelations(
            ids,
            tf.gather(tf.stack([place, second_place], axis=1), order, batch_dims=1),
            tf.reduce_sum(lengths, axis=1) + self._special,
            first_kept + between_kept + second_kept < first + between + second,
        )

    def _spaced(self, parts: tf.Tensor) -> tf.Tensor:
        """Returns parts without space around them, and where the tokenizer tells words by it, with one before."""
        parts = tf.strings.strip(parts)
        if not self._prefix:
            return parts
        as_they_are = tf.equal(parts, "") | tf.constant([[True] + [False] * (_PARTS - 1)])
        return tf.where(as_they_are, parts, tf.strings.join([self._prefix, parts]))


def _shared(one: tf.Tensor, other: tf.Tensor, room: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how much of two is kept where there is room for less: the longer one loses until they are alike."""
    one_kept = tf.minimum(one, tf.maximum(room - other, (room + 1) // 2))
    return one_kept, tf.minimum(other, tf.maximum(room - one, room // 2))


def _repeated(ids: Sequence[int], rows: tf.Tensor) -> tf.Tensor:
    return tf.tile(tf.constant([list(ids)], tf.int32, [1, len(ids)]), [rows, 1])
