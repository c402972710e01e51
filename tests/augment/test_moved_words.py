"""Deletion, swap and insertion: what may change, how much of it, and that no span of tags is ever broken."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import ConfigError

MOVES = ("random_deletion", "random_swap", "random_insertion")
OUTSIDE, B_PER, I_PER, B_LOC, I_LOC = range(5)
TAGGED = {"tagged": True, "outside_tag": OUTSIDE, "inside_tags": frozenset({I_PER, I_LOC})}

WORDS = st.lists(st.sampled_from(["a", "b", "cc", "Ünï", "وردة", "我", "ー", "👍🏽", "x,", "!"]), max_size=12)
GAPS = st.sampled_from([" ", "  ", "\n", "\u3000", "\t "])
TEXT = st.builds(
    lambda words, gap, lead, end: lead + gap.join(words) + end,
    WORDS,
    GAPS,
    st.sampled_from(["", " "]),
    GAPS | st.just(""),
)


def split(text: str) -> list[str]:
    """Words of a text of the strategies above, in plain Python: 我 is a word wherever it stands."""
    return text.replace("我ー", "\x00").replace("我", " 我 ").replace("\x00", " 我ー ").split()


@pytest.fixture(scope="module", params=MOVES)
def move(request: pytest.FixtureRequest, runner: Callable[..., Any]) -> tuple[str, Any]:
    return request.param, runner(request.param, compiled=True, rate=0.3)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=6), seed=st.integers(0, 100))
def test_a_row_changes_if_it_can_and_says_so(texts: list[str], seed: int, move: tuple[str, Any]) -> None:
    name, runner = move
    after, changed = runner.texts(texts, seed)
    for old, new, says in zip(texts, after, changed, strict=True):
        assert (old != new) == says
        words = split(old)
        can = {
            "random_deletion": len(words) > 1,
            "random_swap": len(set(words)) > 1,
            "random_insertion": any(any(character.isalnum() for character in word) for word in words),
        }
        assert says == can[name]
        # The ends of a text are never touched.
        assert new[: len(new) - len(new.lstrip())] == old[: len(old) - len(old.lstrip())]
        assert new[len(new.rstrip()) :] == old[len(old.rstrip()) :]


def shares(name: str, length: int, rate: float) -> set[int]:
    """How many words of a row are deleted, moved or put in."""
    if name == "random_swap":
        return {
            2 * min(max(pairs, 1), length // 2) for pairs in (int(rate / 2 * length), int(rate / 2 * length + 0.999))
        }
    most = length - 1 if name == "random_deletion" else length
    return {min(max(count, 1), most) for count in (int(rate * length), int(rate * length + 0.999))}


@settings(max_examples=50, deadline=None)
@given(length=st.integers(2, 30), seed=st.integers(0, 1000))
def test_words_are_those_of_the_row_in_the_right_number(length: int, seed: int, move: tuple[str, Any]) -> None:
    name, runner = move
    old = [f"w{place}" for place in range(length)]
    (new,) = (text.split(" ") for text in runner.texts([" ".join(old)], seed)[0])
    if name == "random_deletion":
        assert new == [word for word in old if word in set(new)]
        assert length - len(new) in shares(name, length, 0.3)
    elif name == "random_swap":
        assert Counter(new) == Counter(old)
        moved = [place for place in range(length) if new[place] != old[place]]
        assert len(moved) in shares(name, length, 0.3)
        # Disjoint pairs: swapping twice gives the row back.
        assert all(old[int(new[int(new[place][1:])][1:])] == old[place] for place in moved)
    else:
        places = iter(new)
        assert all(any(word == other for other in places) for word in old), "the old words are no longer in order"
        assert len(new) - length in shares(name, length, 0.3)
        assert set(new) == set(old)
        assert new[-1] == old[-1]


@pytest.mark.parametrize("rate", [0.1, 0.25])
@pytest.mark.parametrize("name", MOVES)
def test_the_share_of_words_is_the_rate(name: str, rate: float, runner: Callable[..., Any]) -> None:
    rows, length = 3000, 20
    old = [f"w{place}" for place in range(length)]
    texts, _ = runner(name, rate=rate).texts([" ".join(old)] * rows)
    if name == "random_swap":
        counts = [sum(one != other for one, other in zip(old, text.split(), strict=True)) for text in texts]
    else:
        counts = [abs(len(text.split()) - length) for text in texts]
    assert abs(np.mean(counts) / length - rate) < 5 * np.std(counts) / length / np.sqrt(rows) + 1e-9


@pytest.mark.parametrize("name", MOVES)
def test_every_word_and_every_place_is_as_likely(name: str, runner: Callable[..., Any]) -> None:
    rows, length = 6000, 6
    old = [f"w{place}" for place in range(length)]
    texts, _ = runner(name, rate=0.1).texts([" ".join(old)] * rows)
    hit = np.zeros(length)
    for text in texts:
        words = text.split()
        if name == "random_deletion":
            hit[old.index(next(word for word in old if word not in words))] += 1
        elif name == "random_swap":
            hit += [0.5 * (one != other) for one, other in zip(words, old, strict=True)]
        else:
            hit[old.index(Counter(words).most_common(1)[0][0])] += 1
    np.testing.assert_allclose(hit / rows, 1 / length, atol=5 * np.sqrt(1 / length / rows))


def test_chinese_words_are_moved_without_white_space(runner: Callable[..., Any]) -> None:
    for name in MOVES:
        texts, changed = runner(name, rate=0.5).texts(["我爱北京天安门"] * 50)
        assert changed.all()
        assert not any(" " in text for text in texts)
        assert set("".join(texts)) == set("我爱北京天安门")


def test_words_of_scripts_with_white_space_never_run_together(runner: Callable[..., Any]) -> None:
    for name in MOVES:
        texts, _ = runner(name, rate=0.6).texts(["x我y 爱z"] * 200)
        assert {word for text in texts for word in split(text.replace("爱", " 爱 "))} <= {"x", "y", "z", "我", "爱"}


def test_a_new_word_is_a_synonym_where_there_is_a_thesaurus(runner: Callable[..., Any]) -> None:
    insert = runner("random_insertion", thesaurus={"film": ["movie"], "good": ["fine"]}, rate=0.3)
    texts, changed = insert.texts(["a GOOD one, Film!", "nothing known"] * 40)
    assert changed.tolist() == [True, False] * 40
    new = {word for text in texts[::2] for word in text.split()} - {"a", "GOOD", "one,", "Film!"}
    assert new == {"FINE", "Movie"}


# Tags

NAMES = {OUTSIDE: "O", B_PER: "B-PER", I_PER: "I-PER", B_LOC: "B-LOC", I_LOC: "I-LOC"}


def spans(words: Sequence[str], tags: Sequence[int]) -> list[tuple[str, tuple[str, ...]]]:
    """The spans of a row in order; fails when a tag continues no span of its own kind."""
    found: list[tuple[str, list[str]]] = []
    open_kind = None
    for word, tag in zip(words, tags, strict=True):
        prefix, _, kind = NAMES[tag].partition("-")
        if prefix == "B":
            found.append((kind, [word]))
        elif prefix == "I":
            assert open_kind == kind, f"{NAMES[tag]} continues no span in {[NAMES[tag] for tag in tags]}"
            found[-1][1].append(word)
        open_kind = kind if prefix != "O" else None
    return [(kind, tuple(inside)) for kind, inside in found]


SEGMENT = st.one_of(
    st.just([OUTSIDE]),
    st.integers(0, 3).map(lambda more: [B_PER] + [I_PER] * more),
    st.integers(0, 3).map(lambda more: [B_LOC] + [I_LOC] * more),
)
TAG_ROW = st.lists(SEGMENT, max_size=7).map(lambda segments: [tag for segment in segments for tag in segment])


@pytest.fixture(scope="module", params=[*MOVES, "synonym_replacement", "keyboard_typos"])
def tagged_move(request: pytest.FixtureRequest, runner: Callable[..., Any]) -> tuple[str, Any]:
    options = {"thesaurus": {f"w{place}": ["s"] for place in range(0, 30, 3)}}
    needed = options if request.param == "synonym_replacement" else {}
    return request.param, runner(request.param, TAGGED, compiled=True, rate=0.5, **needed)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(TAG_ROW, min_size=1, max_size=6), seed=st.integers(0, 100))
def test_spans_are_never_broken(rows: list[list[int]], seed: int, tagged_move: tuple[str, Any]) -> None:
    name, runner = tagged_move
    words = [[f"w{place}" for place in range(len(tags))] for tags in rows]
    new_words, new_tags, changed = runner.tagged(words, rows, seed)
    for old, tags, new, after, says in zip(words, rows, new_words, new_tags, changed, strict=True):
        assert (old != new) == says
        if name in MOVES:
            assert spans(new, after) == spans(old, tags)
            outside = tags.count(OUTSIDE)
            possible = {
                "random_deletion": outside > 0 and len(tags) > 1,
                "random_swap": outside > 1,
                "random_insertion": outside > 0,
            }
            assert says == possible[name]
        else:
            spans(new, after)
            assert after == tags
        if tags:
            assert new, "the row lost its last word"


@pytest.mark.parametrize("name", MOVES)
def test_a_word_that_keeps_two_spans_apart_stays(name: str, runner: Callable[..., Any]) -> None:
    # In the IOB1 scheme a span may begin with I-; without the word between them these two would be one.
    rows = [[I_PER, OUTSIDE, I_PER]] * 30
    words, tags, _ = runner(name, TAGGED, rate=0.5).tagged([["ann", "saw", "bob"]] * 30, rows)
    assert all([word for word in row if word in ("ann", "bob")] == ["ann", "bob"] for row in words)
    assert not any(one == other == I_PER for row in tags for one, other in itertools.pairwise(row))


def test_tags_that_stand_for_themselves_go_with_their_words(runner: Callable[..., Any]) -> None:
    words = [[f"w{place}" for place in range(9)]] * 20
    tags = [list(range(9))] * 20
    for name in ("random_deletion", "random_swap"):
        after, after_tags, changed = runner(name, {"tagged": True}, rate=0.4).tagged(words, tags)
        assert changed.all()
        assert after_tags == [[int(word[1:]) for word in row] for row in after]


@pytest.mark.parametrize("name", MOVES)
def test_spans_without_an_outside_tag_are_refused(name: str, runner: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=f"{name} moves words that are outside every span"):
        runner(name, {"tagged": True, "inside_tags": frozenset({2})})


def test_a_new_word_needs_a_tag(runner: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="random_insertion needs a tag for the words"):
        runner("random_insertion", {"tagged": True})
