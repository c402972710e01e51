"""Synonyms come from the thesaurus or are true neighbours, and take over case and punctuation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.augment._neighbours import embedding_neighbours
from tfft.augment.base import AugmentationContext
from tfft.augment.synonym_replacement import SynonymReplacement
from tfft.console import Console
from tfft.core.errors import ConfigError

THESAURUS = {"film": ["movie", "picture"], "good": ["fine"], "été": ["saison"], "喜": ["欢"], "don't": ["never"]}


def expected(word: str) -> set[str]:
    """What may become of a word, found in plain Python; empty when it has no synonym."""
    match = re.fullmatch(r"([^\w@#]*)(.*?)([^\w]*)", word, re.DOTALL)
    assert match is not None
    before, core, after = match.groups()
    synonyms = THESAURUS.get(core.lower(), [])
    capitals = sum(character.isupper() for character in core)
    if capitals > 1 and not any(character.islower() for character in core):
        synonyms = [synonym.upper() for synonym in synonyms]
    elif core[:1].isupper() and capitals == 1:
        synonyms = [synonym.capitalize() for synonym in synonyms]
    return {before + synonym + after for synonym in synonyms}


WORD = st.builds(
    lambda before, word, case, after: before + case(word) + after,
    st.sampled_from(["", '"', "(", "@", "#", "¿", "..."]),
    st.sampled_from([*THESAURUS, "plot", "filmed", "x", "42", ""]),
    st.sampled_from([str, str.upper, str.capitalize]),
    st.sampled_from(["", ".", "!?", ",", "'s", "》"]),
)
ROW = st.lists(WORD.filter(bool), max_size=8)


@pytest.fixture(scope="module")
def replace(runner: Callable[..., Any]) -> Any:
    return runner("synonym_replacement", compiled=True, thesaurus=THESAURUS, rate=0.5)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=5), seed=st.integers(0, 100))
def test_only_words_with_synonyms_change_and_to_nothing_else(rows: list[list[str]], seed: int, replace: Any) -> None:
    rows = [[word for word in row if "喜" not in word] for row in rows]
    after, changed = replace.texts([" ".join(row) for row in rows], seed)
    for row, text, says in zip(rows, after, changed, strict=True):
        words = text.split(" ") if row else []
        assert len(words) == len(row)
        differing = [(old, new) for old, new in zip(row, words, strict=True) if old != new]
        assert all(new in expected(old) for old, new in differing)
        could = sum(bool(expected(word)) for word in row)
        share = 0.5 * len(row)
        assert len(differing) in {min(max(count, 1), could) for count in (int(share), int(share + 0.5))}
        assert bool(differing) == says


def test_each_synonym_is_as_likely(runner: Callable[..., Any]) -> None:
    after, _ = runner("synonym_replacement", thesaurus={"film": list("abcd")}).texts(["film"] * 4000)
    counts = np.unique(after, return_counts=True)[1]
    assert len(counts) == 4
    assert abs(counts - 1000).max() < 5 * np.sqrt(750)


def test_characters_of_unspaced_scripts_are_words(replace: Any) -> None:
    assert replace.texts(["我喜你"])[0] == ["我欢你"]


def test_tags_stay_where_they_are(replace: Any) -> None:
    words, tags, changed = replace.tagged([["good", "film"], ["x"]], [[3, 1], [2]])
    assert tags == [[3, 1], [2]]
    assert changed.tolist() == [True, False]
    assert len(words[0]) == 2


def test_a_synonym_of_several_words_has_no_place_where_words_have_tags(runner: Callable[..., Any]) -> None:
    thesaurus = {"film": ["motion picture", "movie"]}
    context = {"tagged": True, "outside_tag": 0}
    words, _, _ = runner("synonym_replacement", context, thesaurus=thesaurus).tagged([["film"]] * 40, [[0]] * 40)
    assert words == [["movie"]] * 40
    plain, _ = runner("synonym_replacement", thesaurus=thesaurus).texts(["film"] * 40)
    assert set(plain) == {"movie", "motion picture"}


def test_entries_that_cannot_match_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    thesaurus = {"film": ["movie"], "new york": ["boston"], "高兴": ["快乐"], "good": ["Good"], "!?": ["..."]}
    context = AugmentationContext(texts=(), console=Console(), seed=0)
    SynonymReplacement(thesaurus=thesaurus).prepare(context)
    assert "4 entries of the thesaurus are left out" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="can use none of the 1 entries"):
        SynonymReplacement(thesaurus={"new york": ["boston"]}).prepare(context)


def test_options_about_neighbours_are_refused_with_a_thesaurus() -> None:
    with pytest.raises(ConfigError, match="neighbours and min_similarity are about thesaurus='embedding'"):
        SynonymReplacement(thesaurus={"film": ["movie"]}, neighbours=3)


# Neighbours in the token embeddings

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "film",
    "movie",
    "##film",
    "1984",
    "!",
    "a",
    "Movies",
    "movies",
    "plot",
    "我",
    "爱",
    "x1",
]


def embedding_context(texts: list[str], vocabulary: list[str] = VOCABULARY, **fields: Any) -> dict[str, Any]:
    vectors = np.random.default_rng(1).normal(size=(len(vocabulary), 4)).astype("float32")
    return {
        "texts": texts,
        "vocabulary": vocabulary,
        "special_ids": frozenset({0, 1}),
        "token_embeddings": lambda: vectors,
        **fields,
    }


@pytest.mark.parametrize("neighbours", [1, 2, 10])
@pytest.mark.parametrize("least", [-0.99, 0.0, 0.4])
def test_neighbours_are_those_of_brute_force(neighbours: int, least: float) -> None:
    fields = embedding_context(["The FILM, the movie: movies! 我 爱 plot a 1984"])
    context = AugmentationContext(console=Console(quiet=True), seed=0, **fields)
    found = embedding_neighbours("test", context, neighbours=neighbours, min_similarity=least)
    ids = {"film": 2, "movie": 3, "movies": 9, "plot": 10, "我": 11, "爱": 12}
    vectors = fields["token_embeddings"]().astype("float64")
    for word, place in ids.items():
        cosines = {
            other: vectors[place] @ vectors[at] / np.linalg.norm(vectors[place]) / np.linalg.norm(vectors[at])
            for other, at in ids.items()
            if other != word
        }
        best = sorted(cosines, key=lambda other: -cosines[other])[:neighbours]
        assert found.get(word, []) == [other for other in best if cosines[other] >= least]


def test_only_words_of_the_training_texts_are_looked_up() -> None:
    context = AugmentationContext(console=Console(quiet=True), seed=0, **embedding_context(["(Plot)"]))
    assert list(embedding_neighbours("test", context, neighbours=9, min_similarity=-0.99)) == ["plot"]
    context = AugmentationContext(
        console=Console(quiet=True), seed=0, **embedding_context(["x"], words=[["plot", "Film"], []])
    )
    assert set(embedding_neighbours("test", context, neighbours=9, min_similarity=-0.99)) == {"plot", "film"}


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        (
            ["<s>", "</s>", "\u2581film", "\u2581movie", "ing", "\u2581", "\u2581été", "我"],
            {"film", "movie", "été", "我"},
        ),
        (
            ["<s>", "</s>", "\u0120film", "\u0120movie", "ing", "\u0120\u00c3\u00a9t\u00c3\u00a9"],
            {"film", "movie", "été"},
        ),
        (["[PAD]", "[UNK]", "film", "movie", "b"], {"film", "movie"}),
    ],
    ids=["SentencePiece", "byte-level BPE", "whole words"],
)
def test_whole_words_of_other_tokenizers(vocabulary: list[str], words: set[str]) -> None:
    context = AugmentationContext(console=Console(quiet=True), seed=0, **embedding_context([], vocabulary))
    assert set(embedding_neighbours("test", context, neighbours=9, min_similarity=-0.99)) == words


def test_neighbours_replace_words(runner: Callable[..., Any]) -> None:
    replace = runner("synonym_replacement", embedding_context(["the Film 1984!"]), min_similarity=-0.9, neighbours=2)
    after, changed = replace.texts(["the Film 1984!", "nothing here"] * 20)
    assert changed.tolist() == [True, False] * 20
    assert all(re.fullmatch(r"the \w+ 1984!", text) and text[4].isupper() for text in after[::2] if text[4].isascii())


def test_a_backbone_without_embeddings_and_too_high_a_threshold_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs the backbone's vocabulary"):
        SynonymReplacement().prepare(AugmentationContext(texts=(), console=Console(quiet=True), seed=0))
    context = AugmentationContext(console=Console(quiet=True), seed=0, **embedding_context(["film"]))
    with pytest.raises(ConfigError, match=r"none of the 1 words .* Lower min_similarity"):
        SynonymReplacement(min_similarity=0.999).prepare(context)
