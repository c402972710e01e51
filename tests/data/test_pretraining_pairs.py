"""Sentence pairs: every token of the corpus is another number, so that each row tells where it comes from."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, ks_2samp

from tfft.core.errors import ConfigError, DataError
from tfft.data.sentence_pairs import SentencePairOptions, SentencePairs, sentence_pairs

START, BETWEEN, END, FIRST = 1, 2, 3, 10
Corpus = list[list[list[int]]]


def corpus(documents: int = 40, most_sentences: int = 12, most_tokens: int = 15, seed: int = 0) -> Corpus:
    chance = np.random.default_rng(seed)
    numbers = itertools.count(FIRST)
    return [
        [
            [next(numbers) for _ in range(chance.integers(1, most_tokens + 1))]
            for _ in range(chance.integers(1, most_sentences + 1))
        ]
        for _ in range(documents)
    ]


def made(
    documents: Corpus, objective: Any, length: int = 40, *, seed: int = 0, epoch: int = 0, short: float = 0.1
) -> SentencePairs:
    options = SentencePairOptions(
        objective=objective,
        sequence_length=length,
        start_ids=(START,),
        between_ids=(BETWEEN,),
        end_ids=(END,),
        short_share=short,
    )
    return sentence_pairs(documents, options, seed=seed, epoch=epoch)


def segments(row: list[int], segment_ids: list[int]) -> tuple[list[int], list[int]]:
    middle = row.index(BETWEEN)
    assert row[0] == START
    assert row[-1] == END
    assert segment_ids == [0] * (middle + 1) + [1] * (len(row) - middle - 1)
    return row[1:middle], row[middle + 1 : -1]


def run(tokens: list[int]) -> bool:
    return tokens == list(range(tokens[0], tokens[0] + len(tokens)))


@pytest.mark.parametrize("objective", ["next_sentence", "sentence_order"])
@pytest.mark.parametrize("length", [6, 20, 64])
def test_what_a_row_is_made_of(objective: str, length: int) -> None:
    documents = corpus()
    owner = {token: number for number, text in enumerate(documents) for sentence in text for token in sentence}
    begins = {sentence[0] for text in documents for sentence in text}
    ends = {sentence[-1] for text in documents for sentence in text}
    pairs = made(documents, objective, length)
    assert len(pairs.ids) == len(pairs.segment_ids) == len(pairs.labels) == len(pairs.documents)
    assert (np.diff(pairs.documents) >= 0).all()
    assert set(pairs.labels.tolist()) == {0, 1}
    rows = zip(pairs.ids, pairs.segment_ids, pairs.labels, pairs.documents, strict=True)
    for row, segment_ids, label, number in rows:
        first, second = segments(row, segment_ids)
        assert len(row) <= length
        assert first
        assert second
        assert run(first)
        assert run(second)
        if label and objective == "next_sentence":
            assert owner[first[0]] == number != owner[second[0]]
            continue
        before, after = (second, first) if label else (first, second)
        assert owner[before[0]] == owner[after[0]] == number
        assert before[-1] < after[0]
        if len(row) < length:  # nothing was cut off
            assert before[-1] + 1 == after[0]
            assert before[-1] in ends
            assert {before[0], after[0]} <= begins


@pytest.mark.parametrize("objective", ["next_sentence", "sentence_order"])
def test_every_sentence_is_used_once(objective: str) -> None:
    """Of the documents cut, in order; nothing is truncated where the row has room for any two sentences too many."""
    documents = corpus(most_tokens=3)
    pairs = made(documents, objective, 3 + 200, short=0.0)
    used = []
    for row, segment_ids, label in zip(pairs.ids, pairs.segment_ids, pairs.labels, strict=True):
        first, second = segments(row, segment_ids)
        used += first if label and objective == "next_sentence" else sorted(first + second)
    everything = [token for text in documents for sentence in text for token in sentence]
    alone = [text[0] for text in documents if len(text) == 1]
    if objective == "next_sentence":
        assert (used, pairs.left_out) == (everything, 0)
    else:
        assert pairs.left_out == len(alone) > 0
        assert used == [token for token in everything if not any(token in sentence for sentence in alone)]


def test_half_of_the_pairs_are_in_order() -> None:
    # No chunk of one sentence, which next-sentence prediction always pairs with another document.
    documents = corpus(documents=600, most_tokens=1, most_sentences=1)
    pairs_of_two = [first + second for first, second in zip(documents[::2], documents[1::2], strict=True)]
    order = made(pairs_of_two, "sentence_order", 5, short=0.0)
    assert len(order.labels) == 300
    low, high = binom.interval(0.9999, 300, 0.5)
    assert low <= order.labels.sum() <= high
    following = made(pairs_of_two, "next_sentence", 5, short=0.0)
    # A pair with another document gives its second sentence back, which alone makes another such pair.
    assert low <= (following.labels == 0).sum() <= high
    assert len(following.labels) == 300 + (300 - (following.labels == 0).sum())


def bert(
    documents: Corpus, max_seq_length: int, short_seq_prob: float, rng: random.Random
) -> list[tuple[int, int, int]]:
    """Lengths and label of BERT's own create_instances_from_document (google-research/bert), written out again."""
    found = []
    for number, document in enumerate(documents):
        room = max_seq_length - 3
        target = room if rng.random() >= short_seq_prob else rng.randint(2, room)
        chunk: list[list[int]] = []
        size = place = 0
        while place < len(document):
            chunk.append(document[place])
            size += len(document[place])
            if place == len(document) - 1 or size >= target:
                a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                length_a = sum(map(len, chunk[:a_end]))
                if len(chunk) == 1 or rng.random() < 0.5:
                    label, length_b = 1, 0
                    other = rng.choice([n for n in range(len(documents)) if n != number])
                    for sentence in documents[other][rng.randint(0, len(documents[other]) - 1) :]:
                        length_b += len(sentence)
                        if length_b >= target - length_a:
                            break
                    place -= len(chunk) - a_end
                else:
                    label, length_b = 0, sum(map(len, chunk[a_end:]))
                while length_a + length_b > room:
                    if length_a > length_b:
                        length_a -= 1
                    else:
                        length_b -= 1
                found.append((length_a, length_b, label))
                chunk, size = [], 0
            place += 1
    return found


def test_rows_are_distributed_as_those_of_bert() -> None:
    documents = corpus(documents=400)
    theirs = np.array(bert(documents, 40, 0.0, random.Random(3)))  # noqa: S311
    pairs = made(documents, "next_sentence", 40, short=0.0)
    cut = [segments(row, ids) for row, ids in zip(pairs.ids, pairs.segment_ids, strict=True)]
    ours = np.array([(len(a), len(b), label) for (a, b), label in zip(cut, pairs.labels, strict=True)])
    assert len(ours) == pytest.approx(len(theirs), rel=0.05)
    assert ours[:, 2].mean() == pytest.approx(theirs[:, 2].mean(), abs=0.04)
    for column in range(2):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
        follow = ours[ours[:, 2] == 0, column], theirs[theirs[:, 2] == 0, column]
        assert ks_2samp(*follow).pvalue > 1e-3


def test_short_rows_are_drawn() -> None:
    documents = [[[FIRST + 200 * number + place] for place in range(200)] for number in range(20)]
    full = [len(row) for row in made(documents, "sentence_order", 43, short=0.0).ids]
    short = [len(row) for row in made(documents, "sentence_order", 43, short=1.0).ids]
    some = [len(row) for row in made(documents, "sentence_order", 43, short=0.3).ids]
    assert full == [43] * 100
    assert set(short) == set(range(5, 44))  # from 2 to 40 tokens, and special ones
    assert np.mean(short) == pytest.approx(3 + 21, abs=3)
    assert np.mean(np.array(some) == 43) == pytest.approx(0.7, abs=0.15)


def test_both_ends_of_a_long_segment_lose_tokens() -> None:
    documents = [
        [[FIRST + 60 * number + 30 * half + place for place in range(30)] for half in (0, 1)] for number in range(300)
    ]
    pairs = made(documents, "sentence_order", 3 + 20, short=0.0)
    starts = np.array([sorted((row[1] - FIRST) % 30 for row in [row, row[11:]]) for row in pairs.ids])
    assert {len(row) for row in pairs.ids} == {23}
    # Each segment loses 20 of its 30 tokens, each from its front by chance.
    assert starts.mean() == pytest.approx(10, abs=1)
    assert starts.std() == pytest.approx((20 * 0.25) ** 0.5, abs=0.5)


def test_a_seed_and_an_epoch_give_the_same_pairs() -> None:
    documents = corpus()
    pairs = made(documents, "next_sentence", seed=4, epoch=1)
    again = made(documents, "next_sentence", seed=4, epoch=1)
    assert pairs.ids == again.ids
    assert pairs.labels.tolist() == again.labels.tolist()
    for seed, epoch in ((4, 2), (5, 1)):
        assert made(documents, "next_sentence", seed=seed, epoch=epoch).ids != pairs.ids


def test_empty_sentences_and_documents_are_not_there() -> None:
    documents = corpus(documents=6)
    holes: Corpus = [[], *([[], *text, []] for text in documents), [[]]]
    found, expected = made(holes, "next_sentence"), made(documents, "next_sentence")
    assert found.ids == expected.ids
    assert found.documents.tolist() == (expected.documents + 1).tolist()


def test_roberta_has_two_tokens_between_the_segments() -> None:
    options = SentencePairOptions(
        objective="sentence_order", sequence_length=8, start_ids=(0,), between_ids=(2, 2), end_ids=(2,), short_share=0.0
    )
    pairs = sentence_pairs([[[10, 11], [12, 13]]], options, seed=0, epoch=0)
    (row,), (segment_ids,) = pairs.ids, pairs.segment_ids
    assert row in ([0, 10, 11, 2, 2, 12, 13, 2], [0, 12, 13, 2, 2, 10, 11, 2])
    assert segment_ids == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": "next"}, "Unknown objective 'next'"),
        ({"sequence_length": 4}, "at least 5"),
        ({"short_share": 1.1}, "from 0 to 1"),
    ],
    ids=["objective", "length", "share"],
)
def test_impossible_options_are_refused(change: dict[str, Any], words: str) -> None:
    options = {
        "objective": "next_sentence",
        "sequence_length": 16,
        "start_ids": (1,),
        "between_ids": (2,),
        "end_ids": (2,),
    }
    with pytest.raises(ConfigError, match=words):
        SentencePairOptions(**{**options, **change})


def test_a_corpus_without_a_pair_is_refused() -> None:
    with pytest.raises(DataError, match="only 1 with text"):
        made([[[10], [11]], [[]]], "next_sentence")
    for documents in ([], [[[10, 11]], [[12]]]):
        with pytest.raises(DataError, match="two sentences or more"):
            made(documents, "sentence_order")
