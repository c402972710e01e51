"""Models read by the SentencePiece library itself; words counted by hand; texts that would break the library."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.core.errors import ConfigError, DataError, TfftError
from tfft.data.subword_vocabularies import Kind, SubwordOptions, learn_subwords, learn_words, subword_count

DRAW = random.Random(5)  # noqa: S311
VOCABULARY = ["the", "cat", "sat", "on", "mat", "dog", "runs", "away", "from", "house", "big", "small"]
TEXTS = [" ".join(DRAW.choice(VOCABULARY) for _ in range(8)) for _ in range(100)]
KINDS: tuple[Kind, ...] = ("unigram", "bpe")
BOTH = pytest.mark.parametrize("kind", KINDS)


def model(texts: list[str], **options: Any) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=learn_subwords(texts, SubwordOptions(**options)))


@BOTH
def test_special_ids_are_fixed_and_words_become_pieces(kind: Kind) -> None:
    made = model(TEXTS, kind=kind, vocabulary_size=60)
    assert [made.pad_id(), made.unk_id(), made.bos_id(), made.eos_id()] == [0, 1, 2, 3]
    assert made.get_piece_size() <= 60
    assert made.encode("the cat", out_type=str) == ["▁the", "▁cat"]
    assert [made.decode(made.encode(text)) for text in TEXTS] == TEXTS
    assert made.encode("€") == [made.piece_to_id("▁"), 1]


@BOTH
def test_the_same_texts_give_the_same_bytes_in_another_process(kind: Kind, project: Path) -> None:
    code = (
        "import sys, hashlib\nfrom tfft.data.subword_vocabularies import learn_subwords, SubwordOptions\n"
        f"made = learn_subwords({TEXTS!r}, SubwordOptions(kind={kind!r}, vocabulary_size=50))\n"
        "print(hashlib.sha256(made).hexdigest(), 'tensorflow' in sys.modules)"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(project)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert done.stderr == ""
        found.add(done.stdout)
    assert len(found) == 1
    assert found.pop().endswith(" False\n")
    assert learn_subwords(TEXTS, SubwordOptions(kind=kind)) == learn_subwords(iter(TEXTS), SubwordOptions(kind=kind))


@BOTH
def test_a_small_corpus_gives_fewer_pieces_and_says_so(kind: Kind) -> None:
    made = learn_subwords(TEXTS, SubwordOptions(kind=kind, vocabulary_size=5000))
    size = sentencepiece.SentencePieceProcessor(model_proto=made).get_piece_size()
    assert subword_count(made) == size < 200


@BOTH
def test_too_small_a_vocabulary_says_how_many_are_needed(kind: Kind) -> None:
    needed = 4 + len(set("".join(TEXTS)))  # the space has a piece too
    assert subword_count(learn_subwords(TEXTS, SubwordOptions(kind=kind, vocabulary_size=needed))) == needed
    with pytest.raises(ConfigError, match=rf"need {needed} ids. Set it to at least {needed},"):
        learn_subwords(TEXTS, SubwordOptions(kind=kind, vocabulary_size=needed - 1))


@BOTH
@pytest.mark.parametrize(
    "texts",
    [[], [""], [" ", "\t\n", "\u3000"], ["\0\0"], ["▁"], ["\u2585"], ["\x01"], ["\ufffd"], ["\u200b"]],
    ids=ascii,
)
def test_texts_with_nothing_in_them_are_refused(
    texts: list[str], kind: Kind, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="no pieces to learn"):
        learn_subwords(texts, SubwordOptions(kind=kind))
    assert capfd.readouterr() == ("", "")


@BOTH
def test_odd_texts_do_not_keep_others_from_being_learned(kind: Kind, capfd: pytest.CaptureFixture[str]) -> None:
    odd = [
        "aq\0z",
        "j\ud800k",
        "x\u2585v",
        "w▁0",
        "n1\nn2\r\nn3",
        "ab" * 500_000,
        "c " * 300_000,
        " " * 1_000_000,
        "é" * 5000,
    ]
    made = model([*odd, *TEXTS], kind=kind, vocabulary_size=300)
    for known in ("aqz", "j k", "x v w 0", "n1 n2 n3", "abab", "c c", "éé", "the dog"):
        ids = made.encode(known)
        assert 1 not in ids, known
        assert made.decode(ids) == known
    assert capfd.readouterr() == ("", "")


@settings(deadline=None, max_examples=80)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=[]), max_size=40), max_size=6),
    kind=st.sampled_from(KINDS),
    size=st.integers(5, 60),
    lowercase=st.booleans(),
)
def test_any_texts_are_learned_or_refused(texts: list[str], kind: Kind, size: int, lowercase: bool) -> None:
    try:
        made = learn_subwords(texts, SubwordOptions(kind=kind, vocabulary_size=size, lowercase=lowercase))
    except TfftError as error:
        refusal = str(error)
    else:
        assert 4 < subword_count(made) <= size
        refusal = ""
    assert "SentencePiece cannot" not in refusal


def test_options_of_the_library_are_passed_on() -> None:
    assert model(["The Cat"] * 9).decode(model(["The Cat"] * 9).encode("The Cat")) == "The Cat"
    lower = model(["The Cat"] * 9, lowercase=True)
    assert lower.decode(lower.encode("THE CAT")) == "the cat"
    short = model(TEXTS, longest_piece=2)
    assert max(len(short.id_to_piece(i)) for i in range(4, short.get_piece_size())) == 2
    rare = ["a" * 1000, "b"]
    assert 1 in model(rare, character_coverage=0.99).encode("b")
    assert 1 not in model(rare).encode("b")


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "word"}, {"kind": "BPE"}, {"vocabulary_size": 4}, {"vocabulary_size": 2**20 + 1},
        {"character_coverage": 0.97}, {"character_coverage": 1.1}, {"character_coverage": float("nan")},
        {"longest_piece": 0}, {"longest_piece": 513},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must be|Known"):
        SubwordOptions(**options)


@pytest.mark.parametrize("texts", ["text", b"text", [None], [3], ["a", b"b"]])
def test_other_than_texts_are_refused(texts: Any) -> None:
    with pytest.raises(DataError, match="expected"):
        learn_subwords(texts)
    with pytest.raises(DataError, match="expected"):
        learn_words(texts)


def test_words_are_the_most_frequent_ones_in_a_fixed_order() -> None:
    texts = ["b a\u3000b,", "c\ta b", "\n d d\x85d e"]  # b 2, a 2, d 3, "b," 1, c 1, e 1
    assert learn_words(texts) == ("d", "a", "b", "b,", "c", "e")
    assert learn_words(texts, min_count=2) == ("d", "a", "b")
    assert learn_words(texts, vocabulary_size=6) == ("d", "a")
    assert learn_words(reversed(texts)) == learn_words(texts)


def test_vocabularies_without_words_are_refused() -> None:
    with pytest.raises(DataError, match="no words to learn"):
        learn_words(["", " \u3000"])
    with pytest.raises(DataError, match="most frequent one, 'a', is there 1 times"):
        learn_words(["a"], min_count=2)
    for options in ({"vocabulary_size": 4}, {"min_count": 0}):
        with pytest.raises(ConfigError, match="must be at least"):
            learn_words(["a"], **options)
