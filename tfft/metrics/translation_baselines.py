"""What a model that writes texts has to beat: the source itself, and a dictionary that is read word by word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Names in reports.
COPY, WORD_FOR_WORD = "the source, copied", "word for word"
#: Passes over the pairs; the dictionary hardly changes afterwards.
PASSES = 5
#: Pairs the dictionary is learned from; more take long, and rare words gain little.
MOST_PAIRS = 50_000
#: Longer sides are cut: the work is the product of both lengths.
_LONGEST = 100


def word_for_word(
    sources: Sequence[str], targets: Sequence[str], texts: Sequence[str], *, passes: int = PASSES
) -> list[str]:
    """Writes for each word of a text its likeliest counterpart, in the order of the text.

    The dictionary is that of IBM Model 1 (Brown et al. 1993, https://aclanthology.org/J93-2003, eq. 17), by
    expectation maximisation from equal probabilities, with a null word beside each source: `t(target | source)`. A word
    is given the target whose `t` is greatest; words that were not seen stay as they are. Words are what stands between
    white space, in lower case to look them up.

    Args:
        sources: The sources of the training split.
        targets: Their targets.
        texts: Sources to write for.
        passes: Passes over the pairs.

    Returns:
        One text for each of `texts`.
    """
    known = _Pairs(sources[:MOST_PAIRS], targets[:MOST_PAIRS])
    best = known.dictionary(passes)
    return [" ".join(best.get(word.lower(), word) for word in text.split()) for text in texts]


class _Pairs:
    """Which words stand in pairs with which."""

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        self._source_ids: dict[str, int] = {"": 0}  # the null word
        self._target_ids: dict[str, int] = {}
        links, places = [], []
        place = 0
        for source, target in zip(sources, targets, strict=True):
            read = self._numbers([word.lower() for word in source.split()[:_LONGEST]], self._source_ids)
            written = self._numbers(target.split()[:_LONGEST], self._target_ids)
            read = np.concatenate([[0], read])
            # Each target word with each source word of its row; a target word at its place is what has to be explained.
            links.append(np.stack([np.tile(read, len(written)), np.repeat(written, len(read))]))
            places.append(np.repeat(np.arange(place, place + len(written)), len(read)))
            place += len(written)
        sides = np.concatenate(links, axis=1) if links else np.zeros((2, 0), np.int64)
        width = max(len(self._target_ids), 1)
        keys, self._link = np.unique(sides[0] * width + sides[1], return_inverse=True)
        self._sources, self._targets = keys // width, keys % width
        self._places = np.concatenate(places) if places else np.zeros(0, np.int64)
        self._count = place

    @staticmethod
    def _numbers(words: list[str], ids: dict[str, int]) -> np.ndarray:
        return np.array([ids.setdefault(word, len(ids)) for word in words], np.int64)

    def dictionary(self, passes: int) -> dict[str, str]:
        shares = np.ones(len(self._sources))
        for _ in range(passes):
            likelihoods = shares[self._link]
            likelihoods /= np.bincount(self._places, likelihoods, self._count)[self._places]
            expected = np.bincount(self._link, likelihoods, len(shares))
            shares = expected / np.bincount(self._sources, expected)[self._sources]
        order = np.lexsort((self._targets, -shares, self._sources))
        first = np.unique(self._sources[order], return_index=True)[1]
        names = list(self._target_ids)
        best = dict(zip(self._sources[order][first].tolist(), self._targets[order][first].tolist(), strict=True))
        return {word: names[best[number]] for word, number in self._source_ids.items() if number and number in best}
