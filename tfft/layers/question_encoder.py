"""From questions and contexts to windows of tokens, in the graph: nothing of a context is lost, however long it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfft.layers.character_spans import exclusive_sum
from tfft.layers.text_encoder import TextEncoder
from tfft.layers.token_offsets import WithOffsets

#: No text is truncated before it is cut into windows.
_WHOLE_TEXT = 2**31 - 1
_TOKENS = tf.RaggedTensorSpec([None, None], tf.int32, 1, tf.int64)


class QuestionWindows(NamedTuple):
    """Questions with their contexts as windows of tokens; the windows of a row follow each other.

    The ragged values are int32 of shape `(windows, None)`, all with the same row splits.

    Attributes:
        ids: Token ids: start, question, separator, a part of the context, end.
        segment_ids: Segment of each token.
        context_starts: Place in the context, in characters, of the first character of each token; 0 outside of it.
        context_ends: Place after the last character of each token; 0 outside of the context.
        in_context: 1 for tokens of the context, else 0.
        first_tokens: Number of each window's first token of the context among all tokens of that context, int32 of
            shape `(windows,)`.
        windows: Windows of each row, int32 of shape `(rows,)`; at least one.
        lost_question_tokens: Tokens that were cut off from the question of each row, int32 of shape `(rows,)`.
    """

    ids: tf.RaggedTensor
    segment_ids: tf.RaggedTensor
    context_starts: tf.RaggedTensor
    context_ends: tf.RaggedTensor
    in_context: tf.RaggedTensor
    first_tokens: tf.Tensor
    windows: tf.Tensor
    lost_question_tokens: tf.Tensor


class QuestionEncoder(tf.Module):
    """Tokenizes questions and contexts, and cuts contexts that are too long into windows that overlap.

    Each window holds the whole question and as much of the context as fits. The last window of a row ends with the
    context, and begins as early as it can; apart from that, windows are those of Hugging Face's tokenizers with
    `truncation="only_second"` and `stride=overlap`, whose last window is shorter.

    Example:
        >>> encoder = QuestionEncoder(
        ...     lambda: token_offsets(tokenizer, segmentation), start_ids=[101], separator_ids=[102], end_ids=[102],
        ...     pad_id=0, context_segment_id=1, sequence_length=384, overlap=128, max_question_tokens=64,
        ... )  # RoBERTa has separator_ids=[2, 2] and context_segment_id=0
        >>> windows = encoder.encode(tf.constant(["Who wrote it?"]), tf.constant(["Mary Shelley wrote it."]))
        >>> features = encoder.pad(windows.ids, windows.segment_ids)
    """

    def __init__(
        self,
        offsets: Callable[[], WithOffsets | str],
        *,
        start_ids: Sequence[int],
        separator_ids: Sequence[int],
        end_ids: Sequence[int],
        pad_id: int,
        context_segment_id: int,
        sequence_length: int,
        overlap: int,
        max_question_tokens: int,
        renew: Callable[[], None] | None = None,
    ) -> None:
        """Creates an encoder.

        Args:
            offsets: Makes the tokenizer that gives ids and spans, or says why there is none; called by the first
                `encode`.
            start_ids: Ids put before the question, for instance of `[CLS]`.
            separator_ids: Ids put between question and context, for instance of `[SEP]`.
            end_ids: Ids put after the context.
            pad_id: Id that fills windows up to the width of their batch.
            context_segment_id: Segment of the context and of the end: 1 for BERT, 0 for backbones without segments.
                That of all before is 0.
            sequence_length: Longest window in tokens, everything included.
            overlap: Tokens of the context that two windows that follow each other share; the last two may share more.
            max_question_tokens: Longest question; the tokens after that are cut off, and counted.
            renew: Makes the tables of the tokenizer again, as in `TextEncoder`.

        Raises:
            ValueError: When there is no start token, no room for a question, or beside the longest question windows
                would not get on.
        """
        super().__init__(name="question_encoder")
        self.texts = TextEncoder(
            lambda texts: self.texts.encode_with_offsets(texts).ids,
            start_ids=(),
            end_ids=(),
            pad_id=pad_id,
            sequence_length=_WHOLE_TEXT,
            offsets=offsets,
            renew=renew,
        )
        self.start_ids, self.separator_ids, self.end_ids = tuple(start_ids), tuple(separator_ids), tuple(end_ids)
        self.pad_id, self.context_segment_id = pad_id, context_segment_id
        self.sequence_length, self.overlap, self.max_question_tokens = sequence_length, overlap, max_question_tokens
        self._room = sequence_length - len(self.start_ids) - len(self.separator_ids) - len(self.end_ids)
        if not self.start_ids or max_question_tokens < 1:
            raise ValueError(f"start_ids={list(start_ids)}, max_question_tokens={max_question_tokens}: both need one.")
        if not 0 <= overlap < self._room - max_question_tokens:
            raise ValueError(
                f"windows of {sequence_length} tokens leave {self._room - max_question_tokens} to the context beside "
                f"a question of {max_question_tokens} tokens, and cannot share {overlap}."
            )
        self._graph = tf.function(self._cut, input_signature=[_TOKENS] * 4, autograph=False)

    def encode(self, questions: tf.Tensor, contexts: tf.Tensor) -> QuestionWindows:
        """Encodes questions with their contexts.

        Args:
            questions: Strings of shape `(rows,)`.
            contexts: Strings of shape `(rows,)`.

        Returns:
            The windows.

        Raises:
            PresetError: When the tokenizer cannot say where its tokens come from.
        """
        asked = self.texts.encode_with_offsets(questions).ids
        return QuestionWindows(*self._graph(asked, *self.texts.encode_with_offsets(contexts)))

    def _cut(
        self, asked: tf.RaggedTensor, context: tf.RaggedTensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
    ) -> QuestionWindows:
        lost = tf.maximum(_lengths(asked) - self.max_question_tokens, 0)
        asked = asked[:, : self.max_question_tokens]
        lengths, room = _lengths(context), self._room - _lengths(asked)
        step = room - self.overlap
        windows = 1 - (-tf.maximum(lengths - room, 0) // step)
        row = tf.repeat(tf.range(tf.size(windows)), windows)
        number = tf.range(tf.size(row)) - tf.gather(tf.cumsum(windows, exclusive=True), row)
        room, length = tf.gather(room, row), tf.gather(lengths, row)
        # The last window ends with its context, and begins as early as it can.
        first = tf.maximum(tf.minimum(number * tf.gather(step, row), length - room), 0)
        count = tf.minimum(room, length)
        begin = tf.gather(tf.cast(context.row_splits, tf.int32), row) + first
        places = tf.ragged.range(begin, begin + count)
        asked = tf.gather(asked, row)
        parts = [
            self._repeated(self.start_ids, row),
            asked,
            self._repeated(self.separator_ids, row),
            places.with_flat_values(tf.gather(context.flat_values, places.flat_values)),
            self._repeated(self.end_ids, row),
        ]
        ids = tf.concat(parts, axis=1)
        window = ids.value_rowids()
        before = len(self.start_ids) + _lengths(asked) + len(self.separator_ids)
        place = tf.range(tf.size(window)) - tf.gather(tf.cast(ids.row_starts(), tf.int32) + before, window)
        inside = (place >= 0) & (place < tf.gather(count, window))
        among_all = tf.where(inside, place + tf.gather(begin, window), 0)
        return QuestionWindows(
            ids,
            ids.with_flat_values(tf.where(place >= 0, self.context_segment_id, 0)),
            ids.with_flat_values(_taken(starts, among_all, inside)),
            ids.with_flat_values(_taken(ends, among_all, inside)),
            ids.with_flat_values(tf.cast(inside, tf.int32)),
            first,
            windows,
            lost,
        )

    def _repeated(self, ids: Sequence[int], row: tf.Tensor) -> tf.Tensor:
        return tf.tile(tf.constant([list(ids)], tf.int32, [1, len(ids)]), [tf.size(row), 1])

    def pad(
        self, ids: tf.RaggedTensor, segment_ids: tf.RaggedTensor, width: int | tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Pads windows to one width.

        Args:
            ids: Ragged int32 of shape `(batch, None)`.
            segment_ids: Ragged int32 of the same shape.
            width: Tokens; the longest window when None.

        Returns:
            `token_ids`, `padding_mask` (1 for tokens, 0 for padding) and `segment_ids` (0 for padding), each int32 of
            shape `(batch, width)`.
        """
        if width is None:
            width = tf.reduce_max(ids.row_lengths())
        width = tf.cast(width, tf.int32)
        shape = tf.stack([-1, width])
        return {
            "token_ids": tf.ensure_shape(ids.to_tensor(self.pad_id, shape=shape), [None, None]),
            "padding_mask": tf.sequence_mask(ids.row_lengths(), width, dtype=tf.int32),
            "segment_ids": tf.ensure_shape(segment_ids.to_tensor(0, shape=shape), [None, None]),
        }


def answer_positions(
    windows: QuestionWindows, answer_starts: tf.Tensor, answer_ends: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the tokens of answers in each window.

    The tokens of an answer are all that share a character with it, so that an answer that begins or ends inside a token
    gets that token whole. A window either has all of them, or it has none.

    Args:
        windows: What `QuestionEncoder.encode` gave, all windows of each row.
        answer_starts: Place of the first character of each answer in its context, int32 of shape `(rows,)`; -1 where
            there is none.
        answer_ends: Place after its last character, int32 of shape `(rows,)`.

    Returns:
        The positions of the first and of the last token of the answer in each window, int32 of shape `(windows,)`;
        0 and 0, the start token, where the answer is not wholly in the window. An answer that no token comes from, such
        as white space, is in no window, and neither is one of no characters.
    """
    splits, window = tf.cast(windows.ids.row_splits, tf.int32), windows.ids.value_rowids()
    rows, count = tf.size(windows.windows), tf.size(windows.first_tokens)
    row = tf.gather(tf.repeat(tf.range(rows), windows.windows), window)
    covers = tf.cast(windows.in_context.flat_values, tf.bool) & tf.gather(
        (answer_starts >= 0) & (answer_ends > answer_starts), row
    )
    covers &= windows.context_starts.flat_values < tf.gather(answer_ends, row)
    covers &= windows.context_ends.flat_values > tf.gather(answer_starts, row)
    # Tokens are told by their numbers: several may have the same characters, such as the bytes of an emoji.
    before = exclusive_sum(windows.in_context.flat_values)
    number = before[:-1] - tf.gather(before, tf.gather(splits, window)) + tf.gather(windows.first_tokens, window)
    first = tf.math.unsorted_segment_min(tf.where(covers, number, _WHOLE_TEXT), row, rows)
    last = tf.math.unsorted_segment_max(tf.where(covers, number, -1), row, rows)
    position = tf.range(tf.size(window)) - tf.gather(splits, window)

    def position_of(wanted: tf.Tensor) -> tf.Tensor:
        here = covers & tf.equal(number, tf.gather(wanted, row))
        return tf.math.unsorted_segment_max(tf.where(here, position, 0), window, count)

    first_position, last_position = position_of(first), position_of(last)
    whole = (first_position > 0) & (last_position > 0)
    return tf.where(whole, first_position, 0), tf.where(whole, last_position, 0)


def _lengths(values: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(values.row_lengths(), tf.int32)


def _taken(values: tf.RaggedTensor, places: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """Returns the values at some places, and 0 outside."""
    # There is always a value at 0, even when no row has any.
    values = tf.concat([values.flat_values, [0]], axis=0)
    return tf.where(inside, tf.gather(values, places), 0)
