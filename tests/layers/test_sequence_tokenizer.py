"""Ids and texts against the SentencePiece library, `str.split` and `int`; what SavedModels and files keep of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from tfft.core.errors import ArtifactError, ConfigError
from tfft.core.special_ids import SPECIAL_IDS, UNKNOWN
from tfft.data.subword_vocabularies import Kind, SubwordOptions, learn_subwords
from tfft.layers.probe_texts import PROBE_TEXTS
from tfft.layers.sequence_tokenizer import IntegerTokenizer, SubwordTokenizer, WordTokenizer
from tfft.layers.tokenizer_files import DESCRIPTION, MODEL, load_tokenizer, save_tokenizer

PROBES = [text for text in PROBE_TEXTS if isinstance(text, str)]
#: Half of the probes, so that the other half has unknown characters.
SEEN = PROBES[::2] * 2
WORDS = ("the", "cat", "über", "世界", "a,b", "\u200b", "\0", "<s>", "⁇")
TEXTS = st.text(max_size=30) | st.sampled_from(PROBES) | st.lists(st.sampled_from(WORDS)).map(" ".join)


def learned(kind: Kind, *, lowercase: bool = False) -> bytes:
    return learn_subwords(SEEN, SubwordOptions(vocabulary_size=2500, kind=kind, lowercase=lowercase))


MODELS = {"unigram": learned("unigram"), "bpe": learned("bpe"), "lowercase": learned("unigram", lowercase=True)}
TOKENIZERS = {name: SubwordTokenizer(model) for name, model in MODELS.items()}
REFERENCES = {name: sentencepiece.SentencePieceProcessor(model_proto=model) for name, model in MODELS.items()}
WORD = WordTokenizer(WORDS)
INTEGER = IntegerTokenizer(20)
ALL = {**TOKENIZERS, "words": WORD, "integers": INTEGER}


def texts_of(strings: tf.Tensor) -> list[str]:
    return [string.decode() for string in strings.numpy().tolist()]


def padded(ids: list[list[int]]) -> np.ndarray:
    width = max(map(len, ids), default=0) + 3
    return np.array([[2, *row, 3, *[0] * (width - len(row) - 2)] for row in ids], np.int32).reshape(len(ids), width)


def are_equally_likely(reference: sentencepiece.SentencePieceProcessor, found: list[int], wanted: list[int]) -> bool:
    """Of segmentations with the same likelihood, such as those of "!!!" into two, rounding chooses one."""
    surfaces = ["".join(map(reference.id_to_piece, row)) for row in (found, wanted)]
    scores = [sum(map(reference.get_score, row)) for row in (found, wanted)]
    return surfaces[0] == surfaces[1] and len(found) == len(wanted) and scores[0] == pytest.approx(scores[1], rel=1e-5)


@pytest.mark.parametrize("name", list(MODELS))
@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXTS, max_size=4))
@example(texts=PROBES)
@example(texts=["<s> </s> <unk> <pad>", "▁▁a▁", "\0", "a\0b", "x" * 5000])
def test_ids_and_texts_are_those_of_the_library(name: str, texts: list[str]) -> None:
    reference, tokenizer = REFERENCES[name], TOKENIZERS[name]
    wanted = [reference.encode(text.replace("\0", "")) for text in texts]
    ids = tokenizer(tf.constant([text.encode() for text in texts], tf.string))
    assert ids.dtype == tf.int32
    for found, row in zip(ids.to_list(), wanted, strict=True):
        assert found == row or (name != "bpe" and are_equally_likely(reference, found, row))
    assert {0, 2, 3}.isdisjoint(token for row in wanted for token in row)
    assert texts_of(tokenizer.detokenize(padded(wanted))) == [reference.decode(row) for row in wanted]


@pytest.mark.parametrize("name", list(MODELS))
def test_texts_with_known_characters_come_back_normalized(name: str) -> None:
    reference, tokenizer = REFERENCES[name], TOKENIZERS[name]
    ids = tokenizer(SEEN)
    assert UNKNOWN not in ids.flat_values
    once = texts_of(tokenizer.detokenize(ids))
    assert once == [reference.normalize(text).removeprefix("▁").replace("▁", " ") for text in SEEN]
    assert texts_of(tokenizer.detokenize(tokenizer(once))) == once


@settings(deadline=None, max_examples=80)
@given(texts=st.lists(TEXTS, max_size=4))
@example(texts=["a b\x1cc\x85d\xa0e\u2028f\u3000g\u200bh\vi\x1fj", "the\ncat\r\n世界 \t", "⁇ the", "é"])
def test_words_are_those_of_python(texts: list[str]) -> None:
    ids = WORD(tf.constant([text.encode() for text in texts], tf.string))
    known = [[word if word in WORDS else None for word in text.split()] for text in texts]
    assert ids.to_list() == [[UNKNOWN if word is None else 4 + WORDS.index(word) for word in row] for row in known]
    found = texts_of(WORD.detokenize(padded(ids.to_list())))
    assert found == [" ".join("⁇" if word is None else word for word in row) for row in known]


@settings(deadline=None, max_examples=60)
@given(
    numbers=st.lists(st.integers(0, 25) | st.integers(0, 10**30), max_size=8), between=st.sampled_from(", \t\n\u3000")
)
def test_integers_are_those_of_python(numbers: list[int], between: str) -> None:
    ids = INTEGER([between.join(map(str, numbers))])
    assert ids.to_list() == [[number + SPECIAL_IDS if number <= 20 else UNKNOWN for number in numbers]]
    wanted = " ".join(str(number) if number <= 20 else "⁇" for number in numbers)
    assert texts_of(INTEGER.detokenize(padded(ids.to_list()))) == [wanted]


def test_what_is_no_number_is_unknown() -> None:
    assert INTEGER(["5, 17\t3", "-1 1.5 x ٣ 007 +2 1e1", "", " , "]).to_list() == [
        [9, 21, 7],
        [1, 1, 1, 1, 11, 1, 1],
        [],
        [],
    ]


@pytest.mark.parametrize("name", list(ALL))
def test_ids_beyond_the_vocabulary_are_unknown_and_special_ones_are_left_out_anywhere(name: str) -> None:
    tokenizer = ALL[name]
    last = tokenizer.vocabulary_size - 1
    ids = np.array([[2, 4, 0, 3, last, 3, 0], [-1, 2**31 - 1, last + 1, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0]], np.int64)
    wanted = tf.ragged.constant([[4, last], [1, 1, 1], []], tf.int32)
    assert texts_of(tokenizer.detokenize(ids)) == texts_of(tokenizer.detokenize(wanted))
    assert texts_of(tokenizer.detokenize(wanted))[2] == ""
    assert texts_of(tokenizer.detokenize(np.zeros((0, 3), np.int32))) == []
    assert texts_of(tokenizer.detokenize(np.zeros((2, 0), np.int32))) == ["", ""]


def test_bytes_that_are_no_utf8_are_read() -> None:
    for tokenizer in ALL.values():
        ids = tokenizer([text for text in PROBE_TEXTS if isinstance(text, bytes)])
        assert ids.flat_values.numpy().max(initial=0) < tokenizer.vocabulary_size


def test_tokenizers_of_one_saved_model_keep_their_own_tables(tmp_path: Path) -> None:
    texts = tf.constant([*PROBES, "5 17 3", "the cat 世界"])
    module = tf.Module()
    subwords = {name: SubwordTokenizer(model) for name, model in MODELS.items()}
    module.tokenizers = {**subwords, "words": WORD, "integers": INTEGER}

    def forth_and_back(texts: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        found = {}
        for name, tokenizer in module.tokenizers.items():
            ids = tokenizer(texts).to_tensor()
            found[name] = ids, tokenizer.detokenize(ids)
        return found

    module.run = tf.function(forth_and_back, input_signature=[tf.TensorSpec([None], tf.string)])
    wanted = module.run(texts)
    tf.saved_model.save(module, str(tmp_path))
    found = tf.saved_model.load(str(tmp_path)).run(texts)
    assert set(found) == set(ALL)
    for name, values in wanted.items():
        for value, expected in zip(found[name], values, strict=True):
            np.testing.assert_array_equal(value, expected)


def test_seeding_tensorflow_does_no_harm() -> None:
    tokenizer, text = SubwordTokenizer(MODELS["bpe"]), PROBES[3]
    wanted = tokenizer([text]).to_list()
    tf.random.set_seed(1)
    assert tokenizer([text]).to_list() == wanted
    tf.random.set_seed(2)
    assert texts_of(tokenizer.detokenize(wanted)) == [REFERENCES["bpe"].decode(wanted[0])]
    tf.random.set_seed(3)
    assert tf.function(lambda texts: tokenizer(texts).to_tensor())(tf.constant([text])).numpy().tolist() == wanted
    tf.random.set_seed(4)
    rows = tf.data.Dataset.from_tensors([text]).map(lambda texts: tokenizer(texts).to_tensor())
    assert next(iter(rows)).numpy().tolist() == wanted


@pytest.mark.parametrize("name", list(ALL))
def test_files_give_the_same_ids(name: str, tmp_path: Path) -> None:
    save_tokenizer(ALL[name], tmp_path / "source")
    again = load_tokenizer(tmp_path / "source")
    assert type(again) is type(ALL[name])
    assert again.vocabulary_size == ALL[name].vocabulary_size
    texts = [*PROBES, "5 17 3 99", *WORDS]
    assert again(texts).to_list() == ALL[name](texts).to_list()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no tokenizer that can be read"),
        ("[1]", "holds a list"),
        ("{}", "lacks 'kind'"),
        ('{"kind": "word"}', "Did you mean 'words'"),
        ('{"kind": "words"}', "lacks 'words'"),
        ('{"kind": "words", "words": []}', "has no words"),
        ('{"kind": "words", "words": [1]}', "no list of texts"),
        ('{"kind": "words", "words": "ab"}', "no list of texts"),
        ('{"kind": "integers", "largest": -1}', "from 0 to"),
        ('{"kind": "integers", "largest": true}', "from 0 to"),
        ('{"kind": "subwords"}', "no tokenizer that can be read"),
        ("[" * 100_000, "no tokenizer that can be read"),
    ],
)
def test_altered_files_are_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / DESCRIPTION).write_text(content)
    with pytest.raises(ArtifactError, match=says):
        load_tokenizer(tmp_path)


def test_a_missing_or_broken_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no tokenizer that can be read"):
        load_tokenizer(tmp_path)
    (tmp_path / DESCRIPTION).write_text(json.dumps({"kind": "subwords"}))
    for content in (b"", b"no model", b"\xff" * 99):
        (tmp_path / MODEL).write_bytes(content)
        with pytest.raises(ArtifactError, match="are no SentencePiece model"):
            load_tokenizer(tmp_path)


@pytest.mark.parametrize("words", [["a", "a"], ["a b"], [""], ["\u3000"], [" a"], ["\ud800"], [3], []])
def test_other_than_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="vocabulary has"):
        WordTokenizer(words)


def test_models_that_the_library_refuses_are_refused() -> None:
    broken = sentencepiece_model_pb2.ModelProto.FromString(MODELS["bpe"])
    broken.pieces[9].piece = ""
    with pytest.raises(ConfigError, match="piece must not be empty"):
        SubwordTokenizer(broken.SerializeToString())


def test_models_with_other_special_ids_are_refused(tmp_path: Path) -> None:
    prefix = tmp_path / "other"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SEEN), model_prefix=str(prefix), vocab_size=2500, hard_vocab_limit=False, minloglevel=5
    )
    with pytest.raises(ConfigError, match="begins with"):
        SubwordTokenizer(prefix.with_suffix(".model").read_bytes())
