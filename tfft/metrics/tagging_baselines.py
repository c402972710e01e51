"""What a fine-tuned tagger must beat to be worth its cost."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn_crfsuite import CRF

from tfft.core.tag_schemes import TagScheme
from tfft.metrics.entities import EntityMetrics, entity_metrics

MOST_FREQUENT = "most frequent tag of each word"
WORD_FEATURES = "CRF over word features"
#: The field takes about a minute for so many; of larger splits a random part is taken.
MOST_TOKENS = 250_000
#: From this share of words of one character on, rows are taken for texts cut into characters.
_CHARACTERS = 0.9
#: Words to each side that a word's features tell of.
_REACH = 2
_BEFORE, _AFTER = "<", ">"


def tagging_baselines(
    train_words: Sequence[Sequence[str]],
    train_tags: Sequence[Sequence[str]],
    test_words: Sequence[Sequence[str]],
    test_tags: Sequence[Sequence[str]],
    scheme: TagScheme,
    *,
    seed: int,
) -> dict[str, EntityMetrics]:
    """Trains the baselines on the training split and evaluates them on the test split.

    The first gives each word the tag that it has most often, and words that training lacks the most frequent tag of
    all; of tags that are as frequent, the first in the order of code points. The second is a linear-chain conditional
    random field (Lafferty, McCallum and Pereira 2001) over features written by hand, those of the tutorial of
    sklearn-crfsuite (https://sklearn-crfsuite.readthedocs.io/en/latest/tutorial.html) for words up to two places away;
    for texts cut into characters they are the n-grams of the characters around (Zhao and Kit 2008, "Unsupervised
    Segmentation Helps Supervised Learning of Character Tagging", table 4). It is trained with L-BFGS, 100 iterations,
    and L1 and L2 penalties of 0.1. It is left out when training has no words.

    Args:
        train_words: Words of the training rows.
        train_tags: Their tags.
        test_words: Words of the test rows.
        test_tags: Their tags.
        scheme: The scheme of all tags.
        seed: Decides which rows the field is trained on when they have more than `MOST_TOKENS` words; its name says
            then how many they are.

    Returns:
        Name of the baseline to its figures.
    """
    frequent = _most_frequent(train_words, train_tags)
    other = frequent.pop(None, "O")
    predicted = [[frequent.get(word, other) for word in row] for row in test_words]
    found = {MOST_FREQUENT: entity_metrics(test_tags, predicted, scheme)}
    rows = _sample(train_words, seed)
    if not rows:
        return found
    features = _character_features if _are_characters(train_words) else _word_features
    model = CRF(algorithm="lbfgs", c1=0.1, c2=0.1, max_iterations=100, all_possible_transitions=True)
    model.fit([features(train_words[row]) for row in rows], [list(train_tags[row]) for row in rows])
    predicted = [model.predict_single(features(row)) if row else [] for row in test_words]
    total = sum(1 for row in train_words if row)
    name = WORD_FEATURES if len(rows) == total else f"{WORD_FEATURES} ({len(rows):,} of {total:,} rows)"
    return found | {name: entity_metrics(test_tags, predicted, scheme)}


def _most_frequent(rows: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> dict[str | None, str]:
    """Returns the most frequent tag of each word, and under None that of all words."""
    counts: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
    for row, row_tags in zip(rows, tags, strict=True):
        for word, tag in zip(row, row_tags, strict=True):
            counts[word][tag] += 1
            counts[None][tag] += 1
    return {word: min(counted, key=lambda tag: (-counted[tag], tag)) for word, counted in counts.items()}


def _sample(rows: Sequence[Sequence[str]], seed: int) -> list[int]:
    """Returns the places of the rows to train on, in order: all that have words, as long as these are not too many."""
    filled = [place for place, row in enumerate(rows) if row]
    if sum(map(len, rows)) <= MOST_TOKENS:
        return filled
    shuffled = [filled[place] for place in np.random.default_rng(seed).permutation(len(filled))]
    tokens = itertools.accumulate(len(rows[place]) for place in shuffled)
    fitting = sum(1 for _ in itertools.takewhile(lambda total: total <= MOST_TOKENS, tokens))
    return sorted(shuffled[: max(fitting, 1)])


def _are_characters(rows: Sequence[Sequence[str]]) -> bool:
    lengths = [len(word) for row in rows for word in row]
    return lengths.count(1) >= _CHARACTERS * len(lengths)


def _word_features(words: Sequence[str]) -> list[list[str]]:
    """Features of each word, as CRFsuite has them: strings that are there or not."""
    own = [tuple(_own_features(word)) for word in words]
    edges = [(_BEFORE,)] * _REACH, [(_AFTER,)] * _REACH
    padded = [*edges[0], *own, *edges[1]]
    return [
        [
            "bias",
            *(f"suffix3={word[-3:]}", f"suffix2={word[-2:]}", f"prefix3={word[:3]}", f"prefix2={word[:2]}"),
            *(
                f"{offset:+d}:{feature}"
                for offset in range(-_REACH, _REACH + 1)
                for feature in padded[place + _REACH + offset]
            ),
        ]
        for place, word in enumerate(words)
    ]


def _own_features(word: str) -> Iterator[str]:
    """What neighbours know of a word as well."""
    yield f"lower={word.lower()}"
    yield f"shape={_shape(word)}"
    for name in ("isdigit", "istitle", "isupper"):
        if getattr(word, name)():
            yield name


def _shape(word: str) -> str:
    """Returns "Xx" for "Main", "0-x" for "12-b": letters by case, digits and all else, runs as one sign."""
    return "".join(sign for sign, _ in itertools.groupby(word, _sign))


def _sign(character: str) -> str:
    if character.isalpha():
        return "X" if character.isupper() else "x"
    return "0" if character.isdigit() else character


def _character_features(characters: Sequence[str]) -> list[list[str]]:
    """The n-grams around each character, of one to three, that have it or a neighbour of it among them."""
    padded = [*[_BEFORE] * _REACH, *characters, *[_AFTER] * _REACH]
    found = []
    for place, character in enumerate(characters):
        window = padded[place : place + 2 * _REACH + 1]
        grams = (
            f"{first - _REACH:+d}:{'|'.join(window[first : first + size])}"
            for size in (1, 2, 3)
            for first in range(len(window) - size + 1)
        )
        found.append(["bias", f"kind={_kind(character)}", *grams])
    return found


def _kind(character: str) -> str:
    return "digit" if character.isdigit() else "letter" if character.isalpha() else "other"
