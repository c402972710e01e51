"""Text as words and what stands between them, to the byte, in the graph."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfft.augment.base import TextBatch

#: A byte that is nowhere in UTF-8.
SEPARATOR = b"\xff"
#: What `str.split` takes for white space.
_SPACE = r"\p{Z}\t-\r\x1c-\x1f\x{85}"
#: Scripts that are written without white space: each character is a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
#: Marks that belong to the character before them; the long vowel sign of Japanese is of no script of its own.
_UNSPACED_WORD = rf"[{_UNSPACED}][\p{{M}}\x{{30FC}}\x{{FF70}}]*"
_WORD = rf"{_UNSPACED_WORD}|[^{_SPACE}{_UNSPACED}]+"


class Layout(NamedTuple):
    """Where the words of a batch stand; flat words are those of all rows, end to end.

    Attributes:
        rows: Row of each flat word, int64 `(words,)`.
        starts: Where each row begins, int64 `(batch,)`.
        lengths: Words of each row, int64 `(batch,)`.
        count: Number of rows, int64.
    """

    rows: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor
    count: tf.Tensor


def layout(rows: tf.RaggedTensor) -> Layout:
    """Returns where the items of ragged rows stand."""
    return Layout(rows.value_rowids(), rows.row_starts(), rows.row_lengths(), rows.nrows())


def ragged(values: tf.Tensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """Returns the rows that flat values are, by their lengths."""
    return tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)


def sums(values: tf.Tensor, where: Layout) -> tf.Tensor:
    """Returns the sum of flat values (numbers, or bool to be counted) in each row, int64 `(batch,)`."""
    return tf.math.unsorted_segment_sum(tf.cast(values, tf.int64), where.rows, where.count)


def selection(mask: tf.Tensor, where: Layout) -> tuple[tf.Tensor, Layout]:
    """Returns the places of some flat items, int64 `(selected,)`, and where they stand among themselves."""
    places = tf.where(mask)[:, 0]
    lengths = sums(mask, where)
    return places, Layout(tf.gather(where.rows, places), tf.cumsum(lengths, exclusive=True), lengths, where.count)


def split_text(texts: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Splits texts into words; nothing is lost.

    Words are parted by white space. In scripts that are written without it (Chinese, Japanese, Thai, Lao, Khmer,
    Burmese) each character is a word, with its combining marks and with nothing before the next one.

    Args:
        texts: UTF-8 strings `(batch,)`.

    Returns:
        White space before the first word, strings `(batch,)`; the words; and what follows each of them, ragged strings
        `(batch, None)` both.
    """
    # One pass without capture groups, which RE2 finds several times as fast. Pieces: gap, word, gap, ..., word, gap.
    pieces = tf.strings.split(tf.strings.regex_replace(texts, _WORD, SEPARATOR + rb"\0" + SEPARATOR), SEPARATOR)
    lengths = (pieces.row_lengths() - 1) // 2
    rows = tf.repeat(tf.range(pieces.nrows()), lengths)
    # From the start of each row: a broken one, with the byte of the separator, must not shift the words of others.
    shifts = pieces.row_starts() + 1 - 2 * tf.cumsum(lengths, exclusive=True)
    places = 2 * tf.range(tf.size(rows, tf.int64)) + tf.gather(shifts, rows)
    lead = tf.gather(pieces.flat_values, pieces.row_starts())
    words, gaps = tf.gather(pieces.flat_values, places), tf.gather(pieces.flat_values, places + 1)
    return lead, ragged(words, lengths), ragged(gaps, lengths)


def join_text(lead: tf.Tensor, words: tf.RaggedTensor, gaps: tf.RaggedTensor) -> tf.Tensor:
    """Puts words together again: strings `(batch,)`."""
    joined = tf.strings.unsorted_segment_join(
        tf.strings.join([words.flat_values, gaps.flat_values]), words.value_rowids(), words.nrows()
    )
    return tf.strings.join([lead, joined])


def text_batch(texts: tf.Tensor | tf.RaggedTensor, tags: tf.RaggedTensor | None, rows: tf.Tensor) -> TextBatch:
    """Makes the batch that text augmentations take.

    Args:
        texts: Strings `(batch,)` to be split; or words, ragged strings `(batch, None)`, as tagged data has them.
        tags: A tag for each word, ragged int64; None when there are none.
        rows: Position of each row in the training split, int64 `(batch,)`.

    Returns:
        The batch. Words that were given as such have a space between them.
    """
    if isinstance(texts, tf.RaggedTensor):
        where = layout(texts)
        ends = where.starts + where.lengths - 1
        gaps = tf.where(tf.range(tf.size(where.rows, tf.int64)) == tf.gather(ends, where.rows), "", " ")
        lead, words, between = tf.fill([where.count], ""), texts, texts.with_flat_values(gaps)
    else:
        lead, words, between = split_text(texts)
    if tags is not None:
        tf.debugging.assert_equal(
            words.row_lengths(), tags.row_lengths(), "Each word of a text that is augmented needs one tag."
        )
    return TextBatch(lead, words, between, tags, rows)


def with_words(batch: TextBatch, words: tf.Tensor) -> TextBatch:
    """Returns the batch with other flat words, as many as before."""
    return batch._replace(words=batch.words.with_flat_values(words))


def changed_rows(before: TextBatch, after: TextBatch) -> tf.Tensor:
    """Tells which rows differ where words were replaced in their places: bool `(batch,)`."""
    differs = tf.not_equal(before.words.flat_values, after.words.flat_values)
    return sums(differs, layout(before.words)) > 0


def is_unspaced(words: tf.Tensor) -> tf.Tensor:
    """Tells which words are a character of a script without white space: bool of the same shape."""
    return tf.strings.regex_full_match(words, _UNSPACED_WORD)


def starts_unspaced(tokens: tf.Tensor) -> tf.Tensor:
    """Tells which strings begin with a character of a script without white space: bool of the same shape."""
    return tf.strings.regex_full_match(tokens, rf"(?s)[{_UNSPACED}].*")


def respaced(batch: TextBatch, changed: tf.Tensor) -> TextBatch:
    """Puts a space where a change brought two words together that only white space tells apart.

    Args:
        batch: The batch after the change.
        changed: Rows that were changed, bool `(batch,)`; the others are left alone.

    Returns:
        The batch.
    """
    where = layout(batch.words)
    gaps = batch.gaps.flat_values
    spaced = tf.logical_not(is_unspaced(batch.words.flat_values))
    next_spaced = tf.concat([spaced[1:], [False]], 0)
    same_row = tf.concat([where.rows[1:] == where.rows[:-1], tf.zeros([tf.minimum(tf.size(gaps), 1)], tf.bool)], 0)
    fused = spaced & next_spaced[: tf.size(gaps)] & same_row & tf.equal(gaps, "") & tf.gather(changed, where.rows)
    return batch._replace(gaps=batch.gaps.with_flat_values(tf.where(fused, " ", gaps)))
