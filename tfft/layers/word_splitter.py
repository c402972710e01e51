"""From raw strings to words with their places, in the graph: what taggers tag when nobody has cut the text for them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import tensorflow as tf

#: How a text is cut: at white space alone; at white space, with punctuation around words apart; into characters.
WordSplit = Literal["whitespace", "punctuation", "characters"]

_SPACE = r"\s\v\x{85}\p{Z}"  # RE2's \s knows ASCII alone
_LETTER = r"\p{L}\p{M}\p{N}"
#: What holds the parts of one word together: don't, e-mail, U.S, 1,000, 3/4, a@b.c.
_INSIDE = r"['\x{2019}.,/:@&_+\-\x{2010}\x{2011}]"
_PATTERNS: dict[str, str] = {
    "whitespace": f"[^{_SPACE}]+",
    "punctuation": f"[{_LETTER}]+(?:{_INSIDE}[{_LETTER}]+)*|[^{_SPACE}{_LETTER}]",
    "characters": rf"[^{_SPACE}\p{{M}}]\p{{M}}*|\p{{M}}+",
}


class SplitTexts(NamedTuple):
    """Words of texts.

    Attributes:
        words: Ragged strings of shape `(batch, None)`.
        starts: Place of the first character of each word in its text, ragged int32 of shape `(batch, None)`.
        ends: Place after its last character, ragged int32 of shape `(batch, None)`.
    """

    words: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


def split_words(texts: tf.Tensor, words: WordSplit) -> SplitTexts:
    """Cuts texts into words.

    Every character that is not white space is in exactly one word, so that nothing of a text goes untagged. Characters
    are Unicode code points of the raw string, as Python counts them; bytes that are no UTF-8 count as U+FFFD each.

    Args:
        texts: Strings of shape `(batch,)`.
        words: How to cut: "whitespace", "punctuation" (white space, and punctuation around a word is cut off, each
            character a word of its own, while what joins the parts of a word stays), or "characters" (each with the
            marks that follow it, for writing without spaces).

    Returns:
        The words, in order.
    """
    import tensorflow_text

    pattern = _PATTERNS[words]
    # What no UTF-8 decoder takes would end the search of the regular expression.
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
    # So would a NUL, which is one character, as what stands for it.
    texts = tf.strings.regex_replace(texts, r"\x00", "\ufffd")
    pieces, _, _ = tensorflow_text.regex_split_with_offsets(texts, pattern, pattern)
    sizes = tf.strings.length(pieces.flat_values, unit="UTF8_CHAR")
    # Pieces between words are kept by the split as well: together the pieces are the text.
    ends = tf.cumsum(sizes)
    before = tf.gather(tf.pad(ends, [[1, 0]]), tf.cast(pieces.row_splits, tf.int32))
    ends -= tf.gather(before, pieces.value_rowids())
    are_words = pieces.with_flat_values(tf.strings.regex_full_match(pieces.flat_values, pattern))
    found = [
        tf.ragged.boolean_mask(values, are_words)
        for values in (pieces, pieces.with_flat_values(ends - sizes), pieces.with_flat_values(ends))
    ]
    return SplitTexts(*found)
