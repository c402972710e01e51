"""Typing errors are those of the keyboard, in the right number, and leave everything else as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.augment._keyboards import LAYOUTS, neighbours

KINDS = ("substitution", "omission", "doubling", "transposition")
#: Read off a keyboard.
QWERTY = {
    "a": "qwsz",
    "s": "awedxz",
    "g": "tyfhvb",
    "p": "ol",
    "m": "njk",
    "q": "wa",
    "l": "kop",
    "z": "asx",
    "y": "tugh",
}
ANY_WORDS = st.text(
    st.sampled_from("aabsS Zz\tüŐ我ж-'1\u0301👍\ufffe") | st.characters(exclude_categories=["Cs"]), max_size=25
)


@pytest.mark.parametrize("key", QWERTY)
def test_neighbours_are_beside_the_key(key: str) -> None:
    assert set(neighbours("qwerty")[key]) == set(QWERTY[key])
    assert set(neighbours("qwerty")[key.upper()]) == set(QWERTY[key].upper())


@pytest.mark.parametrize(
    ("layout", "key", "beside"),
    [("qwertz", "z", "tuhg"), ("qwertz", "ö", "lpüä"), ("azerty", "a", "zq"), ("azerty", "m", "lp")],
)
def test_other_layouts_have_other_neighbours(layout: str, key: str, beside: str) -> None:
    assert set(neighbours(layout)[key]) == set(beside)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_being_beside_is_mutual(layout: str) -> None:
    beside = neighbours(layout)
    assert all(key in beside[other] for key, others in beside.items() for other in others)


def one_slip(word: str, kind: str) -> set[str]:
    """Everything that one slip of a kind can make of a word, by brute force; a substitution where it is impossible."""
    beside = neighbours("qwerty")
    made = set()
    for place, key in enumerate(word):
        if key not in beside:
            continue
        after = word[place + 1 :]
        substituted = {word[:place] + other + after for other in beside[key]}
        can_swap = bool(after) and after[0] in beside and after[0] != key
        if kind == "substitution" or (kind == "omission" and place == 0) or (kind == "transposition" and not can_swap):
            made |= substituted
        elif kind == "omission":
            made.add(word[:place] + after)
        elif kind == "doubling":
            made.add(word[:place] + key * 2 + after)
        else:
            made.add(word[:place] + after[0] + key + after[1:])
    return made


@pytest.fixture(scope="module", params=KINDS)
def one(request: pytest.FixtureRequest, runner: Callable[..., Any]) -> tuple[str, Any]:
    allowed = ["substitution", request.param]
    return request.param, runner("keyboard_typos", compiled=True, rate=1e-6, slips=allowed)


@pytest.mark.parametrize("word", ["film", "Aab", "x", "so-so", "naïve", "éab", "aaa", "I'm", "ZZtop"])
def test_one_slip_is_any_of_those_that_are_possible_and_nothing_else(word: str, one: tuple[str, Any]) -> None:
    kind, runner = one
    after, changed = runner.texts([f"42 {word} !"] * 1500)
    assert changed.all()
    made = {text.removeprefix("42 ").removesuffix(" !") for text in after}
    assert made == one_slip(word, kind) | one_slip(word, "substitution")


@pytest.fixture(scope="module")
def many(runner: Callable[..., Any]) -> Any:
    return runner("keyboard_typos", compiled=True, rate=0.5)


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(ANY_WORDS, min_size=1, max_size=5), seed=st.integers(0, 100))
@example(texts=["aab abab aaaa", "\ufffea", "ü", "\uff21\uff41"], seed=3)
def test_rows_with_a_letter_change_and_words_stay_words(texts: list[str], seed: int, many: Any) -> None:
    after, changed = many.texts(texts, seed)
    keys = set(neighbours("qwerty"))
    for old, new, says in zip(texts, after, changed, strict=True):
        assert (old != new) == says == any(character in keys for character in old)
        # White space and everything that is no letter of the keyboard are as before.
        assert [character for character in old if character not in keys] == [c for c in new if c not in keys]
        assert len(old.split()) == len(new.split())


@pytest.fixture(scope="module", params=KINDS)
def alone(request: pytest.FixtureRequest, runner: Callable[..., Any]) -> tuple[str, Any]:
    return request.param, runner("keyboard_typos", compiled=True, rate=0.2, slips=[request.param])


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 60), seed=st.integers(0, 1000))
def test_the_number_of_slips_is_the_share_of_the_letters(length: int, seed: int, alone: tuple[str, Any]) -> None:
    kind, slip = alone
    word = ("abcdefghijklmnopqrstuvwxyz" * 3)[:length]
    ((new,), (says,)) = slip.texts([word], seed)
    usable = length - 1 if kind in ("omission", "transposition") else length
    counts = {min(max(count, 1), usable) for count in (int(0.2 * length), int(0.2 * length + 0.999))}
    assert says == (usable > 0)
    if kind == "substitution":
        assert sum(old != typed for old, typed in zip(word, new, strict=True)) in counts
    elif kind == "transposition":
        assert sorted(new) == sorted(word)
        moved = sum(old != typed for old, typed in zip(word, new, strict=True))
        assert moved % 2 == 0
        assert moved / 2 <= max(counts)
    else:
        assert abs(len(new) - length) in counts


def test_the_share_of_letters_is_the_rate(runner: Callable[..., Any]) -> None:
    text = "the quick brown fox jumps over the lazy dog"  # 35 letters
    after, _ = runner("keyboard_typos", rate=0.07, slips=["substitution"]).texts([text] * 3000)
    slips = [sum(old != new for old, new in zip(text, typed, strict=True)) for typed in after]
    assert set(slips) == {2, 3}
    assert abs(np.mean(slips) / 35 - 0.07) < 5 * np.std(slips) / 35 / np.sqrt(3000)


def test_every_kind_is_as_frequent_and_every_letter_as_likely(runner: Callable[..., Any]) -> None:
    rows = 8000
    after, _ = runner("keyboard_typos", rate=1e-6).texts(["abcdefgh"] * rows)
    lengths = np.array([len(text) for text in after])
    first = 1 / 8  # the share of slips that fall on the first letter, where none is left out
    np.testing.assert_allclose((lengths == 9).mean(), 0.25, atol=0.025)
    np.testing.assert_allclose((lengths == 7).mean(), 0.25 * (1 - first), atol=0.025)
    doubled = [next(place for place in range(8) if text[place] == text[place + 1]) for text in after if len(text) == 9]
    np.testing.assert_allclose(np.bincount(doubled, minlength=8) / len(doubled), 1 / 8, atol=0.04)


def test_a_slip_alone_that_is_impossible_leaves_the_row(runner: Callable[..., Any]) -> None:
    assert runner("keyboard_typos", slips=["omission"]).texts(["a b c", "ab"])[1].tolist() == [False, True]
    assert runner("keyboard_typos", slips=["transposition"]).texts(["aa b", "ab", "a1"])[1].tolist() == [
        False,
        True,
        False,
    ]


def test_slips_on_neighbouring_letters_do_not_undo_each_other(runner: Callable[..., Any]) -> None:
    texts = ["ab", "aab", "abab", "aaab", "as", "sa", "ssa"] * 300
    for kinds in (KINDS, ["omission", "doubling"], ["transposition"], ["transposition", "substitution"]):
        after, changed = runner("keyboard_typos", rate=1.0, slips=kinds).texts(texts)
        assert changed.all()
        assert all(old != new for old, new in zip(texts, after, strict=True))


def test_the_layout_matters(runner: Callable[..., Any]) -> None:
    made = {layout: set(runner("keyboard_typos", layout=layout).texts(["ö"] * 50)[0]) for layout in LAYOUTS}
    assert made["qwerty"] == made["azerty"] == {"ö"}
    assert made["qwertz"] == {"öö", *"lpüä"}
