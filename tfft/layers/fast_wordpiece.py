"""WordPiece in one pass over the text, with the ids of KerasHub's layer.

KerasHub's layer strips accents, splits by regular expression, folds case, and then looks up each word; half of its time
goes into the split. tensorflow-text has kernels that do all this in one pass. They part from the layer on some
characters (no-break spaces, joiners, Korean, ellipses ...), so each row of a batch is looked at first: those that
consist of safe characters take the fast path, the others the layer, and both are put back in order.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.layers.probe_texts import PROBE_TEXTS
from tfft.layers.safe_characters import Words, character_class, safe_characters

#: From strings `(batch,)` to ragged int token ids `(batch, None)`.
Tokenize = Callable[[tf.Tensor], tf.RaggedTensor]

_TEXTS = tf.TensorSpec([None], tf.string)


class FastTokenizer(NamedTuple):
    """What to tokenize with.

    Attributes:
        tokenize: From strings `(batch,)` to ragged int32 token ids `(batch, None)`.
        reason: Why this is the tokenizer itself and nothing faster; None when it is faster.
    """

    tokenize: Tokenize
    reason: str | None


@dataclasses.dataclass(frozen=True)
class WordPiece:
    """A WordPiece tokenizer, as far as the fast path has to know it.

    Attributes:
        words: Cuts texts into normalized words as the tokenizer does.
        vocabulary: Its tokens; the place of each is its id.
        lowercase: Whether it folds case.
        strip_accents: Whether it removes nonspacing marks.
        suffix_indicator: What the tokens inside a word start with.
        unknown_token: The token of words that it cannot write.
        special_tokens: Tokens that it looks for in texts before it splits them.
    """

    words: Words
    vocabulary: Sequence[str]
    lowercase: bool
    strip_accents: bool
    suffix_indicator: str
    unknown_token: str
    special_tokens: Sequence[str]


class OnePass(tf.Module):
    """tensorflow-text's kernels from strings to ids: the nearest there is to KerasHub's layer, but not the same."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        suffix_indicator: str,
        unknown_token: str,
        *,
        lowercase: bool,
        strip_accents: bool,
    ) -> None:
        """Builds the tables.

        Args:
            vocabulary: The tokens; the place of each is its id.
            suffix_indicator: What the tokens inside a word start with.
            unknown_token: The token of words that cannot be written.
            lowercase: Whether to fold case.
            strip_accents: Whether to remove nonspacing marks; done only together with `lowercase`.

        Raises:
            RuntimeError: When tensorflow-text cannot build its tables from the vocabulary.
        """
        import tensorflow_text

        super().__init__(name="one_pass")
        self._pieces = tensorflow_text.FastWordpieceTokenizer(
            vocab=list(vocabulary),
            suffix_indicator=suffix_indicator,
            unknown_token=unknown_token,
            token_out_type=tf.int32,
        )
        self._normalizer = tensorflow_text.FastBertNormalizer(lower_case_nfd_strip_accents=lowercase and strip_accents)
        self._fold = tensorflow_text.case_fold_utf8 if lowercase and not strip_accents else None

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """Maps characters: strings `(batch,)` to strings `(batch,)`."""
        return self._normalizer.normalize(self._fold(texts) if self._fold else texts)

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Tokenizes: strings `(batch,)` to ragged int32 ids `(batch, None)`."""
        return self._pieces.tokenize(self.normalize(texts))

    def words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Cuts strings `(batch,)` into what each token stands for: whole words, if the vocabulary knows none."""
        normalized = self.normalize(texts)
        _, starts, ends = self._pieces.tokenize_with_offsets(normalized)
        texts_of_tokens = tf.gather(normalized, starts.value_rowids())
        first, size = starts.flat_values, ends.flat_values - starts.flat_values
        return starts.with_flat_values(tf.strings.substr(texts_of_tokens, first, size))


class FastWordPiece(tf.Module):
    """From strings to token ids: rows of safe characters in one pass, the others through the tokenizer itself."""

    def __init__(self, tokenizer: Tokenize, word_piece: WordPiece) -> None:
        """Creates the fast tokenizer; `fast_tokenizer` also checks it.

        Args:
            tokenizer: The KerasHub layer.
            word_piece: What it does.

        Raises:
            RuntimeError: When tensorflow-text cannot build its tables from the vocabulary.
        """
        super().__init__(name="fast_word_piece")
        self.tokenizer = tokenizer
        self.one_pass = OnePass(
            word_piece.vocabulary,
            word_piece.suffix_indicator,
            word_piece.unknown_token,
            lowercase=word_piece.lowercase,
            strip_accents=word_piece.strip_accents,
        )
        safe = _safe(word_piece.words, word_piece.lowercase, word_piece.strip_accents)
        # The pass knows no special tokens: a text that may hold one is not safe.
        starts = {token[0] for token in word_piece.special_tokens}
        self._safe_text = character_class(
            item for item in safe if starts.isdisjoint(unicodedata.normalize("NFD", item))
        )
        self.reference = tf.function(self._reference, autograph=False).get_concrete_function(_TEXTS)
        self._graph = tf.function(self._tokenize, autograph=False).get_concrete_function(_TEXTS)

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Tokenizes: strings `(batch,)` to ragged int32 ids `(batch, None)`."""
        return self._graph(texts)

    def is_safe(self, texts: tf.Tensor) -> tf.Tensor:
        """Tells which texts need no more than one pass: strings `(batch,)` to bool `(batch,)`."""
        return tf.strings.regex_full_match(texts, self._safe_text)

    def _reference(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return tf.cast(self.tokenizer(texts), tf.int32)

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        with tf.device("cpu"):  # strings live there; the bookkeeping must not travel
            safe = self.is_safe(texts)
            return tf.cond(tf.reduce_all(safe), lambda: self.one_pass(texts), lambda: self._both(texts, safe))

    def _both(self, texts: tf.Tensor, safe: tf.Tensor) -> tf.RaggedTensor:
        slow = self.reference(tf.boolean_mask(texts, ~safe))
        # Safe rows stay in place, so that only ids are moved; the rest is appended, and picked where it belongs.
        ids = tf.concat([self.one_pass(tf.where(safe, texts, "")), slow], axis=0)
        rows = tf.size(safe)
        return tf.gather(ids, tf.where(safe, tf.range(rows), rows - 1 + tf.cumsum(tf.cast(~safe, tf.int32))))


def fast_tokenizer(tokenizer: Tokenize, word_piece: WordPiece | str) -> FastTokenizer:
    """Makes a tokenizer faster where that is proven not to change its ids.

    Args:
        tokenizer: The KerasHub layer.
        word_piece: What it does; or, for a tokenizer of another kind, why that cannot be said.

    Returns:
        The fast tokenizer; or the layer, with the reason.
    """
    if isinstance(word_piece, str):
        return FastTokenizer(tokenizer, word_piece)
    reason = _cannot_be_fast(word_piece)
    if reason is not None:
        return FastTokenizer(tokenizer, reason)
    try:
        fast = FastWordPiece(tokenizer, word_piece)
    except RuntimeError as error:
        return FastTokenizer(tokenizer, f"tensorflow-text cannot take its vocabulary: {error}")
    text = _first_difference(fast, word_piece)
    if text is not None:
        return FastTokenizer(tokenizer, f"the fast tokenizer gives other ids for {text[:80]!r}")
    return FastTokenizer(fast, None)


def _cannot_be_fast(word_piece: WordPiece) -> str | None:
    if not word_piece.suffix_indicator:
        return "its suffix indicator is empty"
    if not all(word_piece.special_tokens):
        return "one of its special tokens is empty"
    # In one pass over a text such an entry would match across words.
    spaced = next((token for token in word_piece.vocabulary if any(map(str.isspace, token))), None)
    return None if spaced is None else f"its vocabulary entry {spaced!r} contains white space"


def _first_difference(fast: FastWordPiece, word_piece: WordPiece) -> bytes | None:
    """Returns a text that the fast tokenizer and the layer give different ids, if one is found."""
    entries = [token.removeprefix(word_piece.suffix_indicator) for token in word_piece.vocabulary]
    glued = [f"{one}{two} {two}" for one, two in itertools.pairwise(entries)]
    texts = [text if isinstance(text, bytes) else text.encode("utf-8") for text in (*PROBE_TEXTS, *glued)]
    texts = [text for text in texts if b"\0" not in text]  # TensorFlow Text ends a string there
    found, wanted = fast(tf.constant(texts)), fast.reference(tf.constant(texts))
    if np.array_equal(found.row_splits, wanted.row_splits) and np.array_equal(found.flat_values, wanted.flat_values):
        return None
    rows = zip(texts, found.to_list(), wanted.to_list(), strict=True)
    return next(text for text, one, other in rows if one != other)


@functools.lru_cache(maxsize=16)  # a second or so, and the same for all vocabularies
def _safe(words: Words, lowercase: bool, strip_accents: bool) -> frozenset[str]:
    nothing = ["[UNK]", "\ue000"]  # knows no word, so that each token is a whole one
    one_pass = OnePass(nothing, "##", "[UNK]", lowercase=lowercase, strip_accents=strip_accents)
    return safe_characters(words, one_pass.words, normalized=lowercase or strip_accents)
