"""Texts in which some tokens are hidden: drawn at random where texts are whole, or where a mask is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.console import Console
from tfft.data.hidden_tokens import HiddenTokens
from tfft.data.masked_texts import MASKS, WHOLE
from tfft.data.pipeline import BatchDraw
from tfft.data.ragged_rows import RaggedRows
from tfft.data.schema import TextExamples
from tfft.data.token_cache import ROWS_PER_CALL, TokenCache, encode_texts
from tfft.encoding.base import EncodedRows, Served
from tfft.layers.masked_lm_head import tied_embedding
from tfft.layers.readable_tokens import readable_tokens
from tfft.layers.texts_with_masks import encode_with_masks
from tfft.layers.token_masking import NONE, TokenMasking, masked_positions, masking_vocabulary

#: Sets the masks that figures are computed with apart from those of training.
_FIGURES = 0x4D4C


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedRows:
    """What is known of encoded texts besides the model's inputs.

    Attributes:
        vocabulary: The token of each id, as people read it.
        targets: The tokens of each row, and which of them are hidden; labels are -1 where a mask is written.
        windows: Rows of each text, int of shape `(texts,)`; None when each is one row.
    """

    vocabulary: Sequence[str]
    targets: HiddenTokens
    windows: np.ndarray | None = None


class ServedMasks(NamedTuple):
    """The masks of a request, in the graph.

    Attributes:
        vocabulary: The token of each id, strings of shape `(vocabulary_size,)`.
        masks: Masks of each row, int32 of shape `(batch,)`.
    """

    vocabulary: tf.Tensor
    masks: tf.Tensor


class MaskedTextEncoding:
    """One text an example, one row a text.

    Of whole texts, tokens are hidden by `TokenMasking`: anew for each training batch, and once for figures, by the
    run's seed. In other texts a mask is written as `[MASK]` or `<mask>`, whatever the vocabulary calls it; white space
    before it belongs to it, as in RoBERTa's tokenizer.
    """

    inputs = ("text",)

    def __init__(self, backbone: TextBackbone, *, sequence_length: int | None, seed: int) -> None:
        """Creates the encoding.

        Args:
            backbone: The backbone.
            sequence_length: Longest row in tokens; None for what the backbone allows.
            seed: Decides which tokens are hidden for figures.

        Raises:
            PresetError: When the backbone is causal, its embeddings are no output weights, or it has no mask token.
        """
        tied_embedding(backbone.model, preset=backbone.preset, causal=backbone.causal)
        self._vocabulary = masking_vocabulary(backbone.tokenizer)
        self._masking = TokenMasking(self._vocabulary)
        self._readable = readable_tokens(backbone.tokenizer)
        self._encoder = backbone.encoder(sequence_length)
        self._seed = seed
        self.sequence_length = self._encoder.sequence_length
        self.tables: tf.Module = self._encoder

    @property
    def said(self) -> str | None:
        """Why nothing faster than KerasHub's tokenizer was used, if that was asked for."""
        reason = self._encoder.reason
        return None if reason is None else f"tokenized with KerasHub's own layer: {reason}"

    def encode(self, examples: TextExamples, console: Console, *, what: str) -> EncodedRows:
        """Encodes whole texts, of which tokens are hidden, or texts with masks."""
        if WHOLE in examples.columns:
            return self._whole(examples.texts, console, what)
        cache = self._with_masks(examples.texts, console, what)
        hidden = _hidden(cache.lengths, np.asarray(cache.ids) == self._vocabulary.mask_id, NONE, cache.ids)
        return self._rows(cache, hidden)

    def _whole(self, texts: Sequence[str], console: Console, what: str) -> EncodedRows:
        """Encodes whole texts."""
        cache = encode_texts(texts, self._encoder, console, what=what)
        return self._rows(cache, self._draw_once(cache))

    def _rows(self, cache: TokenCache, hidden: RaggedRows) -> EncodedRows:
        tokens = RaggedRows(np.asarray(cache.ids), cache.splits)
        labels = RaggedRows(hidden.values[:, 1], hidden.splits)
        return EncodedRows(
            gather=self._gather(cache, hidden),
            lengths=cache.lengths,
            full_lengths=cache.full_lengths,
            truncated=cache.truncated,
            items=hidden.lengths,
            cache=cache,
            context=MaskedRows(self._readable, HiddenTokens(tokens, labels, self._vocabulary.ordinary)),
        )

    def batch_draw(self, cache: TokenCache) -> BatchDraw:
        """Returns the function that hides tokens of a training batch, each time others.

        Args:
            cache: The tokens of the training rows.

        Returns:
            From the rows of a batch to inputs, targets and the number of hidden tokens. The same rows and seed give
            the same masks, however the batch is cut.
        """
        share = self._masking.options.share

        def draw(batch: tf.Tensor, places: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> tuple[Any, ...]:
            masked = self._masking(cache.gather(batch), seed)
            # As many places as a row of this width may need, so that there is one shape for each width.
            slots = tf.maximum(tf.cast(tf.round(share * tf.cast(width, tf.float64)), tf.int32), 1)
            positions, labels = masked_positions(masked.labels, slots)
            units = tf.reduce_sum(tf.cast(labels != NONE, tf.float32))
            features = self._features(cache, tf.gather(batch, places), tf.gather(masked.ids, places), width)
            inputs = {**features, "masked_positions": tf.gather(positions, places)}
            return inputs, tf.gather(labels, places), units

        return tf.autograph.experimental.do_not_convert(draw)  # type: ignore[no-any-return]

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> Served:
        """Encodes texts with masks, in the graph."""
        ids, _ = self._encode_masks(inputs["text"])
        features = self._encoder.pad(ids)
        masks = tf.where(ids.flat_values == self._vocabulary.mask_id)[:, 0]
        rows = tf.gather(ids.value_rowids(), masks)
        places = masks - tf.gather(ids.row_starts(), rows)
        own = tf.RaggedTensor.from_value_rowids(tf.cast(places, tf.int32), rows, nrows=ids.nrows(), validate=False)
        positions = own.to_tensor(NONE)
        features["masked_positions"] = tf.ensure_shape(positions, [None, None])
        features["masked_labels"] = tf.fill(tf.shape(positions), NONE)
        context = ServedMasks(tf.constant(self._readable), tf.cast(own.row_lengths(), tf.int32))
        return Served(features, context)

    def _features(
        self, cache: TokenCache, rows: tf.Tensor, ids: tf.RaggedTensor, width: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Pads rows of a cache, with these tokens in the place of their own."""
        del cache, rows
        return self._encoder.pad(ids, width)

    def _gather(self, cache: TokenCache, hidden: RaggedRows) -> Any:
        @tf.autograph.experimental.do_not_convert
        def gather(rows: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
            features = self._features(cache, rows, cache.gather(rows), width)
            own = tf.gather(tf.RaggedTensor.from_row_splits(hidden.values, hidden.splits, validate=False), rows)
            cells = tf.stack([own.value_rowids(), tf.cast(own.flat_values[:, 0], tf.int64)], axis=1)
            features["token_ids"] = tf.tensor_scatter_nd_update(features["token_ids"], cells, own.flat_values[:, 2])
            table = tf.ensure_shape(own.to_tensor(NONE), [None, None, 3])
            return {**features, "masked_positions": table[..., 0], "masked_labels": table[..., 1]}

        return gather

    def _draw_once(self, cache: TokenCache) -> RaggedRows:
        """Returns position, id and what is shown in its place of each hidden token, int32 of shape `(hidden, 3)`."""
        specs = (tf.RaggedTensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int32))
        draw = tf.function(self._masking, input_signature=specs, autograph=False)
        shown, labels = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for start in range(0, len(cache.lengths), ROWS_PER_CALL):
            rows = tf.range(start, min(start + ROWS_PER_CALL, len(cache.lengths)), dtype=tf.int64)
            drawn = draw(cache.gather(rows), tf.constant([self._seed, _FIGURES + start]))
            shown.append(drawn.ids.flat_values.numpy())
            labels.append(drawn.labels.flat_values.numpy())
        all_labels = np.concatenate(labels)
        return _hidden(cache.lengths, all_labels != NONE, all_labels, np.concatenate(shown))

    def _with_masks(self, texts: Sequence[str], console: Console, what: str) -> TokenCache:
        ids, lengths, full = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        with console.progress(f"tokenizing {what}", len(texts), "rows") as advance:
            for start in range(0, len(texts), ROWS_PER_CALL):
                chunk = list(texts[start : start + ROWS_PER_CALL])
                found, full_lengths = self._encode_masks(
                    tf.constant([text.encode("utf-8", "replace") for text in chunk])
                )
                ids.append(found.flat_values.numpy())
                lengths.append(found.row_lengths().numpy())
                full.append(full_lengths.numpy())
                advance(len(chunk))
        splits = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        cache = TokenCache(np.concatenate(ids), splits, np.concatenate(full))
        if len(cache.truncated):
            console.say(
                f"{what}: {len(cache.truncated):,} of {len(texts):,} rows are longer than {self.sequence_length} "
                "tokens and were truncated, masks beyond that included"
            )
        return cache

    def _encode_masks(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        return encode_with_masks(self._encoder, texts, pattern=MASKS, mask_id=self._vocabulary.mask_id)


def _hidden(lengths: np.ndarray, chosen: np.ndarray, labels: Any, shown: Any) -> RaggedRows:
    """Returns position in the row, label, and what is shown instead of each chosen token, int32 of shape `(_, 3)`."""
    flat = np.flatnonzero(chosen)
    rows = np.repeat(np.arange(len(lengths)), lengths)[flat]
    places = flat - (np.cumsum(lengths) - lengths)[rows]
    every = [places, np.broadcast_to(labels, chosen.shape)[flat], np.asarray(shown)[flat]]
    return RaggedRows.from_lengths(np.stack(every, axis=1).astype(np.int32), np.bincount(rows, minlength=len(lengths)))
