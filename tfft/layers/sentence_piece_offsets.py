"""Where in the text the tokens of a SentencePiece tokenizer come from.

tensorflow-text says from which byte to which each piece goes, which is not enough: a character that is normalized to
several ("™" to "TM") may be cut in two, and what is left out in front of a piece counts as part of it. So a second
model with the same normalizer cuts every text into single bytes: that tells which character each byte of the normalized
text comes from, and the tokens are laid over these bytes.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.layers.character_spans import TokenSpans, characters, exclusive_sum

_NUMBERS = itertools.count()
_SPACE = "▁".encode()  # what SentencePiece writes for white space


@dataclasses.dataclass(frozen=True, eq=False)
class SentencePiece:
    """A SentencePiece tokenizer, as far as its tokens depend on it.

    Attributes:
        proto: Its serialized model.
        ids: The tokenizer's id for each id of the model, int32 of shape `(model_size,)`.
        trim_offsets: Whether spans leave out the white space that tokens begin with. In Hugging Face's tokenizers those
            of XLM-RoBERTa, ALBERT and T5 do, those of DeBERTa-v3 do not.
    """

    proto: bytes
    ids: np.ndarray
    trim_offsets: bool


class SentencePieceOffsets(tf.Module):
    """From strings to token ids with spans, as Hugging Face's `Unigram` with `Metaspace` has them.

    The white space that SentencePiece puts before a text has the span of the first character. Of characters that are
    composed to one ("e" and an accent), the first one has the span.
    """

    def __init__(self, sentence_piece: SentencePiece) -> None:
        """Builds both models.

        Args:
            sentence_piece: What the tokenizer does.
        """
        import tensorflow_text

        super().__init__(name="sentence_piece_offsets")
        protos = _protos()
        model = protos.ModelProto.FromString(sentence_piece.proto)
        kinds = protos.ModelProto.SentencePiece
        self._trim_offsets = sentence_piece.trim_offsets
        self._has_prefix = model.normalizer_spec.add_dummy_prefix
        self._ids = sentence_piece.ids
        self._sizes = np.array(
            [1 if piece.type == kinds.BYTE else len(piece.piece.encode("utf-8")) for piece in model.pieces], np.int32
        )
        self._unknown = next(number for number, piece in enumerate(model.pieces) if piece.type == kinds.UNKNOWN)
        self._sizes[self._unknown] = 0
        # When a SavedModel is loaded, models that were made under the same name become one.
        name = f"offsets_{next(_NUMBERS)}"
        self._pieces, self._bytes = (
            tensorflow_text.SentencepieceTokenizer(model=proto, out_type=tf.int32, name=f"{name}_{part}")
            for part, proto in {"pieces": sentence_piece.proto, "bytes": _byte_model(model)}.items()
        )

    def __call__(self, texts: tf.Tensor) -> TokenSpans:
        """Tokenizes strings `(batch,)`."""
        clean = tf.strings.regex_replace(texts, r"\x00", "")
        pieces, _, ends = self._pieces.tokenize_with_offsets(clean)
        values, origins, _ = self._bytes.tokenize_with_offsets(clean)
        found = characters(texts)
        sizes = tf.where(found.code_points.flat_values == 0, 0, found.sizes.flat_values)
        bytes_before = exclusive_sum(tf.strings.length(clean))

        def byte(places: tf.RaggedTensor) -> tf.Tensor:  # counted through the batch
            return tf.cast(places.flat_values, tf.int32) + tf.gather(bytes_before, places.value_rowids())

        origin = byte(origins)
        source = tf.searchsorted(exclusive_sum(sizes)[:-1], origin, side="right") - 1
        source -= tf.gather(tf.cast(found.code_points.row_splits, tf.int32), origins.value_rowids())
        source = self._with_spaces(values, source)

        units_in_ends = tf.searchsorted(origin, byte(ends), side="left")
        end = self._ends(pieces, units_in_ends, tf.cast(values.row_splits, tf.int32))
        first_in_row = tf.gather(tf.cast(values.row_splits, tf.int32), pieces.value_rowids())
        begin = tf.maximum(tf.concat([[0], end[:-1]], axis=0), first_in_row)
        # A row that does not add up still has spans inside of it.
        last_in_row = tf.gather(tf.cast(values.row_splits, tf.int32), pieces.value_rowids() + 1) - 1
        begin = tf.minimum(begin, last_in_row)
        starts = tf.gather(source, begin)
        stops = tf.gather(source, tf.clip_by_value(end - 1, begin, last_in_row)) + 1
        ids = tf.gather(self._ids, pieces.flat_values)
        return TokenSpans(*(pieces.with_flat_values(value) for value in (ids, starts, stops)))

    def _with_spaces(self, values: tf.RaggedTensor, source: tf.Tensor) -> tf.Tensor:
        """Gives white space the source that it has in Hugging Face's tokenizers."""
        count = tf.size(source)
        value, lead = values.flat_values - 1, _SPACE[0]
        padded = tf.concat([value, [0, 0]], axis=0)
        leads = (value == lead) & (padded[1:-1] == _SPACE[1]) & (padded[2:] == _SPACE[2])
        offset = tf.cast(leads, tf.int32)
        offset = offset + 2 * tf.cast(tf.roll(leads, 1, 0), tf.int32) + 3 * tf.cast(tf.roll(leads, 2, 0), tf.int32)
        rows = values.value_rowids()
        splits = tf.cast(values.row_splits, tf.int32)
        after = tf.range(count) + 4 - offset  # the first byte that follows the white space
        after = tf.minimum(after, tf.gather(splits, rows + 1) - 1)
        following = tf.gather(source, after)
        if self._trim_offsets:
            return tf.where(offset > 0, following, source)
        inner = tf.maximum(source, following - 1)
        is_prefix = (tf.range(count) - tf.gather(splits, rows) < len(_SPACE)) & self._has_prefix
        return tf.where(offset > 0, tf.where(is_prefix, following, inner), source)

    def _ends(self, pieces: tf.RaggedTensor, units_in_ends: tf.Tensor, first_units: tf.Tensor) -> tf.Tensor:
        """Returns the unit after each token: the unknown token is as long as its bytes say, others as they are."""
        sums = exclusive_sum(tf.gather(self._sizes, pieces.flat_values))
        rows = pieces.value_rowids()
        is_unknown = pieces.flat_values == self._unknown
        first_in_row = tf.gather(pieces.row_splits, rows)
        begins = tf.gather(first_units, rows) - tf.gather(sums, first_in_row)
        # Where a token ends inside of what a character became, its bytes end before the character: too early. So all
        # tokens up to the next unknown one are looked at, which lie side by side: the latest of their ends is right.
        number = tf.cumsum(tf.cast(is_unknown, tf.int32))
        segment = number + tf.cast(rows, tf.int32)  # another one in each row
        segments = tf.size(number) + tf.size(first_units)
        shifts = tf.math.unsorted_segment_max(units_in_ends - sums[1:], segment, segments)
        before_row = tf.gather(exclusive_sum(tf.cast(is_unknown, tf.int32)), first_in_row)
        return sums[1:] + tf.where(number > before_row, tf.gather(shifts, segment), begins)


def _protos() -> Any:
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2


def _byte_model(model: Any) -> bytes:
    """Returns a model that normalizes as `model` does and cuts into bytes: id 1 is byte 0, and so on."""
    protos = _protos()
    made = protos.ModelProto()
    made.normalizer_spec.CopyFrom(model.normalizer_spec)
    made.trainer_spec.model_type = protos.TrainerSpec.CHAR
    made.trainer_spec.byte_fallback = True
    made.trainer_spec.unk_id, made.trainer_spec.bos_id, made.trainer_spec.eos_id = 0, -1, -1
    kinds = protos.ModelProto.SentencePiece
    made.pieces.add(piece="<unk>", score=0.0, type=kinds.UNKNOWN)
    for byte in range(256):
        made.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=kinds.BYTE)
    return bytes(made.SerializeToString())
