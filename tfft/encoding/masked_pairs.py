"""Documents as pairs of segments in which some tokens are hidden: the rows that BERT and ALBERT were pretrained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.core.errors import DataError, PresetError
from tfft.data.hidden_tokens import PAIRS, TOKENS
from tfft.data.pipeline import BatchDraw
from tfft.data.ragged_rows import RaggedRows
from tfft.data.sentence_pairs import SentencePairOptions, SentencePairs, sentence_pairs
from tfft.data.sentences import sentences
from tfft.data.token_cache import ROWS_PER_CALL, TokenCache
from tfft.encoding.base import EncodedRows, Served
from tfft.encoding.masked_texts import MaskedTextEncoding
from tfft.layers.token_masking import NONE

#: A document as the token ids of its sentences.
_Document = list[list[int]]


@dataclasses.dataclass(frozen=True)
class PairCache(TokenCache):
    """Rows of one or two segments.

    Attributes:
        first_lengths: Tokens of each row before its second segment, int64 of shape `(rows,)`.
        orders: 0 where the second segment follows the first in its document, 1 where it does not, -1 where there is
            none; int32 of shape `(rows,)`.
    """

    first_lengths: np.ndarray
    orders: np.ndarray


class MaskedPairEncoding(MaskedTextEncoding):
    """One document an example, a row for each pair of segments that is cut from it.

    The pairs are those of `sentence_pairs`, cut once by the run's seed from the documents of the split; tokens are
    hidden as in any text. A document without a pair is one row of one segment. A text with masks, as `predict` takes
    it, is one row too.
    """

    def __init__(
        self,
        backbone: TextBackbone,
        *,
        sequence_length: int | None,
        seed: int,
        objective: Literal["next_sentence", "sentence_order"],
    ) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone.
            sequence_length: Longest row in tokens; None for what the backbone allows.
            seed: Decides how pairs are cut, and which tokens are hidden for figures.
            objective: What is to be told of a pair.

        Raises:
            PresetError: When the backbone is no masked language model, or has no token to put between two segments.
            ConfigError: When there is no room for a token of each segment.
        """
        super().__init__(backbone, sequence_length=sequence_length, seed=seed)
        if not backbone.separator_ids:
            raise PresetError(
                f"The tokenizer of {backbone.preset!r} has no token to put between two sentences. Use "
                "sentence_objective='none', or another preset, such as BERT or ALBERT."
            )
        self._options = SentencePairOptions(
            objective=objective,
            sequence_length=self.sequence_length,
            start_ids=self._encoder.start_ids,
            between_ids=backbone.separator_ids,
            end_ids=self._encoder.end_ids,
        )
        self._second = min(backbone.num_segments - 1, 1)
        # As inside a text, also at its beginning: otherwise the first token would tell the order.
        self._prefix = backbone.word_prefix

    def batch_draw(self, cache: TokenCache) -> BatchDraw:
        """Returns the function that hides tokens of a training batch, each time others.

        Args:
            cache: The tokens of the training rows.

        Returns:
            From the rows of a batch to inputs, targets and the number of hidden tokens. The targets are those of
            `JointLoss`: divided by the number of hidden tokens, the losses of pairs give their mean over the pairs of
            the whole batch, however it is cut.
        """
        if not isinstance(cache, PairCache):
            raise TypeError("Training is on pairs of segments.")
        draw = super().batch_draw(cache)

        def draw_pairs(batch: tf.Tensor, places: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> tuple[Any, ...]:
            inputs, labels, units = draw(batch, places, width, seed)
            orders = tf.gather(cache.orders, batch)
            pairs = tf.reduce_sum(tf.cast(orders != NONE, tf.float32))
            own = tf.gather(orders, places)
            ones = tf.ones_like(own, tf.float32)
            scale = tf.maximum(units, 1.0) / tf.maximum(pairs, 1.0)
            return inputs, {TOKENS: (labels, ones), PAIRS: (own, ones * scale)}, units

        return tf.autograph.experimental.do_not_convert(draw_pairs)  # type: ignore[no-any-return]

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes texts with masks, in the graph."""
        served = super().serve(inputs)
        rows = tf.shape(served.features["token_ids"])[:1]
        return served._replace(features={**served.features, "pair_labels": tf.fill(rows, NONE)})

    def _features(
        self, cache: TokenCache, rows: tf.Tensor, ids: tf.RaggedTensor, width: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        features = super()._features(cache, rows, ids, width)
        if not isinstance(cache, PairCache):
            return {**features, "pair_labels": tf.fill(tf.shape(rows), NONE)}
        first = tf.sequence_mask(tf.gather(cache.first_lengths, rows), width, dtype=tf.int32)
        segments = (features["padding_mask"] - first) * self._second
        return {**features, "segment_ids": segments, "pair_labels": tf.gather(cache.orders, rows)}

    def _whole(self, texts: Sequence[str], console: Console, what: str) -> EncodedRows:
        documents = self._tokenized(texts, console, what)
        try:
            pairs = sentence_pairs(documents, self._options, seed=self._seed, epoch=0)
        except DataError as error:
            raise DataError(f"sentence_objective, {what}: {error}") from error
        counts = np.bincount(pairs.documents, minlength=len(documents))
        alone = np.flatnonzero(counts == 0)
        special = len(self._encoder.start_ids) + len(self._encoder.end_ids)
        full_lengths = np.array([special + sum(map(len, document)) for document in documents], np.int32)
        cache = self._cache(documents, pairs, alone, full_lengths)
        truncated = alone[full_lengths[alone] > self.sequence_length]
        self._say(documents, pairs, alone, truncated, console, what)
        rows = self._rows(cache, self._draw_once(cache))
        windows = np.maximum(counts, 1)
        orders = RaggedRows.from_lengths(cache.orders, np.ones(len(cache.orders), np.int64))
        targets = dataclasses.replace(rows.context.targets, orders=orders)
        context = dataclasses.replace(rows.context, targets=targets, windows=windows)
        return dataclasses.replace(
            rows, full_lengths=full_lengths, truncated=truncated, windows=windows, context=context
        )

    def _tokenized(self, texts: Sequence[str], console: Console, what: str) -> list[_Document]:
        cut = [sentences(text) for text in texts]
        flat = [f"{self._prefix}{sentence}".encode("utf-8", "replace") for document in cut for sentence in document]
        self._encoder.expect(sum(map(len, flat)))
        found: list[list[int]] = []
        with console.progress(f"tokenizing {what}", len(flat), "sentences") as advance:
            for start in range(0, len(flat), ROWS_PER_CALL):
                chunk = flat[start : start + ROWS_PER_CALL]
                found += self._encoder.pieces(tf.constant(chunk)).to_list()
                advance(len(chunk))
        ends = np.cumsum([len(document) for document in cut])
        return [
            [sentence for sentence in found[end - len(document) : end] if sentence]
            for document, end in zip(cut, ends, strict=True)
        ]

    def _cache(
        self, documents: Sequence[_Document], pairs: SentencePairs, alone: np.ndarray, full_lengths: np.ndarray
    ) -> PairCache:
        """Puts the rows of all documents end to end, in the order of the documents."""
        start, end = self._encoder.start_ids, self._encoder.end_ids
        room = self.sequence_length - len(start) - len(end)
        whole = [[token for sentence in documents[place] for token in sentence] for place in alone]
        rows = [*pairs.ids, *([*start, *tokens[:room], *end] for tokens in whole)]
        second = np.array([*map(sum, pairs.segment_ids), *[0] * len(alone)], np.int64)
        orders = np.concatenate([pairs.labels, np.full(len(alone), NONE, np.int32)])
        owners = np.concatenate([pairs.documents, alone])
        order = np.argsort(owners, kind="stable")
        lengths = np.array([len(row) for row in rows], np.int64)
        kept = RaggedRows.from_rows([np.array(rows[row], np.int32) for row in order], np.empty(0, np.int32))
        full = np.where(orders == NONE, full_lengths[owners], lengths)
        return PairCache(kept.values, kept.splits, full[order], (lengths - second)[order], orders[order])

    def _say(
        self,
        documents: Sequence[_Document],
        pairs: SentencePairs,
        alone: np.ndarray,
        truncated: np.ndarray,
        console: Console,
        what: str,
    ) -> None:
        parts = [f"{len(pairs.ids):,} pairs of segments from {len(documents) - len(alone):,} documents"]
        if len(alone):
            parts.append(f"{len(alone):,} documents of at most one sentence are rows without a pair")
        if len(truncated):
            parts.append(f"{len(truncated):,} of these have more than {self.sequence_length} tokens and were truncated")
        lost = pairs.left_out - sum(bool(documents[place]) for place in alone)
        if lost:
            total = sum(map(len, documents))
            parts.append(f"{lost:,} of {total:,} sentences are in no row: the last of a document, with none to follow")
        console.say(f"{what}: {'; '.join(parts)}")
