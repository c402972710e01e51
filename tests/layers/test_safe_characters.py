"""A character is safe when two ways to cut words agree on it, and it leaves what stands before it alone."""

from __future__ import annotations

import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.layers.safe_characters import character_class, safe_characters


def split(texts: tf.Tensor) -> tf.RaggedTensor:
    return tf.strings.split(texts, " ")


def split_and_change_x(texts: tf.Tensor) -> tf.RaggedTensor:
    return split(tf.strings.regex_replace(texts, "x", "y"))


def split_at_dashes_too(texts: tf.Tensor) -> tf.RaggedTensor:
    return split(tf.strings.regex_replace(texts, "-", " - "))


@pytest.fixture(scope="module")
def same_words() -> frozenset[str]:
    return safe_characters(split, split, normalized=True)


@settings(max_examples=60, deadline=None)
@given(
    allowed=st.sets(st.characters(exclude_categories=["Cs"]), max_size=12),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), min_size=1, max_size=8),
)
def test_the_class_matches_exactly_the_texts_of_these_characters(allowed: set[str], texts: list[str]) -> None:
    texts += ["", *allowed, "".join(allowed), "".join(allowed) + "\U0010fffd"]
    found = tf.strings.regex_full_match(tf.constant(texts), character_class(allowed)).numpy().tolist()
    assert found == [set(text) <= allowed for text in texts]


@pytest.mark.parametrize("text", [b"\xff", b"a\x80", b"\xe4\xb8", b"\xed\xa0\x80", b"\xc1\xa1", b"\xf4\x90\x80\x80"])
def test_bytes_that_are_no_text_match_no_class(same_words: frozenset[str], text: bytes) -> None:
    assert not tf.strings.regex_full_match(tf.constant([text]), character_class(same_words)).numpy().any()


@pytest.mark.parametrize(("other", "unsafe"), [(split_and_change_x, "x"), (split_at_dashes_too, "-")])
def test_characters_with_other_words_are_unsafe(same_words: frozenset[str], other: object, unsafe: str) -> None:
    assert same_words - safe_characters(split, other, normalized=True) == {unsafe}


def test_characters_that_act_on_what_precedes_them_are_unsafe_only_under_normalization(
    same_words: frozenset[str],
) -> None:
    act = safe_characters(split, split, normalized=False) - same_words
    # An accent, a vowel sign, the second and the third letter of a Korean syllable.
    assert {"\u0301", "\u09be", "\u1161", "\u11a8"} <= act
    for first in "aeiouकক가":
        for character in same_words:
            assert unicodedata.normalize("NFC", first + character).startswith(first), (first, character)


def test_characters_without_known_properties_are_unsafe(same_words: frozenset[str]) -> None:
    assert {unicodedata.category(item) for item in same_words}.isdisjoint({"Cn", "Co", "Cs"})
    assert "\0" not in same_words
    assert {"a", "Z", "0", ".", "\n", "é", "я", "中", "あ", "가", "🙂", "🏽"} <= same_words
