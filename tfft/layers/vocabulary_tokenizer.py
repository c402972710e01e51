"""From words to ids with a vocabulary learned from the words themselves, for models that are trained from scratch.

A word that is not in the vocabulary is not lost in one "unknown": its id says what it looks like. An id is one number,
since that is what a backbone takes for a token, and `TokenFeatures` takes it apart again:

    id = SPECIAL_IDS + shape + SHAPES * entry

`shape` is the bucket of the word's shape (letters by case and script, digits, the rest as it is, runs shortened: "Xx",
"0-x"), and `entry` the place in the vocabulary. For words beyond it `entry` is its size plus `prefix + AFFIXES *
suffix`, the buckets of the first and last characters. So a word, known or not, has a shape, a prefix and a
suffix, and what a model learns of these from known words holds for the others: the hashing of character n-grams of
Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606, section 3.2, with the n-grams that matter to taggers
(Ratnaparkhi 1996, table 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfft.core.errors import ConfigError
from tfft.core.special_ids import END, PAD, SPECIAL_IDS, START, UNKNOWN

#: What has an id: a word, or each character (code point) of it.
Unit = Literal["word", "character"]

#: Buckets of shapes, and of prefixes and suffixes each: primes, so that all bits of a hash count. Ids stay below 2**31
#: with vocabularies up to `LARGEST`.
SHAPES, AFFIXES = 127, 3001
LARGEST = 2**22

#: Characters in a prefix or a suffix; of scripts whose characters are syllables or words, one says as much.
_AFFIX, _SYLLABLE_AFFIX = 3, 1
_SYLLABLES = r"(?s).*[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}].*"
#: What shapes are made of; signs that no pattern after them matches.
_SHAPE_SIGNS = (
    (r"\p{M}+", ""),
    (r"\p{Lu}+", "\x01"),
    (r"\p{Ll}+", "\x02"),
    (r"\p{N}+", "\x03"),
    (r"\p{Han}+", "\x04"),
    (r"\p{Hiragana}+", "\x05"),
    (r"\p{Katakana}+", "\x06"),
    (r"\p{L}+", "\x07"),
)


class Features(NamedTuple):
    """What an id says.

    Attributes:
        token: Place in the vocabulary after the special ids; `UNKNOWN` for a word beyond it. Int32, as all of these.
        shape: Bucket of the shape, from 1; 0 for special ids.
        prefix: Bucket of the first characters, from 1; 0 for special ids. All 0 with the unit "character".
        suffix: Bucket of the last characters, in the same way.
    """

    token: Any
    shape: Any
    prefix: Any
    suffix: Any


@keras.saving.register_keras_serializable(package="tfft")
class VocabularyTokenizer(keras.layers.Layer):
    """From strings of shape `(words,)` to ragged int32 ids of shape `(words, None)`.

    With the unit "word" each word has one id, an empty one too; with "character" as many as it has code points.

    Example:
        >>> words = ["12", "Main", "St.", "34", "Main", "Ave"]
        >>> tokenizer = VocabularyTokenizer(learn_vocabulary(words, min_count=2))
        >>> tokenizer(tf.constant(["Main", "Elm"])).row_lengths()  # two words, an id each
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        unit: Unit = "word",
        lowercase: bool = False,
        normalize_digits: bool = False,
        **options: Any,
    ) -> None:
        """Makes the table.

        Args:
            vocabulary: What `learn_vocabulary` returned for the same unit and the same normalisation.
            unit: What has an id.
            lowercase: Whether words are looked up in lower case; shapes tell cases apart all the same.
            normalize_digits: Whether all digits count as 0 when a word is looked up.
            **options: Those of a Keras layer.

        Raises:
            ConfigError: When entries repeat, are too many, or could never be met with.
        """
        super().__init__(**{"name": "vocabulary_tokenizer", "dtype": "int32", **options})
        check_unit(unit)
        self.vocabulary = tuple(vocabulary)
        self.unit, self.lowercase, self.normalize_digits = unit, lowercase, normalize_digits
        self._check_vocabulary()
        with tf.init_scope():
            # A table must have an entry: one that stands for none where there are no others.
            entries = _tensor(self.vocabulary or ("",)), tf.range(len(self.vocabulary)) if self.vocabulary else [-1]
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(*entries), default_value=-1)
        self.pad_token_id, self.unk_token_id, self.start_token_id, self.end_token_id = PAD, UNKNOWN, START, END

    def _check_vocabulary(self) -> None:
        if len(self.vocabulary) > LARGEST:
            raise ConfigError(f"The vocabulary has {len(self.vocabulary):,} entries; at most {LARGEST:,} have ids.")
        repeated = [entry for entry, count in Counter(self.vocabulary).items() if count > 1]
        if repeated:
            raise ConfigError(f"The vocabulary has {repeated[0]!r} more than once.")
        for entry, normal in zip(self.vocabulary, self._normalized_entries(), strict=True):
            if entry != normal or (self.unit == "character" and len(entry) != 1):
                raise ConfigError(
                    f"The vocabulary has {entry!r}, which no {self.unit} is after normalisation; learn it with the "
                    f"options of the tokenizer: unit={self.unit!r}, lowercase={self.lowercase}, "
                    f"normalize_digits={self.normalize_digits}."
                )

    def _normalized_entries(self) -> list[str]:
        return _strings(normalize(_tensor(self.vocabulary), self.lowercase, self.normalize_digits))

    def call(self, words: Any) -> tf.RaggedTensor:
        """Looks words up."""
        with tf.device("cpu"):  # strings live there
            words = _valid(words)
            if self.unit == "character":
                characters = tf.strings.unicode_split(words, "UTF-8")
                return characters.with_flat_values(self._ids(characters.flat_values))
            ids = self._ids(words)
            return tf.RaggedTensor.from_row_splits(ids, tf.range(tf.size(ids, tf.int64) + 1), validate=False)

    def _ids(self, pieces: tf.Tensor) -> tf.Tensor:
        size = len(self.vocabulary)
        entry = self.table.lookup(normalize(pieces, self.lowercase, self.normalize_digits))
        beyond = size + self._affixes(pieces) if self.unit == "word" else size
        return SPECIAL_IDS + _shapes(pieces) + SHAPES * tf.where(entry < 0, beyond, entry)

    def _affixes(self, words: tf.Tensor) -> tf.Tensor:
        """Returns both buckets in one number."""
        words = normalize(words, True, self.normalize_digits)
        length = tf.where(tf.strings.regex_full_match(words, _SYLLABLES), _SYLLABLE_AFFIX, _AFFIX)
        places = tf.maximum(tf.strings.length(words, unit="UTF8_CHAR") - length, 0)
        prefixes = tf.strings.substr(words, tf.zeros_like(places), length, unit="UTF8_CHAR")
        suffixes = tf.strings.substr(words, places, length, unit="UTF8_CHAR")
        return _bucket(prefixes, AFFIXES) + AFFIXES * _bucket(suffixes, AFFIXES)

    def token_features(self, name: str = "token_features") -> TokenFeatures:
        """Returns the layer that takes the ids apart."""
        affixes = self._affixes(_tensor(self.vocabulary)).numpy().tolist() if self.unit == "word" else None
        return TokenFeatures(affixes, vocabulary_size=len(self.vocabulary), name=name)

    def get_config(self) -> dict[str, Any]:
        """Returns the vocabulary and how it is looked up, as plain data."""
        return {
            **super().get_config(),
            "vocabulary": list(self.vocabulary),
            "unit": self.unit,
            "lowercase": self.lowercase,
            "normalize_digits": self.normalize_digits,
        }


@keras.saving.register_keras_serializable(package="tfft")
class TokenFeatures(keras.layers.Layer):
    """Takes ids of `VocabularyTokenizer` apart: int32 of any shape to four of the same shape, a `Features`."""

    def __init__(self, affixes: Sequence[int] | None, *, vocabulary_size: int, **options: Any) -> None:
        """Keeps what ids of known words do not say themselves.

        Args:
            affixes: Prefix and suffix of each entry of the vocabulary in one number, as ids of other words have them;
                None where ids have none.
            vocabulary_size: Number of entries.
            **options: Those of a Keras layer.
        """
        super().__init__(**{"dtype": "int32", **options})
        self.vocabulary_size = vocabulary_size
        # The last one is that of all words beyond, and never read.
        self._affixes = None if affixes is None else np.asarray([*affixes, 0], np.int32)

    def call(self, ids: Any) -> Features:
        """Takes ids apart; any int32 is taken for some word."""
        entry = tf.maximum(ids - SPECIAL_IDS, 0)
        shape, entry = entry % SHAPES, entry // SHAPES
        beyond = entry - self.vocabulary_size
        token = tf.where(beyond < 0, entry + SPECIAL_IDS, UNKNOWN)
        nothing = tf.zeros_like(ids)
        parts = [shape + 1, nothing, nothing]
        if self._affixes is not None:
            known = tf.gather(tf.constant(self._affixes), tf.minimum(entry, self.vocabulary_size))
            affixes = tf.where(beyond < 0, known, beyond)
            parts[1:] = [affixes % AFFIXES + 1, affixes // AFFIXES % AFFIXES + 1]
        special = ids < SPECIAL_IDS
        return Features(
            tf.where(special, tf.maximum(ids, 0), token), *(tf.where(special, nothing, part) for part in parts)
        )

    def compute_output_spec(self, ids: Any) -> Features:
        """Says that there are four tensors like the one that is given."""
        return Features(*(keras.KerasTensor(ids.shape, "int32") for _ in Features._fields))

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes, as plain data."""
        affixes = None if self._affixes is None else self._affixes[:-1].tolist()
        return {**super().get_config(), "affixes": affixes, "vocabulary_size": self.vocabulary_size}


def learn_vocabulary(
    words: Iterable[str],
    *,
    size: int = 30_000,
    min_count: int = 1,
    unit: Unit = "word",
    lowercase: bool = False,
    normalize_digits: bool = False,
) -> tuple[str, ...]:
    """Returns the most frequent words, or characters, most frequent first and else in the order of code points.

    Args:
        words: The words of the training rows.
        size: Most entries.
        min_count: How often an entry must be there.
        unit: What is counted.
        lowercase: Whether words are counted in lower case.
        normalize_digits: Whether all digits count as 0.

    Returns:
        The vocabulary, in which special ids have no place; it may be empty.

    Raises:
        ConfigError: When an option is out of range.
    """
    check_unit(unit)
    for option, value, most in (("size", size, LARGEST), ("min_count", min_count, None)):
        if value < 1 or (most is not None and value > most):
            raise ConfigError(f"{option} is {value}; it must be at least 1{f' and at most {most:,}' if most else ''}.")
    counts = Counter(words)
    normal = _strings(normalize(_valid(_tensor(counts)), lowercase, normalize_digits))
    counted: Counter[str] = Counter()
    for word, count in zip(normal, counts.values(), strict=True):
        for piece in word if unit == "character" else (word,):
            counted[piece] += count
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return tuple(piece for piece, count in ordered[:size] if count >= min_count)


def check_unit(unit: str) -> None:
    """Checks the name of a unit.

    Args:
        unit: What was given.

    Raises:
        ConfigError: When there is no such unit.
    """
    if unit not in {"word", "character"}:
        raise ConfigError(f"unit is {unit!r}; it must be 'word' or 'character'.")


def normalize(words: tf.Tensor, lowercase: bool, normalize_digits: bool) -> tf.Tensor:
    """Returns strings as they are looked up."""
    if lowercase:
        words = tf.strings.lower(words, encoding="utf-8")
    return tf.strings.regex_replace(words, r"\p{Nd}", "0") if normalize_digits else words


def _shapes(words: tf.Tensor) -> tf.Tensor:
    for pattern, sign in _SHAPE_SIGNS:
        words = tf.strings.regex_replace(words, pattern, sign)
    return _bucket(words, SHAPES)


def _bucket(strings: tf.Tensor, buckets: int) -> tf.Tensor:
    # FarmHash's fingerprint, which is the same everywhere and for ever.
    return tf.cast(tf.strings.to_hash_bucket_fast(strings, buckets), tf.int32)


def _valid(words: Any) -> tf.Tensor:
    return tf.strings.unicode_transcode(words, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)


def _tensor(words: Iterable[str]) -> tf.Tensor:
    return tf.constant([word.encode("utf-8", "replace") for word in words], tf.string)


def _strings(tensor: tf.Tensor) -> list[str]:
    return [text.decode("utf-8") for text in tensor.numpy().tolist()]
