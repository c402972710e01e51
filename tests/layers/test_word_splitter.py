"""Words and their places, against Python's own idea of characters."""

from __future__ import annotations

import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.layers.probe_texts import PROBE_TEXTS
from tfft.layers.word_splitter import WordSplit, split_words

WAYS: tuple[WordSplit, ...] = ("whitespace", "punctuation", "characters")
SPACES = " \t\n\r\u00a0\u3000\u2009\u0085\u000b"
#: Letters, marks, digits, punctuation, symbols, writing without spaces, characters of four bytes.
TEXTS = st.text(alphabet=f"abéß \u0301\u0327\u06617\u0663.,'\u2019-@/!?(„“€$東京は🙂{SPACES}", max_size=30)


def words_of(text: str, way: WordSplit) -> list[tuple[str, int, int]]:
    words, starts, ends = split_words(tf.constant([text.encode()]), way)
    decoded = [word.decode() for word in words.to_list()[0]]
    return list(zip(decoded, starts.to_list()[0], ends.to_list()[0], strict=True))


@pytest.mark.parametrize(
    ("way", "text", "wanted"),
    [
        ("whitespace", " 12 Main St.,\tChicago\u00a0IL ", ["12", "Main", "St.,", "Chicago", "IL"]),
        ("punctuation", "“Don't!”, U.S. a-b a@b.c.", ["“", "Don't", *"!”,", "U.S", ".", "a-b", "a@b.c", "."]),
        ("punctuation", "It cost $1,000.50 (3/4)…", ["It", "cost", "$", "1,000.50", "(", "3/4", ")", "…"]),
        ("punctuation", "a--b", ["a", "-", "-", "b"]),
        ("characters", "東京 は e\u0301!", ["東", "京", "は", "e\u0301", "!"]),
        ("whitespace", "", []),
        ("punctuation", " \u3000 ", []),
    ],
)  # fmt: skip
def test_words_are_those_that_people_see(way: WordSplit, text: str, wanted: list[str]) -> None:
    assert [word for word, _, _ in words_of(text, way)] == wanted


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_places_are_pythons_and_nothing_but_space_is_left_out(way: WordSplit, text: str) -> None:
    found = words_of(text, way)
    assert all(text[start:end] == word for word, start, end in found)
    inside = [place for _, start, end in found for place in range(start, end)]
    assert inside == sorted(set(inside))
    assert inside == [place for place, letter in enumerate(text) if letter not in SPACES]
    if way == "whitespace":
        assert [word for word, _, _ in found] == text.split()
    if way == "characters":
        assert all(not unicodedata.combining(word[0]) or start == 0 or text[start - 1] in SPACES
                   for word, start, _ in found)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_many_scripts_and_damaged_bytes(way: WordSplit) -> None:
    texts = [text.encode() if isinstance(text, str) else text for text in PROBE_TEXTS]
    words, starts, ends = split_words(tf.constant(texts), way)
    assert words.row_lengths().numpy().tolist() == ends.row_lengths().numpy().tolist()
    rows = zip(texts, words.to_list(), starts.to_list(), ends.to_list(), strict=True)
    for text, row, first, last in rows:
        clean = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
        plain = clean.numpy().decode()
        for word, start, end in zip(row, first, last, strict=True):
            assert plain[start:end] == word.decode()


def test_rows_count_from_their_own_beginning_and_there_may_be_none() -> None:
    words, starts, ends = split_words(tf.constant(["a bc", "", "d"]), "whitespace")
    assert words.to_list() == [[b"a", b"bc"], [], [b"d"]]
    assert starts.to_list() == [[0, 2], [], [0]]
    assert ends.to_list() == [[1, 4], [], [1]]
    assert split_words(tf.constant([], tf.string), "punctuation").words.nrows() == 0


def test_words_are_the_same_in_a_graph() -> None:
    texts = tf.constant(["What a film!", "東京"])
    for way in WAYS:
        traced = tf.function(
            lambda rows, way=way: split_words(rows, way), input_signature=[tf.TensorSpec([None], tf.string)]
        )
        for ours, wanted in zip(traced(texts), split_words(texts, way), strict=True):
            assert ours.to_list() == wanted.to_list()
