"""Tokenizing texts in which masks are written, in the graph."""

from __future__ import annotations

import tensorflow as tf

from tfft.layers.text_encoder import TextEncoder

#: What stands for a mask while a text is taken apart; tokenizers of texts drop this character.
_SIGN = "\0"


def encode_with_masks(
    encoder: TextEncoder, texts: tf.Tensor, *, pattern: str, mask_id: int
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Encodes texts as `TextEncoder.encode` does, with the mask token wherever a mask is written.

    What stands between masks is tokenized by itself. ASCII white space before a mask belongs to the mask, as it does
    to `<mask>` in RoBERTa's tokenizer.

    Args:
        encoder: The backbone's encoder.
        texts: Strings of shape `(batch,)`.
        pattern: How masks are written, an expression of RE2.
        mask_id: Id of the mask token.

    Returns:
        Token ids, a ragged int32 of shape `(batch, None)`, and the length in tokens that each row would have without
        truncation, int32 of shape `(batch,)`.
    """
    plain = tf.strings.regex_replace(texts, r"\x00", "")
    parts = tf.strings.split(tf.strings.regex_replace(plain, rf"\s*(?:{pattern})", _SIGN), _SIGN)
    # A mask after each part but the last of its row.
    numbers = tf.range(tf.size(parts.flat_values, tf.int64))
    counts = tf.cast(numbers + 1 < tf.gather(parts.row_limits(), parts.value_rowids()), tf.int64)
    masks = tf.fill([tf.reduce_sum(counts)], tf.constant(mask_id, tf.int32))
    ended = tf.concat(
        [encoder.pieces(parts.flat_values), tf.RaggedTensor.from_row_lengths(masks, counts, validate=False)], axis=1
    )
    tokens = tf.RaggedTensor.from_row_splits(ended, parts.row_splits, validate=False).merge_dims(1, 2)
    start, end = encoder.start_ids, encoder.end_ids
    rows = tf.cast(tokens.nrows(), tf.int32)
    before, after = (tf.tile(tf.constant([list(ids)], tf.int32, [1, len(ids)]), [rows, 1]) for ids in (start, end))
    special = len(start) + len(end)
    kept = tokens[:, : encoder.sequence_length - special]
    return tf.concat([before, kept, after], axis=1), tf.cast(tokens.row_lengths(), tf.int32) + special
