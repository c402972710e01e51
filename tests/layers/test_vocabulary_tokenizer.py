"""Vocabularies against counting by hand, and ids against the formula written down once more in plain Python."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import ConfigError
from tfft.core.special_ids import SPECIAL_IDS
from tfft.layers.vocabulary_tokenizer import (
    AFFIXES,
    LARGEST,
    SHAPES,
    Unit,
    VocabularyTokenizer,
    learn_vocabulary,
)
from tfft.layers.word_encoder import WordEncoder

VOCABULARY = ["Main", "St.", "12", "é", "世", "東京", "x" * 40]
WORDS = st.text(alphabet="aAéÉ09٣-.,世東ひカーब्d\U0001d7d8 ", max_size=8) | st.sampled_from(VOCABULARY)
#: Different shapes, none of which share a bucket.
SHAPES_APART = ["Xx", "X", "x", "0", "0-0", "X.", "世", "ひ", "カ", "0x", "."]


def kind(character: str) -> str:
    """The class of a character, by its category and the name of its script."""
    category, name = unicodedata.category(character), unicodedata.name(character, "")
    if category.startswith("M"):
        return ""
    by_category = {"Lu": "\x01", "Ll": "\x02", "Nd": "\x03", "Nl": "\x03", "No": "\x03"}
    scripts = {"CJK UNIFIED": "\x04", "HIRAGANA": "\x05", "KATAKANA LETTER": "\x06"}
    found = by_category.get(category) or next((sign for start, sign in scripts.items() if name.startswith(start)), None)
    return found or ("\x07" if category.startswith("L") else character)


def bucket(text: str, buckets: int) -> int:
    return int(tf.strings.to_hash_bucket_fast(text, buckets))


def id_by_formula(word: str, vocabulary: list[str], *, lowercase: bool, digits: bool) -> tuple[int, ...]:
    """The id of a word, then what it says: token, shape, prefix and suffix."""
    zeros = "".join("0" if unicodedata.category(letter) == "Nd" else letter for letter in word) if digits else word
    entry = zeros.lower() if lowercase else zeros
    kinds = "".join(map(kind, word))
    shape = "".join(sign if sign <= "\x07" else sign * len(list(run)) for sign, run in itertools.groupby(kinds))
    length = 1 if {*kinds} & {"\x04", "\x05", "\x06"} else 3
    prefix, suffix = zeros.lower()[:length], zeros.lower()[-length:]
    parts = bucket(shape, 127), bucket(prefix, 3001), bucket(suffix, 3001)
    known = entry in vocabulary
    place = vocabulary.index(entry) if known else len(vocabulary) + parts[1] + 3001 * parts[2]
    return (4 + parts[0] + 127 * place, place + 4 if known else 1, *(part + 1 for part in parts))


def said(tokenizer: VocabularyTokenizer, words: list[str]) -> list[tuple[int, ...]]:
    ids = tokenizer(tf.constant(words, tf.string)).flat_values
    features = tokenizer.token_features()(ids)
    return [tuple(map(int, row)) for row in zip(ids, *features, strict=True)]


@pytest.mark.parametrize("normal", [False, True])
@settings(max_examples=60, deadline=None)
@given(words=st.lists(WORDS, min_size=1, max_size=5))
def test_ids_are_those_of_the_formula(normal: bool, words: list[str]) -> None:
    vocabulary = list(dict.fromkeys(word.lower().replace("12", "00") if normal else word for word in VOCABULARY))
    tokenizer = VocabularyTokenizer(vocabulary, lowercase=normal, normalize_digits=normal)
    assert said(tokenizer, words) == [
        id_by_formula(word, vocabulary, lowercase=normal, digits=normal) for word in words
    ]


def test_words_beyond_the_vocabulary_are_told_apart_by_what_they_look_like() -> None:
    tokenizer = VocabularyTokenizer(["Springfield", "7"])
    known, number, like, other = said(tokenizer, ["Springfield", "7", "Spr-1eld", "Sprbtown"])
    assert [row[1] for row in (known, number, like, other)] == [4, 5, 1, 1]
    assert like[3:] == known[3:]
    assert other[2:4] == known[2:4]
    assert like[2] != known[2]
    assert other[4] != known[4]
    assert len({row[2] for row in said(tokenizer, SHAPES_APART)}) == len(SHAPES_APART)


def test_the_largest_id_is_an_int32() -> None:
    assert SPECIAL_IDS + SHAPES - 1 + SHAPES * (LARGEST + AFFIXES**2 - 1) < 2**31


@pytest.mark.parametrize("unit", ["word", "character"])
def test_special_ids_say_nothing_else(unit: Unit) -> None:
    features = VocabularyTokenizer(["a"], unit=unit).token_features()(tf.constant([[0, 1, 2, 3]]))
    assert features.token.numpy().tolist() == [[0, 1, 2, 3]]
    assert not any(part.numpy().any() for part in features[1:])


def test_characters_have_an_id_each_and_those_beyond_one_of_their_kind() -> None:
    tokenizer = VocabularyTokenizer(["a", "世"], unit="character", lowercase=True)
    rows = tokenizer(tf.constant(["a世", "", "Aéß9"]))
    assert rows.row_lengths().numpy().tolist() == [2, 0, 4]
    features = tokenizer.token_features()(rows.flat_values)
    assert features.token.numpy().tolist() == [4, 5, 4, 1, 1, 1]
    shape = features.shape.numpy().tolist()
    assert shape[0] == shape[3] == shape[4]
    assert len({*shape}) == 4
    assert not features.prefix.numpy().any()
    assert not features.suffix.numpy().any()


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.text(alphabet="aAbé1٣世", min_size=1, max_size=3), max_size=30),
    size=st.integers(1, 8),
    min_count=st.integers(1, 3),
    unit=st.sampled_from(["word", "character"]),
    normal=st.booleans(),
)
def test_vocabulary_is_what_counting_gives(
    words: list[str], size: int, min_count: int, unit: Unit, normal: bool
) -> None:
    pieces = list("".join(words)) if unit == "character" else words
    if normal:
        pieces = [piece.lower().replace("1", "0").replace("٣", "0") for piece in pieces]
    counts = Counter(pieces)
    wanted = sorted((-count, piece) for piece, count in counts.items() if count >= min_count)[:size]
    for order in (words, words[::-1]):
        found = learn_vocabulary(
            order, size=size, min_count=min_count, unit=unit, lowercase=normal, normalize_digits=normal
        )
        assert list(found) == [piece for _, piece in wanted]
    VocabularyTokenizer(found, unit=unit, lowercase=normal, normalize_digits=normal)


def test_every_word_has_a_token_in_an_encoder_of_words_whatever_its_bytes() -> None:
    tokenizer = VocabularyTokenizer(["ab"])
    encoder = WordEncoder(tokenizer, start_ids=[2], end_ids=[3], pad_id=0, unknown_id=1, sequence_length=9, overlap=2)
    words = [b"ab", b"", b"\xff\xfe", b"a b", b"\x00", "é".encode()]
    ids, starts, _ = encoder.encode(tf.RaggedTensor.from_row_lengths(tf.constant(words), [len(words)]))
    assert starts.to_list() == [[0, *[1] * len(words), 0]]
    assert len({*ids.to_list()[0]}) == len(words) + 2
    for bad, replaced in ((b"\xff", "\ufffd"), (b"a\xc3", "a\ufffd")):
        assert tokenizer(tf.constant([bad])).to_list() == tokenizer(tf.constant([replaced])).to_list()


@pytest.mark.parametrize("unit", ["word", "character"])
def test_export_and_config_give_the_same_ids(unit: Unit, tmp_path: Path) -> None:
    tokenizer = VocabularyTokenizer(["a", "é"], unit=unit, lowercase=True, normalize_digits=True)
    words = tf.constant(["a", "É", "Zug 7", "", "東京"])
    wanted = tokenizer(words).to_list()
    module: Any = tf.Module()
    module.tokenizer = tokenizer
    signature = [tf.TensorSpec([None], tf.string)]
    module.serve = tf.function(lambda texts: tokenizer(texts).to_tensor(-1), input_signature=signature)
    tf.saved_model.save(module, str(tmp_path))
    keras.utils.set_random_seed(5)
    assert tokenizer(words).to_list() == wanted
    loaded = tf.saved_model.load(str(tmp_path))
    assert [[number for number in row if number >= 0] for row in loaded.serve(words).numpy().tolist()] == wanted
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again(words).to_list() == wanted
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer.token_features())))
    features = keras.saving.deserialize_keras_object(config)
    ids = again(words).flat_values
    for ours, theirs in zip(features(ids), tokenizer.token_features()(ids), strict=True):
        assert ours.numpy().tolist() == theirs.numpy().tolist()


@pytest.mark.parametrize(
    ("vocabulary", "options", "message"),
    [
        (["a", "b", "a"], {}, "'a' more than once"),
        (["a", "B"], {"lowercase": True}, "'B', which no word is"),
        (["a", "1"], {"normalize_digits": True}, "'1', which no word is"),
        (["a", "bc"], {"unit": "character"}, "'bc', which no character is"),
        (["a"], {"unit": "letter"}, "unit is 'letter'; it must be 'word' or 'character'"),
    ],
    ids=["repeated", "upper_case", "digit", "two_characters", "unit"],
)
def test_a_vocabulary_that_does_not_fit_is_refused(
    vocabulary: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        VocabularyTokenizer(vocabulary, **options)


@pytest.mark.parametrize("option", ["size", "min_count"])
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is 0; it must be at least 1"):
        learn_vocabulary(["a"], **{option: 0})  # type: ignore[arg-type]
