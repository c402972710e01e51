"""Pairs of segments for next-sentence and sentence-order prediction, cut from documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tfft.core.errors import ConfigError, DataError

#: Label of a pair whose second segment follows the first, and of one where it does not.
FOLLOWS, DOES_NOT = 0, 1
_NUMBER = 0x5E47  # keeps these draws apart from others of the same seed
_HALF = 0.5
_FEWEST = 2  # tokens of a pair, and sentences or documents that it takes

#: A sentence as token ids without start and end tokens, and a document as its sentences in order.
Sentence = Sequence[int]
Document = Sequence[Sentence]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentencePairOptions:
    """How pairs are made; the defaults are those of BERT's `create_pretraining_data`.

    Attributes:
        objective: "next_sentence": in half of the pairs the second segment comes from another document (Devlin et al.
            2019, section 3.1). "sentence_order": in half of the pairs the two segments have changed places (Lan et al.
            2019, section 3.1).
        sequence_length: Longest row in tokens, special ones included.
        start_ids: Ids before the first segment, such as `[CLS]`.
        between_ids: Ids between the segments, such as `[SEP]`; two of them in RoBERTa.
        end_ids: Ids after the second segment, such as `[SEP]`.
        short_share: Share of the rows that aim at a random length below the longest, as texts in use are shorter.
    """

    objective: Literal["next_sentence", "sentence_order"]
    sequence_length: int
    start_ids: tuple[int, ...]
    between_ids: tuple[int, ...]
    end_ids: tuple[int, ...]
    short_share: float = 0.1

    def __post_init__(self) -> None:
        if self.objective not in ("next_sentence", "sentence_order"):
            raise ConfigError(
                f"Unknown objective {self.objective!r} of sentence pairs. Known: 'next_sentence', 'sentence_order'."
            )
        if self.room < _FEWEST:
            special = self.sequence_length - self.room
            raise ConfigError(
                f"sequence_length is {self.sequence_length}, of which special tokens take {special}: a pair needs at "
                f"least {special + _FEWEST}."
            )
        if not 0 <= self.short_share <= 1:
            raise ConfigError(f"short_share is {self.short_share:g}; it has to be from 0 to 1.")

    @property
    def room(self) -> int:
        """Tokens that are left for both segments."""
        return self.sequence_length - len(self.start_ids) - len(self.between_ids) - len(self.end_ids)


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """Rows of two segments.

    Attributes:
        ids: Token ids of each row, special ones included.
        segment_ids: 0 up to the tokens between the segments, which count to the first one, and 1 after them.
        labels: 0 where the second segment follows the first in its document, else 1; int32 of shape `(rows,)`.
        documents: Position of the document that each row is cut from, ascending; int64 of shape `(rows,)`.
        left_out: Sentences with which no pair was made: the only or last one of a document, where the order is learnt.
    """

    ids: list[list[int]]
    segment_ids: list[list[int]]
    labels: np.ndarray
    documents: np.ndarray
    left_out: int


def sentence_pairs(
    documents: Sequence[Document], options: SentencePairOptions, *, seed: int, epoch: int
) -> SentencePairs:
    """Cuts documents into pairs of segments; every epoch has others.

    Sentences are gathered until the row is full, and cut between two of them into the segments, as in BERT's
    `create_instances_from_document`. Where the second segment comes from another document, the sentences that it stands
    for are used again for the next row. What is too long loses tokens at both ends of the longer segment.

    Two things differ. The short length is drawn for each row; in BERT for a whole document. And ALBERT's own code pairs
    a chunk of one sentence with another document, which mixes both tasks: here "sentence_order" takes one sentence
    more, and leaves the chunk out where there is none.

    Args:
        documents: Empty sentences and documents count as not there.
        options: How pairs are made.
        seed: Seed of the run.
        epoch: Number of the epoch.

    Returns:
        The pairs, in the order of the documents.

    Raises:
        DataError: When there are not enough documents or sentences for a single pair.
    """
    whole = [[list(sentence) for sentence in document if len(sentence)] for document in documents]
    places = [place for place, document in enumerate(whole) if document]
    kept = [whole[place] for place in places]
    if options.objective == "next_sentence" and len(kept) < _FEWEST:
        raise DataError(
            f"Next-sentence prediction takes segments from other documents, but there are only {len(kept)} with text. "
            "Separate the documents of the corpus, or use the objective 'sentence_order'."
        )
    pairs, owners, left_out = [], [], 0
    for number, place in enumerate(places):
        random = np.random.default_rng([seed, epoch, number, _NUMBER])
        found, more = _Cutter(kept, options, random).cut(number)
        pairs += found
        owners += [place] * len(found)
        left_out += more
    if not pairs:
        raise DataError(
            f"Sentence-order prediction takes documents of two sentences or more, but all {len(kept):,} with text have "
            "one. Use masked language modelling alone."
        )
    return SentencePairs(
        ids=[
            [*options.start_ids, *first, *options.between_ids, *second, *options.end_ids] for first, second, _ in pairs
        ],
        segment_ids=[
            [0] * (len(options.start_ids) + len(first) + len(options.between_ids))
            + [1] * (len(second) + len(options.end_ids))
            for first, second, _ in pairs
        ],
        labels=np.array([label for *_, label in pairs], np.int32),
        documents=np.array(owners, np.int64),
        left_out=left_out,
    )


#: First segment, second segment, label.
_Pair = tuple[list[int], list[int], int]


@dataclasses.dataclass(frozen=True)
class _Cutter:
    """Cuts one document."""

    documents: Sequence[Sequence[list[int]]]
    options: SentencePairOptions
    random: np.random.Generator

    def cut(self, number: int) -> tuple[list[_Pair], int]:
        """Returns the pairs of a document, and how many of its sentences are in none."""
        document, room = self.documents[number], self.options.room
        in_order = self.options.objective == "sentence_order"
        fewest = _FEWEST if in_order else 1
        pairs: list[_Pair] = []
        start = 0
        while start < len(document):
            short = self.random.random() < self.options.short_share
            target = int(self.random.integers(_FEWEST, room + 1)) if short else room
            stop = _filled(document, start, target, fewest)
            chunk = document[start:stop]
            if len(chunk) < fewest:
                return pairs, len(chunk)
            cut = int(self.random.integers(1, len(chunk))) if len(chunk) > 1 else 1
            first, label = _joined(chunk[:cut]), FOLLOWS
            apart = len(chunk) == 1 or self.random.random() < _HALF
            if apart and not in_order:
                second, label = self._from_elsewhere(number, target - len(first)), DOES_NOT
                stop = start + cut  # the sentences after the cut are used again
            else:
                second = _joined(chunk[cut:])
            first, second = self._truncated(first, second)
            if apart and in_order:
                first, second, label = second, first, DOES_NOT
            pairs.append((first, second, label))
            start = stop
        return pairs, 0

    def _from_elsewhere(self, number: int, tokens: int) -> list[int]:
        """Returns sentences of another document from a random one on, until there are so many tokens."""
        other = int(self.random.integers(len(self.documents) - 1))
        document = self.documents[other + (other >= number)]
        start = int(self.random.integers(len(document)))
        return _joined(document[start : _filled(document, start, tokens, 1)])

    def _truncated(self, first: list[int], second: list[int]) -> tuple[list[int], list[int]]:
        """Takes tokens off the longer segment, each from its front or its end by chance."""
        sizes = [len(first), len(second)]
        fronts = [0, 0]
        while sum(sizes) > self.options.room:
            longer = 0 if sizes[0] > sizes[1] else 1
            sizes[longer] -= 1
            fronts[longer] += int(self.random.random() < _HALF)
        return first[fronts[0] : fronts[0] + sizes[0]], second[fronts[1] : fronts[1] + sizes[1]]


def _filled(document: Sequence[list[int]], start: int, tokens: int, fewest: int) -> int:
    """Returns the end of the sentences from `start` on that hold so many tokens, or all there are."""
    stop, size = start, 0
    while stop < len(document) and (size < tokens or stop - start < fewest):
        size += len(document[stop])
        stop += 1
    return stop


def _joined(sentences: Sequence[list[int]]) -> list[int]:
    return [token for sentence in sentences for token in sentence]
