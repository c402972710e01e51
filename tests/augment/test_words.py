"""Splitting is lossless, and words are what a reader takes for words."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.augment._words import changed_rows, join_text, respaced, split_text, text_batch, with_words

STRINGS = tf.TensorSpec([None], tf.string)
#: All of Unicode that UTF-8 can hold, and the parts of it that matter here more often than they would come up.
ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from(" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\x00")
    | st.sampled_from("aéñßЖش我爱カーんสั\u0e31\u0301\u200d\ufeff👩🏽")
)
#: Scripts that are written with white space.
SPACED_TEXT = st.text(
    st.sampled_from("abcÉßøЖщשلगे한👍🏽.,!'#@-0٣ \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u202f\u3000")
)


@functools.cache
def compiled() -> Any:
    return tf.function(lambda texts: (*split_text(texts), join_text(*split_text(texts))), input_signature=[STRINGS])


def split(texts: list[str]) -> list[tuple[str, list[str], list[str]]]:
    raw = [text.encode() for text in texts]
    lead, words, gaps, joined = compiled()(tf.constant(raw, tf.string, shape=[len(raw)]))
    assert joined.numpy().tolist() == raw
    rows = zip(lead.numpy(), words.to_list(), gaps.to_list(), strict=True)
    return [(a.decode(), [word.decode() for word in b], [gap.decode() for gap in c]) for a, b, c in rows]


@settings(max_examples=120, deadline=None)
@given(st.lists(ANY_TEXT, max_size=6))
@example(["", " ", "\x00", "\ufffe", "a\x00b \x00"])
def test_nothing_is_lost(texts: list[str]) -> None:
    for text, (lead, words, gaps) in zip(texts, split(texts), strict=True):
        assert text == lead + "".join(word + gap for word, gap in zip(words, gaps, strict=True))
        assert all(words)
        assert not any(word.split() != [word] for word in words)
        assert not "".join([lead, *gaps]).split()


@settings(max_examples=80, deadline=None)
@given(st.lists(SPACED_TEXT, min_size=1, max_size=6))
def test_words_are_those_of_python_where_white_space_parts_them(texts: list[str]) -> None:
    assert [words for _, words, _ in split(texts)] == [text.split() for text in texts]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我爱北京", ["我", "爱", "北", "京"]),
        ("我爱NLP, 真的", ["我", "爱", "NLP,", "真", "的"]),
        ("コーヒーを飲む", ["コー", "ヒー", "を", "飲", "む"]),
        ("か\u3099き", ["か\u3099", "き"]),  # a voicing mark of its own
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("ສະບາຍ", ["ສ", "ະ", "ບ", "າ", "ຍ"]),
        ("안녕 하세요", ["안녕", "하세요"]),
        ("مرحبا بالعالم", ["مرحبا", "بالعالم"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("👩‍👩‍👧 ok", ["👩‍👩‍👧", "ok"]),
        ("ｱｰﾄ", ["ｱｰ", "ﾄ"]),
    ],
)
def test_words_in_many_scripts(text: str, words: list[str]) -> None:
    assert split([text])[0][1] == words


def test_a_space_is_put_only_where_words_would_run_together() -> None:
    batch = text_batch(tf.constant(["x我y z", "x我y"]), None, tf.constant([0, 1], tf.int64))
    moved = with_words(batch, tf.constant(["y", "x", "我", "z", "y", "x", "我"]))
    fixed = respaced(moved, tf.constant([True, False]))
    assert join_text(fixed.lead, fixed.words, fixed.gaps).numpy().tolist() == ["y x我 z".encode(), "yx我".encode()]


def test_a_space_is_never_put_at_the_end_or_between_rows() -> None:
    batch = text_batch(tf.constant(["", "a", "b", ""]), None, tf.range(4, dtype=tf.int64))
    fixed = respaced(batch, tf.ones([4], tf.bool))
    assert join_text(fixed.lead, fixed.words, fixed.gaps).numpy().tolist() == [b"", b"a", b"b", b""]


def test_words_that_are_given_get_spaces_between_them() -> None:
    words = tf.ragged.constant([["New York", ",", "我们"], [], [""]], tf.string, ragged_rank=1)
    batch = text_batch(words, tf.ragged.constant([[1, 0, 0], [], [0]], tf.int64, ragged_rank=1), tf.range(3))
    assert batch.words.to_list() == words.to_list()
    assert join_text(batch.lead, batch.words, batch.gaps).numpy().tolist() == ["New York , 我们".encode(), b"", b""]


def test_a_word_without_a_tag_is_refused() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs one tag"):
        text_batch(tf.constant(["a b"]), tf.ragged.constant([[1]], tf.int64, ragged_rank=1), tf.constant([0]))


def test_changed_rows_are_those_with_another_word() -> None:
    batch = text_batch(tf.constant(["a b", "", "c"]), None, tf.range(3))
    assert changed_rows(batch, with_words(batch, tf.constant(["a", "x", "c"]))).numpy().tolist() == [True, False, False]
