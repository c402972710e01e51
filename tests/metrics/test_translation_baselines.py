"""The dictionary against IBM Model 1 written word by word."""

from __future__ import annotations

from collections import defaultdict

from tfft.metrics.translation_baselines import word_for_word

PAIRS = [
    ("the house", "la casa"),
    ("the book", "el libro"),
    ("a house", "una casa"),
    ("a book", "un libro"),
    ("the big house", "la casa grande"),
    ("big book", "libro grande"),
]


def model_1(passes: int) -> dict[str, str]:
    """Brown et al. 1993, eq. 17, with a null word, as loops."""
    pairs = [(["", *source.split()], target.split()) for source, target in PAIRS]
    shares: dict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    for _ in range(passes):
        expected: dict[tuple[str, str], float] = defaultdict(float)
        for source, target in pairs:
            for written in target:
                total = sum(shares[read, written] for read in source)
                for read in source:
                    expected[read, written] += shares[read, written] / total
        totals: dict[str, float] = defaultdict(float)
        for (read, _), value in expected.items():
            totals[read] += value
        shares = defaultdict(float, {key: value / totals[key[0]] for key, value in expected.items()})
    words = {read for source, _ in pairs for read in source}
    return {word: max(((v, w) for (r, w), v in shares.items() if r == word))[1] for word in words}


def test_the_dictionary_is_that_of_ibm_model_1() -> None:
    sources, targets = zip(*PAIRS, strict=True)
    expected = model_1(5)
    for word in ("the", "house", "book", "big", "a"):
        assert word_for_word(sources, targets, [word], passes=5) == [expected[word]]
    assert expected["house"] == "casa"


def test_unknown_words_stay_and_case_is_ignored() -> None:
    sources, targets = zip(*PAIRS, strict=True)
    assert word_for_word(sources, targets, ["The BOOK of Job", ""]) == [
        f"{word_for_word(sources, targets, ['the'])[0]} libro of Job",
        "",
    ]


def test_nothing_is_learned_of_nothing() -> None:
    assert word_for_word([], [], ["a b"]) == ["a b"]
