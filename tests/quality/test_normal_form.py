"""When two texts count as the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.quality.normal_form import count_words, normal_form

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=30)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello  World\n", "hello world"),
        ("STRASSE", "Straße"),
        ("cafe\u0301", "CAFÉ"),
        ("\uff21\uff22\uff23\u3000\uff11", "abc 1"),  # full width
        ("ﬁne", "fine"),
        ("non\u00a0breaking", "non breaking"),
        ("zero\u200bwidth\ufeff, soft\u00adhyphen", "zerowidth, softhyphen"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("❤\ufe0f", "❤"),
        ("e\u200b\u0301", "é"),
    ],
)
def test_these_are_the_same(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(("one", "other"), [("cafe", "café"), ("a b", "ab"), ("no.", "no"), ("1", "2"), ("中", "国")])
def test_these_are_not(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


@given(text=TEXTS)
@settings(max_examples=500, deadline=None)
def test_a_normal_form_is_its_own(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)


@given(text=TEXTS)
@settings(max_examples=300, deadline=None)
def test_the_encoding_of_accents_and_the_white_space_have_no_influence(text: str) -> None:
    for form in ("NFC", "NFD"):
        assert normal_form(unicodedata.normalize(form, text)) == normal_form(text)
    assert normal_form(f" \t{text}\n") == normal_form(text)
    assert "  " not in normal_form(text)


@given(text=st.text(st.characters(max_codepoint=0x24F, exclude_characters="\u0131"), max_size=30))
@settings(max_examples=300, deadline=None)
def test_the_case_of_latin_letters_has_no_influence(text: str) -> None:
    # But for the dotless i, whose capital is that of the other i.
    assert normal_form(text.upper()) == normal_form(text.lower())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("...", 0),
        ("two words", 2),
        ("it's", 2),
        ("我们去公园", 5),
        ("GPT很好", 3),
        ("안녕", 2),
        ("привет мир", 2),
    ],
)
def test_words_are_counted_and_dense_characters_too(text: str, words: int) -> None:
    assert count_words(text) == words
