"""Tokenizers of sequences that are read and written: from strings to ids and back, in the graph.

All have the ids of `core/special_ids.py` in front of their own. None of them adds a start or an end: whoever makes rows
of the ids knows what has to stand where.
"""

from __future__ import annotations

import abc
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.core.special_ids import END, PAD, SPECIAL_IDS, START, UNKNOWN, UNKNOWN_TEXT

#: What Python's `str.split` splits at, for RE2.
_SPACES = r"[\t-\r\x1c-\x1f\x{85}\pZ]+"
_SPACES_OR_COMMAS = r"[\t-\r\x1c-\x1f\x{85}\pZ,]+"
#: Numbers that fit into int32 whatever they are.
_SHORT_NUMBER = r"0*[0-9]{1,9}"
#: Greatest number that `IntegerTokenizer` may know.
LARGEST_NUMBER = 10**9 - 1


class SequenceTokenizer(tf.Module, abc.ABC):
    """From strings to ids and back.

    Attributes:
        pad_id: Id that fills rows up.
        unknown_id: Id of what is beyond the vocabulary.
        start_id: Id that begins a sequence.
        end_id: Id that ends a sequence.
        start_ids: Ids that stand before a text that is written.
        banned_ids: Ids that are not written, besides `pad_id` and `start_id`.
        vocabulary_size: Number of ids, special ones included.
    """

    pad_id, unknown_id, start_id, end_id = PAD, UNKNOWN, START, END
    start_ids, banned_ids = (START,), (UNKNOWN,)
    vocabulary_size: int

    def __call__(self, texts: Any) -> tf.RaggedTensor:
        """Tokenizes strings.

        Args:
            texts: Strings of shape `(batch,)`. Bytes that are no UTF-8 count as U+FFFD.

        Returns:
            Ids, ragged int32 of shape `(batch, None)`, without start and end.
        """
        with tf.device("cpu"):  # strings live there
            texts = tf.ensure_shape(tf.convert_to_tensor(texts, tf.string), [None])
            return self._tokenized(
                tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", replace_control_characters=False)
            )

    def detokenize(self, ids: Any) -> tf.Tensor:
        """Returns the texts of ids.

        Args:
            ids: Int of shape `(batch, sequence_length)`, dense or ragged. Pad, start and end are left out wherever
                they are; ids beyond the vocabulary count as unknown.

        Returns:
            Strings of shape `(batch,)`.
        """
        with tf.device("cpu"):
            if not isinstance(ids, tf.RaggedTensor):
                dense = tf.ensure_shape(tf.convert_to_tensor(ids), [None, None])
                ids = tf.RaggedTensor.from_tensor(dense)
            values = tf.cast(ids.flat_values, tf.int32)
            values = tf.where((values < 0) | (values >= self.vocabulary_size), UNKNOWN, values)
            spoken = (values != PAD) & (values != START) & (values != END)
            return self._detokenized(tf.ragged.boolean_mask(ids.with_flat_values(values), ids.with_flat_values(spoken)))

    @abc.abstractmethod
    def _tokenized(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Tokenizes valid strings of shape `(batch,)`."""

    @abc.abstractmethod
    def _detokenized(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Returns the texts of ids that are all in the vocabulary, int32, without pad, start and end."""


class SubwordTokenizer(SequenceTokenizer):
    """Pieces of words, by SentencePiece.

    Texts are normalized (NFKC, white space), so that the text of their ids is the normalized one. NULs are left out.

    Seeding TensorFlow (`tf.random.set_seed`, `keras.utils.set_random_seed`) deletes the tables of every SentencePiece
    tokenizer in the process. They are made again by the next call and by the next trace; a graph that was traced
    before has to be traced again.
    """

    def __init__(self, model: bytes) -> None:
        """Makes the tables.

        Args:
            model: What `learn_subwords` returned.

        Raises:
            ConfigError: When it is no SentencePiece model, or one with other special ids.
        """
        super().__init__(name="subword_tokenizer")
        self.model = model
        self.vocabulary_size = _checked_size(model)
        self._table: Any = None
        try:
            self._make_table()
        except tf.errors.OpError as error:
            raise ConfigError(
                f"The SentencePiece model cannot be used: {error.message} Give what learn_subwords returned, unaltered."
            ) from None

    def _make_table(self) -> None:
        import tensorflow_text

        # Models of the same name become one when SavedModels are loaded, so that the name has to tell them apart.
        name = f"subwords_{hashlib.sha256(self.model).hexdigest()[:32]}"
        with tf.init_scope(), tf.device("cpu"):
            self._table = tensorflow_text.SentencepieceTokenizer(model=self.model, out_type=tf.int32, name=name)

    def _ensure_table(self) -> None:
        """Makes the table again if it is gone; cheap."""
        with tf.init_scope():
            try:
                self._table.tokenize(tf.constant([""]))
            except tf.errors.NotFoundError:
                self._make_table()

    def _tokenized(self, texts: tf.Tensor) -> tf.RaggedTensor:
        self._ensure_table()
        return self._table.tokenize(tf.strings.regex_replace(texts, r"\x00", ""))

    def _detokenized(self, ids: tf.RaggedTensor) -> tf.Tensor:
        self._ensure_table()
        return self._table.detokenize(ids)


class WordTokenizer(SequenceTokenizer):
    """Words as they stand between white space, as `str.split` has it; their text has single spaces between them."""

    def __init__(self, words: Sequence[str]) -> None:
        """Makes the tables.

        Args:
            words: What `learn_words` returned: distinct words without white space.

        Raises:
            ConfigError: When they are no such words.
        """
        super().__init__(name="word_tokenizer")
        self.words = tuple(words)
        self._check_words()
        self.vocabulary_size = SPECIAL_IDS + len(self.words)
        with tf.init_scope(), tf.device("cpu"):
            encoded = tf.constant([word.encode() for word in self.words], tf.string)
            initializer = tf.lookup.KeyValueTensorInitializer(encoded, tf.range(SPECIAL_IDS, self.vocabulary_size))
            self._ids = tf.lookup.StaticHashTable(initializer, default_value=UNKNOWN)
            backwards = tf.lookup.KeyValueTensorInitializer(tf.range(SPECIAL_IDS, self.vocabulary_size), encoded)
            self._words = tf.lookup.StaticHashTable(backwards, default_value=UNKNOWN_TEXT)

    def _check_words(self) -> None:
        if not self.words:
            raise ConfigError("The vocabulary has no words. Learn it from texts that have some.")
        for word, count in Counter(self.words).items():
            if not isinstance(word, str) or word.split() != [word] or not _is_unicode(word):
                raise ConfigError(
                    f"The vocabulary has {word!r}, which is no word: words are texts without white space."
                )
            if count > 1:
                raise ConfigError(f"The vocabulary has {word!r} more than once.")

    def _tokenized(self, texts: tf.Tensor) -> tf.RaggedTensor:
        words = _split(texts, _SPACES)
        return words.with_flat_values(self._ids.lookup(words.flat_values))

    def _detokenized(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return tf.strings.reduce_join(ids.with_flat_values(self._words.lookup(ids.flat_values)), axis=-1, separator=" ")


class IntegerTokenizer(SequenceTokenizer):
    """Texts that already are ids, such as "5 17 3", between white space or commas; 0 has the id `SPECIAL_IDS`.

    What is no number from 0 to the largest is unknown. Numbers become texts with single spaces between them.
    """

    def __init__(self, largest: int) -> None:
        """Sets the size of the vocabulary.

        Args:
            largest: The greatest number, as `largest_integer` finds it.

        Raises:
            ConfigError: When it is out of range.
        """
        super().__init__(name="integer_tokenizer")
        if isinstance(largest, bool) or not isinstance(largest, int) or not 0 <= largest <= LARGEST_NUMBER:
            raise ConfigError(f"largest is {largest!r}; it must be a whole number from 0 to {LARGEST_NUMBER:,}.")
        self.largest = largest
        self.vocabulary_size = SPECIAL_IDS + largest + 1

    def _tokenized(self, texts: tf.Tensor) -> tf.RaggedTensor:
        parts = _split(texts, _SPACES_OR_COMMAS)
        is_number = tf.strings.regex_full_match(parts.flat_values, _SHORT_NUMBER)
        numbers = tf.strings.to_number(tf.where(is_number, parts.flat_values, "0"), tf.int32)
        known = is_number & (numbers <= self.largest)
        return parts.with_flat_values(tf.where(known, numbers + SPECIAL_IDS, UNKNOWN))

    def _detokenized(self, ids: tf.RaggedTensor) -> tf.Tensor:
        values = ids.flat_values
        texts = tf.where(values == UNKNOWN, UNKNOWN_TEXT, tf.strings.as_string(values - SPECIAL_IDS))
        return tf.strings.reduce_join(ids.with_flat_values(texts), axis=-1, separator=" ")


def _split(texts: tf.Tensor, separators: str) -> tf.RaggedTensor:
    """Splits where RE2 finds separators; without empty parts."""
    return tf.strings.split(tf.strings.regex_replace(texts, separators, " "))


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _checked_size(model: bytes) -> int:
    """Returns how many pieces a model has, once its special ids are those of tfft."""
    from google.protobuf.message import DecodeError

    protos = _protos()
    if not isinstance(model, bytes):
        raise ConfigError(f"A serialized SentencePiece model is expected; received a {type(model).__name__}.")
    try:
        pieces = protos.ModelProto.FromString(model).pieces
    except DecodeError:
        pieces = []
    if not pieces:
        raise ConfigError(
            f"The {len(model):,} bytes are no SentencePiece model. Give what learn_subwords returned, unaltered."
        )
    kinds = protos.ModelProto.SentencePiece
    wanted = np.full(SPECIAL_IDS, kinds.CONTROL)
    wanted[UNKNOWN] = kinds.UNKNOWN
    if [piece.type for piece in pieces[:SPECIAL_IDS]] != wanted.tolist():
        found = [piece.piece for piece in pieces[:SPECIAL_IDS]]
        raise ConfigError(
            f"The SentencePiece model begins with {found}; padding, unknown, start and end must have the ids {PAD}, "
            f"{UNKNOWN}, {START} and {END}. Learn it with learn_subwords."
        )
    return len(pieces)


def _protos() -> Any:
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2
