"""Words without TensorFlow: the same cuts as in the graph, and the choice among them."""

from __future__ import annotations

import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.data.word_cutting import WordCut, choose_cut, cut_words, join_words
from tfft.layers.word_splitter import split_words

CUTS: tuple[WordCut, ...] = ("whitespace", "punctuation", "characters")
#: TensorFlow's regular expressions know an older Unicode than Python: characters assigned since then are left out.
LETTERS = st.characters(exclude_categories=("Cs", "Cn")).filter(lambda letter: ord(letter) < 0x3000)


def in_graph(text: str, how: WordCut) -> list[tuple[int, int]]:
    found = split_words(tf.constant([text.encode()]), how)
    return list(zip(found.starts[0].numpy().tolist(), found.ends[0].numpy().tolist(), strict=True))


@pytest.mark.parametrize("how", CUTS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("ab1 .,-'@\u2019\u0301\u00e9\u4e2d\u6587\u3000\n\u00a0()\U0001f642"), max_size=24))
def test_the_cuts_are_those_of_the_graph(how: WordCut, text: str) -> None:
    assert cut_words(text, how) == in_graph(text, how)


@pytest.mark.parametrize("how", CUTS)
def test_every_character_of_the_basic_plane_is_cut_as_in_the_graph(how: WordCut) -> None:
    known = [
        chr(number)
        for number in range(0x10000)
        if unicodedata.ucd_3_2_0.category(chr(number)) not in ("Cs", "Cn", "Co")
        and unicodedata.ucd_3_2_0.category(chr(number)) == unicodedata.category(chr(number))
    ]
    assert len(known) > 40_000
    text = "a".join(known)
    assert cut_words(text, how) == in_graph(text, how)


@pytest.mark.parametrize("how", CUTS)
def test_nothing_behind_a_nul_is_lost(how: WordCut) -> None:
    text = "a\x00 film\x00script \x00 was"
    assert cut_words(text, how) == in_graph(text, how)
    assert in_graph(text, how)[-1][1] == len(text)


@given(st.lists(st.text(LETTERS.filter(lambda letter: not letter.isspace()), min_size=1, max_size=5), max_size=8))
def test_joined_words_are_where_they_are_said_to_be(words: list[str]) -> None:
    text, places = join_words(words)
    assert [text[start:end] for start, end in places] == words
    assert set(text) - set("".join(words)) <= {" "}


def test_scripts_without_spaces_get_none() -> None:
    assert join_words(["\u5317\u4eac", "\u3001", "Beijing", "2008"])[0] == "\u5317\u4eac\u3001 Beijing 2008"


@pytest.mark.parametrize(
    ("rows", "how", "share"),
    [
        ([["12", "Main", "St.,"], ["Apt", "#3"]], "whitespace", 1.0),
        ([["12", "Main", "St", ","], ["Is", "it", "?"]], "punctuation", 1.0),
        ([["Ann", "sings"]], "punctuation", 1.0),
        ([list("\u5317\u4eac\u5e02")], "characters", 1.0),
        ([["\u5317\u4eac", "\u5e02"]], "characters", 0.0),
        ([["New York", "is"], ["big"]], "punctuation", 0.5),
    ],
)
def test_the_cut_that_gives_the_words_back_is_chosen(rows: list[list[str]], how: str, share: float) -> None:
    assert choose_cut(rows) == (how, share)
