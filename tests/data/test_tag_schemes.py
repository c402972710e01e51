"""Tag schemes against every way to write spans down: a sequence is valid when it is how a scheme writes some spans."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfft.core.errors import DataError
from tfft.data.origin import Origin
from tfft.data.tag_schemes import (
    Span,
    TagScheme,
    allowed_transitions,
    check,
    convert,
    detect_scheme,
    spans_of,
    spans_of_characters,
    tags_of,
)

SCHEMES: tuple[TagScheme, ...] = ("bio", "iob1", "bioes", "plain")
WITH_PREFIXES: tuple[TagScheme, ...] = ("bio", "iob1", "bioes")
TYPES = ("LOC", "B-x")
MOST_TOKENS = 4
LABELS: dict[str, list[str]] = {
    "bio": ["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in TYPES)],
    "iob1": ["O", *(f"{prefix}-{kind}" for prefix in "IB" for kind in TYPES)],
    "bioes": ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in TYPES)],
    "plain": ["O", *TYPES],
}


def written(length: int, scheme: str, before: str = "") -> Iterator[tuple[tuple[str, ...], list[tuple[int, int, str]]]]:
    """Yields every set of spans of some tokens with its tags; `before` is the type of a span that ends before them."""
    if not length:
        yield (), []
        return
    for tags, spans in written(length - 1, scheme):
        yield ("O", *tags), [(start + 1, end + 1, kind) for start, end, kind in spans]
    for kind, size in itertools.product(TYPES, range(1, length + 1)):
        inside = size - 1
        if scheme == "bio":
            head = [f"B-{kind}"] + [f"I-{kind}"] * inside
        elif scheme == "iob1":
            head = [f"B-{kind}" if before == kind else f"I-{kind}"] + [f"I-{kind}"] * inside
        elif scheme == "bioes":
            head = [f"S-{kind}"] if size == 1 else [f"B-{kind}", *[f"I-{kind}"] * (size - 2), f"E-{kind}"]
        elif before == kind:
            continue
        else:
            head = [kind] * size
        for tags, spans in written(length - size, scheme, kind):
            yield (*head, *tags), [(0, size, kind), *((start + size, end + size, other) for start, end, other in spans)]


VALID = {
    scheme: {tags: spans for length in range(1, MOST_TOKENS + 1) for tags, spans in written(length, scheme)}
    for scheme in SCHEMES
}


def sequences(scheme: str) -> Iterator[tuple[str, ...]]:
    """Yields every sequence of a few tags, valid or not."""
    for length in range(1, MOST_TOKENS + 1):
        yield from itertools.product(LABELS[scheme], repeat=length)


def is_refused(tags: tuple[str, ...], scheme: TagScheme) -> bool:
    try:
        check([tags], scheme)
    except DataError:
        return True
    return False


@st.composite
def spans_and_length(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Draws spans that do not overlap, often with no gap between them."""
    pieces = draw(
        st.lists(st.tuples(st.sampled_from(["", "PER", "LOC", "I-ORG", "O-x"]), st.integers(1, 4)), max_size=9)
    )
    ends = list(itertools.accumulate(size for _, size in pieces))
    spans = [Span(end - size, end, kind) for (kind, size), end in zip(pieces, ends, strict=True) if kind]
    return spans, sum(size for _, size in pieces)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_valid_sequence_is_read_and_written(scheme: TagScheme) -> None:
    for tags, spans in VALID[scheme].items():
        assert spans_of(tags, scheme) == spans
        assert tags_of([Span(*span) for span in reversed(spans)], len(tags), scheme) == list(tags)
    assert len(VALID[scheme]) > 100


@pytest.mark.parametrize("scheme", SCHEMES)
def test_allowed_transitions_are_those_of_valid_sequences(scheme: TagScheme) -> None:
    labels = LABELS[scheme]
    transitions, start, end = allowed_transitions(labels, scheme)
    assert transitions.shape == (len(labels), len(labels))
    assert transitions.dtype == start.dtype == end.dtype == bool
    for tags in sequences(scheme):
        path = [labels.index(tag) for tag in tags]
        allowed = start[path[0]] and end[path[-1]] and all(transitions[pair] for pair in itertools.pairwise(path))
        assert allowed == (tags in VALID[scheme])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_check_refuses_what_is_not_valid_and_nothing_else(scheme: TagScheme) -> None:
    for tags in sequences(scheme):
        assert is_refused(tags, scheme) == (tags not in VALID[scheme])


@pytest.mark.parametrize("scheme", WITH_PREFIXES)
def test_the_scheme_of_each_sequence_is_detected(scheme: TagScheme) -> None:
    for tags in sequences(scheme):
        if set(tags) == {"O"}:
            continue
        if tags in VALID[scheme]:
            assert detect_scheme([tags]) == scheme
        elif not any(tags in VALID[other] for other in WITH_PREFIXES):
            with pytest.raises(DataError):
                detect_scheme([tags])


@given(drawn=spans_and_length(), source=st.sampled_from(WITH_PREFIXES), target=st.sampled_from(WITH_PREFIXES))
@settings(max_examples=200, deadline=None)
def test_conversion_keeps_spans_and_is_undone(
    drawn: tuple[list[Span], int], source: TagScheme, target: TagScheme
) -> None:
    spans, length = drawn
    tags = tags_of(spans, length, source)
    check([tags], source)
    converted = convert(tags, source, target)
    check([converted], target)
    assert spans_of(converted, target) == spans
    assert convert(converted, target, source) == tags
    if spans:
        assert detect_scheme([converted, ["O"]]) == target


@given(drawn=spans_and_length())
@settings(max_examples=100, deadline=None)
def test_plain_tags_write_all_spans_but_touching_ones_of_one_type(drawn: tuple[list[Span], int]) -> None:
    spans, length = drawn
    if any(one.end == two.start and one.type == two.type for one, two in itertools.pairwise(spans)):
        with pytest.raises(DataError, match="touch at token"):
            tags_of(spans, length, "plain")
    else:
        tags = tags_of(spans, length, "plain")
        assert spans_of(tags, "plain") == spans
        assert set(tags) <= {"O"} | {span.type for span in spans}


@given(drawn=spans_and_length())
@settings(max_examples=50, deadline=None)
def test_bilou_is_bioes_in_another_spelling(drawn: tuple[list[Span], int]) -> None:
    spans, length = drawn
    assume(spans)
    tags = tags_of(spans, length, "bioes")
    bilou = [f"{ {'E': 'L', 'S': 'U'}.get(tag[0], tag[0]) }{tag[1:]}" for tag in tags]
    check([bilou], "bioes")
    assert detect_scheme([bilou]) == "bioes"
    assert spans_of(bilou, "bioes") == spans
    assert convert(bilou, "bioes", "bioes") == tags
    for one, other in zip(allowed_transitions(tags, "bioes"), allowed_transitions(bilou, "bioes"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_prefixes_may_stand_alone() -> None:
    assert detect_scheme(["BIOOB", "OO"]) == "bio"
    assert detect_scheme(["IIOIB"]) == "iob1"
    assert spans_of(["B", "I", "O", "B", "B"], "bio") == [(0, 2, ""), (3, 4, ""), (4, 5, "")]
    assert tags_of([Span(1, 3, "")], 4, "bioes") == ["O", "B", "E", "O"]


@pytest.mark.parametrize(
    "rows",
    [
        [["NOUN", "VERB", "PUNCT"], ["ADJ"]],
        [["-LRB-", "NN", "-RRB-", "PRP$"]],
        [["street", "street", "O", "city"]],
        [["N", "V", "S", "B"]],
        [["N-prop", "V-fin"]],
    ],
    ids=["universal", "penn", "address", "letters", "hyphens"],
)
def test_tags_without_prefixes_are_plain(rows: list[list[str]]) -> None:
    assert detect_scheme(rows) == "plain"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["O", "O"], ["O"]], "a.conll: every tag is 'O', so there is nothing to learn. Is it the right column?"),
        (
            [["O", "B-PER"], ["b-per", "O"], ["O", "PER-B", "I-PER"], ["B_PER", "b-per"], ["o", "X"]],
            "a.conll: some tags have a prefix, such as 'B-PER', and some have none: 'b-per' (rows 2, 4; did you mean "
            "'B-PER'?), 'PER-B' (row 3; did you mean 'B-PER'?), 'B_PER' (row 4; did you mean 'B-PER'?) and 2 more. "
            "Correct these, or name the scheme 'plain' if prefixes mean nothing.",
        ),
        (
            [["B-PER", "I-PER", "O"], ["O", "I-LOC"], ["O", "B-PER"]],
            "a.conll: the tags are neither 'bio', where B- begins each span, since 'I-LOC' follows 'O' (row 2), nor "
            "'iob1', where B- only follows its own type, since 'B-PER' begins a sequence (row 1); 'B-PER' follows 'O' "
            "(row 3). Make all rows follow one of them.",
        ),
        (
            [["b_per", "i_per", "O"], ["O", "b_loc"]],
            "a.conll: the tags are those of the scheme 'bio', but not in its spelling: 'b_per' (row 1; did you mean "
            "'B-per'?), 'i_per' (row 1; did you mean 'I-per'?), 'b_loc' (row 2; did you mean 'B-loc'?). Correct them, "
            "or name the scheme 'plain' if they have no prefixes.",
        ),
        (
            [["PER-B", "PER-E"], ["PER-S", "0"]],
            "a.conll: the tags are those of the scheme 'bioes', but not in its spelling: 'PER-B' (row 1; did you mean "
            "'B-PER'?), 'PER-E' (row 1; did you mean 'E-PER'?), 'PER-S' (row 2; did you mean 'S-PER'?) and 1 more. "
            "Correct them, or name the scheme 'plain' if they have no prefixes.",
        ),
        (
            [["S-PER"], ["B-LOC", "L-LOC"]],
            "a.conll: some tags are spelled as in IOBES and some as in BILOU: 'S-PER' (row 1), 'L-LOC' (row 2). E- is "
            "L-, and S- is U-; keep to one of the two.",
        ),
        (
            [["U-PER"], ["B-LOC", "O"]],
            "a.conll: in the scheme 'bioes', 'O' follows 'B-LOC' (row 2), where 'I-LOC', 'L-LOC' may stand. Correct "
            "these rows.",
        ),
        (
            [["NN"], ["VB", " NN"], [""]],
            "a.conll: tags that are none of the scheme 'plain': ' NN' (row 2; did you mean 'NN'?), '' (row 3). "
            "Allowed: anything without white space around it. Correct these tags.",
        ),
    ],
    ids=["outside", "mixed", "contradiction", "spelling", "suffix", "bilou", "open", "blank"],
)
def test_what_follows_no_scheme_is_refused_by_row(rows: list[list[str]], message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        detect_scheme(rows, where=Origin("a.conll"))


@pytest.mark.parametrize(
    ("scheme", "rows", "message"),
    [
        (
            "bio",
            [["B-PER", "I-LOC"], ["I-LOC", "O"], ["O", "O"], ["B-LOC", "I-LOC"], ["O", "I-LOC"]],
            "two files: in the scheme 'bio', 'I-LOC' follows 'B-PER' (a.conll row 1), where 'O', 'B-LOC', 'B-PER', "
            "'I-PER' may stand; 'I-LOC' begins a sequence (a.conll row 4), where 'O', 'B-LOC', 'B-PER' may stand; "
            "'I-LOC' follows 'O' (b.conll row 3), where 'O', 'B-LOC', 'B-PER' may stand. Correct these rows.",
        ),
        (
            "bio",
            [["O", "I-PER"], ["I-PER"]],
            "two files: in the scheme 'bio', 'I-PER' follows 'O' (a.conll row 1), where 'O', 'B-PER' may stand; "
            "'I-PER' begins a sequence (a.conll row 4), where 'O', 'B-PER' may stand. All rows are valid in the scheme "
            "'iob1'; name that.",
        ),
        (
            "bioes",
            [["O", "B-PER"], ["S-PER"]],
            "two files: in the scheme 'bioes', 'B-PER' ends a sequence (a.conll row 1), where 'I-PER', 'E-PER' may "
            "stand. Correct these rows.",
        ),
        (
            "bio",
            [["b-per", "I-PER", "B-PER"], ["BPER", "zzz"]],
            "two files: tags that are none of the scheme 'bio': 'b-per' (a.conll row 1; did you mean 'B-PER'?), 'BPER' "
            "(a.conll row 4; did you mean 'B-PER'?), 'zzz' (a.conll row 4). Allowed: 'O', and B- or I- before a type. "
            "Correct these tags.",
        ),
    ],
    ids=["pairs", "other", "end", "tags"],
)
def test_rows_that_break_a_scheme_are_named(scheme: TagScheme, rows: list[list[str]], message: str) -> None:
    origin, numbers = Origin("two files", (("a.conll", 5), ("b.conll", 5))), np.array([1, 4, 6, 7, 8])[: len(rows)]
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check(rows, scheme, where=origin, rows=numbers)


@pytest.mark.parametrize("tag", ["B-", "-PER", "O-PER", "X-PER", "BPER", "", "B-PER ", "b-PER", "B_PER"])
def test_tags_that_are_none_are_refused(tag: str) -> None:
    for scheme in WITH_PREFIXES:
        for tags in ([tag], ["O", tag]):
            with pytest.raises(DataError, match=f"tags that are none of the scheme '{scheme}': {re.escape(repr(tag))}"):
                check([tags], scheme)
            with pytest.raises(DataError, match="which is none of the scheme"):
                spans_of(tags, scheme)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 2, "A"), (1, 3, "B")], "The spans of tokens 0:2 (A) and 1:3 (B) overlap"),
        ([(3, 6, "A")], "tokens 3:6 (A) is out of range: 0 <= start < end <= 5 must hold"),
        ([(-1, 2, "A")], "tokens -1:2 (A) is out of range"),
        ([(2, 2, "A")], "tokens 2:2 (A) is empty"),
        ([(4, 2, "A")], "tokens 4:2 (A) is out of range"),
    ],
    ids=["overlap", "end", "start", "empty", "reversed"],
)
def test_spans_that_no_tags_can_mark_are_refused(spans: list[tuple[int, int, str]], message: str) -> None:
    for scheme in SCHEMES:
        with pytest.raises(DataError, match=re.escape(message)):
            tags_of([Span(*span) for span in spans], 5, scheme)


@pytest.mark.parametrize("kind", ["O", "", " A"])
def test_types_that_are_no_plain_tags_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="cannot be a tag of the scheme 'plain'"):
        tags_of([Span(0, 1, kind)], 1, "plain")


def test_conversion_refuses_invalid_tags() -> None:
    with pytest.raises(DataError, match=r"Token 2: in the scheme 'bio', 'I-A' follows 'O'\."):
        convert(["B-A", "O", "I-A"], "bio", "bioes")
    with pytest.raises(DataError, match=r"Token 1: in the scheme 'bioes', 'B-A' ends a sequence\."):
        convert(["O", "B-A"], "bioes", "bio")
    with pytest.raises(DataError, match="Token 1 has the tag 'S-A', which is none of the scheme 'bio'"):
        convert(["O", "S-A"], "bio", "iob1")
    with pytest.raises(DataError, match="The label 'E-A' is no tag of the scheme 'iob1'"):
        allowed_transitions(["O", "E-A"], "iob1")


@given(
    words=st.lists(st.tuples(st.sampled_from(["", " ", "\n "]), st.text("aé,.😀", min_size=1, max_size=4)), max_size=8),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_spans_of_characters_are_those_of_their_words_or_refused(
    words: list[tuple[str, str]], data: st.DataObject
) -> None:
    text, offsets = "", []
    for gap, word in words:
        text += gap
        offsets.append((len(text), len(text) + len(word)))
        text += word
    edges = st.sampled_from(sorted({0, *itertools.chain(*offsets)})) | st.integers(0, len(text))
    start, end = sorted([data.draw(edges), data.draw(edges)])
    expected = [
        Span(first, last + 1, "PER")
        for first, last in itertools.product(range(len(words)), repeat=2)
        if (offsets[first][0], offsets[last][1]) == (start, end) and first <= last
    ]
    if expected:
        assert spans_of_characters(text, offsets, [Span(start, end, "PER")]) == expected
    else:
        with pytest.raises(DataError, match=f"characters {start}:{end}"):
            spans_of_characters(text, offsets, [Span(start, end, "PER")])


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (
            (8, 13, "LOC"),
            "The span of characters 8:13 (LOC), 'Paris', cuts 'Paris,' (8:14). Correct the span ('Paris,' is 8:14), or "
            "cut the text into smaller words.",
        ),
        (
            (1, 10, "LOC"),
            "The span of characters 1:10 (LOC), 'nn in  Pa', cuts 'Ann' (0:3) and 'Paris,' (8:14). Correct the span "
            "('Ann in  Paris,' is 0:14), or cut the text into smaller words.",
        ),
        (
            (0, 4, "PER"),
            "The span of characters 0:4 (PER), 'Ann ', does not begin and end where words do. Correct the span "
            "('Ann' is 0:3).",
        ),
        ((6, 8, "PER"), "The span of characters 6:8 (PER), '  ', has no word in it. Correct or remove it."),
        ((8, 15, "PER"), "The span of characters 8:15 (PER) is out of range: 0 <= start < end <= 14 must hold"),
    ],
    ids=["cut", "two", "space", "none", "range"],
)
def test_spans_between_words_are_refused_with_the_words_they_touch(span: tuple[int, int, str], message: str) -> None:
    text, words = "Ann in  Paris,", [(0, 3), (4, 6), (8, 14)]
    assert spans_of_characters(text, words, [Span(8, 14, "LOC"), Span(0, 6, "PER")]) == [(0, 2, "PER"), (2, 3, "LOC")]
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        spans_of_characters(text, words, [Span(*span)])


def test_words_out_of_order_or_overlapping_are_refused() -> None:
    with pytest.raises(DataError, match="not in order"):
        spans_of_characters("a b", [(2, 3), (0, 1)], [])
    with pytest.raises(DataError, match="The spans of characters 0:2 and 1:3 overlap"):
        spans_of_characters("a b", [(0, 2), (1, 3)], [])
