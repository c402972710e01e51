"""Token cutoff and span masking: special tokens stay, shares and lengths are those that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.augment._vocabulary import begins_word
from tfft.core.errors import ConfigError

PAD, START, END, MASK, UNKNOWN = range(5)
SPECIAL = frozenset(range(5))
CONTEXT = {"special_ids": SPECIAL, "mask_id": MASK}
ROW = st.lists(st.integers(5, 30), max_size=25).map(lambda ids: [START, *ids, END]) | st.lists(
    st.integers(0, 12), max_size=9
)


def shares(rate: float, size: int, most: int) -> set[int]:
    return {max(min(max(count, 1), most), 0) for count in (int(rate * size), int(rate * size + 0.999))}


@pytest.fixture(scope="module")
def cut(runner: Callable[..., Any]) -> Any:
    return runner("token_cutoff", CONTEXT, compiled=True, rate=0.3)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=6), seed=st.integers(0, 100))
def test_cutoff_takes_tokens_out_and_leaves_special_ones(rows: list[list[int]], seed: int, cut: Any) -> None:
    after, changed = cut.ids(rows, seed)
    for old, new, says in zip(rows, after, changed, strict=True):
        content = [id_ for id_ in old if id_ not in SPECIAL]
        left = iter(old)
        assert all(any(id_ == other for other in left) for id_ in new), "what is left is out of order"
        assert [id_ for id_ in old if id_ in SPECIAL] == [id_ for id_ in new if id_ in SPECIAL]
        assert len(old) - len(new) in shares(0.3, len(content), len(content) - 1)
        assert says == (len(content) > 1)


def test_every_token_is_as_likely_to_be_cut(runner: Callable[..., Any]) -> None:
    rows = 6000
    after, _ = runner("token_cutoff", CONTEXT, rate=0.2).ids([[START, *range(10, 20), END]] * rows)
    lost = np.mean([[id_ not in row for id_ in range(10, 20)] for row in after], axis=0)
    np.testing.assert_allclose(lost, 0.2, atol=5 * np.sqrt(0.16 / rows))


@pytest.fixture(scope="module")
def mask(runner: Callable[..., Any]) -> Any:
    return runner("span_masking", CONTEXT, compiled=True, rate=0.3)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=6), seed=st.integers(0, 100))
def test_masking_changes_its_share_of_tokens_to_masks_and_nothing_else(
    rows: list[list[int]], seed: int, mask: Any
) -> None:
    after, changed = mask.ids(rows, seed)
    for old, new, says in zip(rows, after, changed, strict=True):
        assert len(new) == len(old)
        content = sum(id_ not in SPECIAL for id_ in old)
        masked = [one for one, other in zip(old, new, strict=True) if one != other]
        assert all(other in (one, MASK) for one, other in zip(old, new, strict=True))
        assert not SPECIAL & set(masked)
        assert len(masked) in shares(0.3, content, content - 1)
        assert says == bool(masked)


def runs(row: list[int]) -> list[int]:
    return [len(list(group)) for is_mask, group in groupby(row, lambda id_: id_ == MASK) if is_mask]


@pytest.mark.parametrize(("stop", "longest"), [(0.2, 10), (0.5, 4), (1.0, 10), (0.3, 1)])
def test_lengths_of_spans_are_geometric(stop: float, longest: int, runner: Callable[..., Any]) -> None:
    # Long rows with few spans: hardly any two touch, and few are cut to the share.
    rows = [[10] * 3000] * 40
    masked, _ = runner("span_masking", CONTEXT, rate=0.03, stop=stop, longest=longest).ids(rows)
    lengths = np.concatenate([runs(row) for row in masked])
    expected = np.array([stop * (1 - stop) ** (size - 1) for size in range(1, longest)] + [(1 - stop) ** (longest - 1)])
    if stop == 1.0:
        expected = np.array([1.0])
    found = np.array([(lengths == size + 1).mean() for size in range(len(expected))])
    np.testing.assert_allclose(found, expected, atol=0.06 + 4 * 0.5 / np.sqrt(len(lengths)))


def test_spans_lie_anywhere_and_the_share_is_the_rate(runner: Callable[..., Any]) -> None:
    rows = 6000
    after, _ = runner("span_masking", CONTEXT, rate=0.15).ids([[START, *range(10, 20), END]] * rows)
    hidden = np.array(after)[:, 1:-1] == MASK
    assert set(hidden.sum(1)) == {1, 2}
    assert abs(hidden.mean() - 0.15) < 5 * 0.05 / np.sqrt(rows)
    # Two masks are a span of two four times as often as two of one; each way to place a span is as likely.
    np.testing.assert_allclose(hidden[hidden.sum(1) == 1].mean(0), 0.1, atol=5 * np.sqrt(0.1 / (rows / 2)))
    touching = hidden[hidden.sum(1) == 2]
    share = (touching[:, 1:] & touching[:, :-1]).any(1).mean()
    expected = 0.8 + 0.2 * 9 / 45
    assert abs(share - expected) < 5 * np.sqrt(0.2 / len(touching))


VOCABULARY = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "play", "##ing", "##s", "film", "我", "!"]


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(st.integers(5, 10), max_size=20), min_size=1, max_size=5), seed=st.integers(0, 100))
def test_words_are_masked_as_a_whole(rows: list[list[int]], seed: int, whole: Any) -> None:
    given_rows = [[START, *row, END] for row in rows]
    after, changed = whole.ids(given_rows, seed)
    for old, new, says in zip(given_rows, after, changed, strict=True):
        words: list[list[int]] = []
        for place in range(1, len(old) - 1):
            if not VOCABULARY[old[place]].startswith("##") or place == 1:
                words.append([])
            words[-1].append(place)
        masked = [[new[place] == MASK for place in word] for word in words]
        assert all(len(set(of_word)) == 1 for of_word in masked)
        assert sum(of_word[0] for of_word in masked) in shares(0.3, len(words), len(words) - 1)
        assert says == (len(words) > 1)


@pytest.fixture(scope="module")
def whole(runner: Callable[..., Any]) -> Any:
    return runner("span_masking", {**CONTEXT, "vocabulary": VOCABULARY}, compiled=True, rate=0.3)


@pytest.mark.parametrize(
    ("vocabulary", "begins"),
    [
        (["play", "##ing", "我", "##我"], [True, False, True, False]),
        (["\u2581play", "ing", "我", "\u2581"], [True, False, True, True]),
        (["\u0120play", "ing", "\u0120"], [True, False, True]),
        (["play", "ing"], [True, True]),
    ],
    ids=["WordPiece", "SentencePiece", "byte-level BPE", "whole words"],
)
def test_tokens_that_begin_a_word(vocabulary: list[str], begins: list[bool]) -> None:
    assert begins_word(vocabulary).tolist() == begins


def test_a_tokenizer_without_a_mask_is_refused(runner: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="span_masking needs a mask token"):
        runner("span_masking")
