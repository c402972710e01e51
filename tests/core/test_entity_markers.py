"""Marked texts against a regular expression, tried on every short sequence of markers and letters."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.core.entity_markers import MARKERS, MarkedText, Span, entities_of, mark_entities, parse_marked, wrong_places
from tfft.core.errors import DataError

_FREE = r"((?:(?!</?e[12]>).)*)"
IN_ORDER = re.compile(f"{_FREE}<e1>{_FREE}</e1>{_FREE}<e2>{_FREE}</e2>{_FREE}", re.DOTALL)
REVERSED = re.compile(f"{_FREE}<e2>{_FREE}</e2>{_FREE}<e1>{_FREE}</e1>{_FREE}", re.DOTALL)


def expected(text: str) -> MarkedText | None:
    """What a text is by definition: the two pairs in either order, with no other marker, and nothing blank in them."""
    for pattern in (IN_ORDER, REVERSED):
        match = pattern.fullmatch(text)
        if match is not None and match[2].strip() and match[4].strip():
            return MarkedText(match[1], match[2], match[3], match[4], match[5], pattern is IN_ORDER)
    return None


def test_every_short_sequence_is_cut_or_refused() -> None:
    valid = 0
    for size in range(7):
        for pieces in itertools.product((*MARKERS, "a\n", " "), repeat=size):
            text = "".join(pieces)
            found, wanted = parse_marked(text), expected(text)
            assert (found if isinstance(found, MarkedText) else None) == wanted, text
            valid += wanted is not None
    assert valid == 2, "shorter ones have no room for more"
    assert parse_marked("x<e2>b</e2> y <e1>a</e1>z") == MarkedText("x", "b", " y ", "a", "z", False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a b", "with no <e1>"),
        ("<e1>a</e1> <e2>b", "with no </e2>"),
        ("<e1>a</e1> <e1>c</e1> <e2>b</e2>", "with more than one <e1>"),
        ("</e1>a<e1> <e2>b</e2>", "whose </e1> stands before <e1>"),
        ("<e1>a <e2>b</e2></e1>", "whose entities overlap"),
        ("<e1>a <e2>b</e1> c</e2>", "whose entities overlap"),
        ("<e1>\u3000</e1> <e2>b</e2>", "whose head entity is blank"),
        ("<e1>a</e1> <e2></e2>", "whose tail entity is blank"),
    ],
)
def test_what_is_wrong_is_said(text: str, reason: str) -> None:
    assert parse_marked(text) == reason
    with pytest.raises(DataError, match=re.escape(f"There is a text {reason}")):
        entities_of(text)


@pytest.mark.parametrize(
    ("text", "head", "tail", "reason"),
    [
        ("abc", (0, 4), (1, 2), "whose head entity is outside of the text"),
        ("abc", (0, 1), (-1, 1), "whose tail entity is outside of the text"),
        ("abc", (0, 0), (1, 2), "whose head entity ends where it starts, or before"),
        ("abc", (0, 1), (2, 1), "whose tail entity ends where it starts, or before"),
        ("abc", (0, 2), (1, 3), "whose entities overlap"),
        ("abc", (0, 3), (1, 2), "whose entities overlap"),
        ("abc", (0, 1), (0, 1), "whose entities overlap"),
        ("a c", (0, 1), (1, 2), "whose tail entity is blank"),
        ("a</e1>", (0, 1), (1, 2), "that hold </e1>, which marks entities"),
        ("abc", (1, 2), (0, 1), None),
    ],
)
def test_wrong_places_are_said(text: str, head: tuple[int, int], tail: tuple[int, int], reason: str | None) -> None:
    assert wrong_places(text, Span(*head), Span(*tail)) == reason


@given(
    text=st.text(st.sampled_from("a<e1>/2 é🙂\0\n"), max_size=12),
    places=st.lists(st.integers(0, 12), min_size=4, max_size=4),
)
def test_marked_places_are_found_again(text: str, places: list[int]) -> None:
    head, tail = Span(*places[:2]), Span(*places[2:])
    if wrong_places(text, head, tail) is not None:
        return
    found = entities_of(mark_entities(text, head, tail))
    assert (found.head, found.tail) == (text[slice(*head)], text[slice(*tail)])
    assert "".join(found[:5]) == text
    assert found.head_first == (head.start < tail.start)
