"""Pairs become the rows of KerasHub's own preprocessors, in training as in a served graph, truncated or not."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.console import Console
from tfft.core.errors import ConfigError, PresetError
from tfft.data.origin import Origin
from tfft.data.schema import TextExamples
from tfft.data.text_pairs import FIRST, SECOND, joined_texts
from tfft.data.text_triplets import NEGATIVE
from tfft.encoding.pairs import PairEncoding
from tfft.encoding.pairs_apart import PairsApartEncoding
from tfft.encoding.texts import TextEncoding

LETTERS = "abcdefgh"
TEXTS = ["", " ", "a", "c a b", "a b c d e f g", "h g f e d c b a " * 2, "café 東京", "b " * 30]
#: Texts of 0 to 30 words in every combination: none, either or both lose tokens.
PAIRS = [(first, second) for first in TEXTS for second in TEXTS]
SIZES: dict[str, Any] = {"num_layers": 1, "num_heads": 2, "hidden_dim": 4, "intermediate_dim": 4}


def examples(pairs: list[tuple[str, str]]) -> TextExamples:
    firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
    return TextExamples(
        texts=joined_texts(firsts, seconds),
        labels=(),
        rows=np.arange(1, len(pairs) + 1),
        where=Origin("the texts", (("the texts", len(pairs)),)),
        dropped={},
        columns={FIRST: firsts, SECOND: seconds},
    )


def word_pieces() -> list[str]:
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]


def sentence_pieces(**pieces: Any) -> bytes:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS)] * 9),
        model_writer=written,
        vocab_size=60,
        model_type="char",
        hard_vocab_limit=False,
        minloglevel=2,
        **pieces,
    )
    return written.getvalue()


def bert() -> tuple[Any, Any, Any]:
    tokenizer = keras_hub.models.BertTokenizer(word_pieces(), lowercase=True)
    return tokenizer, keras_hub.models.BertBackbone, keras_hub.models.BertTextClassifierPreprocessor


def electra() -> tuple[Any, Any, Any]:
    tokenizer = keras_hub.models.ElectraTokenizer(word_pieces(), lowercase=True)
    return tokenizer, keras_hub.models.ElectraBackbone, None


def distilbert() -> tuple[Any, Any, Any]:
    tokenizer = keras_hub.models.DistilBertTokenizer(word_pieces(), lowercase=True)
    return tokenizer, keras_hub.models.DistilBertBackbone, keras_hub.models.DistilBertTextClassifierPreprocessor


def roberta() -> tuple[Any, Any, Any]:
    bytes_of_texts = {chr(byte) if byte > 160 else chr(byte + 162) for byte in "café 東京".encode() if byte > 127}
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, *(f"Ġ{letter}" for letter in LETTERS), "Ġ", "<mask>"]
    tokens += sorted(bytes_of_texts | {chr(place) for place in range(256, 324)})
    tokenizer = keras_hub.models.RobertaTokenizer(
        vocabulary={token: number for number, token in enumerate(tokens)},
        merges=[f"Ġ {letter}" for letter in LETTERS],
    )
    return tokenizer, keras_hub.models.RobertaBackbone, keras_hub.models.RobertaTextClassifierPreprocessor


def xlm_roberta() -> tuple[Any, Any, Any]:
    tokenizer = keras_hub.models.XLMRobertaTokenizer(sentence_pieces(unk_id=0, bos_id=1, eos_id=2))
    return tokenizer, keras_hub.models.XLMRobertaBackbone, keras_hub.models.XLMRobertaTextClassifierPreprocessor


def albert() -> tuple[Any, Any, Any]:
    proto = sentence_pieces(
        pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="<pad>", unk_piece="<unk>", bos_piece="[CLS]",
        eos_piece="[SEP]", user_defined_symbols="[MASK]",
    )  # fmt: skip
    tokenizer = keras_hub.models.AlbertTokenizer(proto)
    return tokenizer, keras_hub.models.AlbertBackbone, keras_hub.models.AlbertTextClassifierPreprocessor


def deberta_v3() -> tuple[Any, Any, Any]:
    proto = sentence_pieces(
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
        unk_piece="[UNK]",
    )  # fmt: skip
    tokenizer = keras_hub.models.DebertaV3Tokenizer(proto)
    return tokenizer, keras_hub.models.DebertaV3Backbone, keras_hub.models.DebertaV3TextClassifierPreprocessor


FAMILIES: list[Callable[[], tuple[Any, Any, Any]]] = [
    bert, electra, distilbert, roberta, xlm_roberta, albert, deberta_v3,
]  # fmt: skip


def loaded(tokenizer: Any, kind: Any, folder: Path) -> TextBackbone:
    more = {"embedding_dim": 4} if kind in (keras_hub.models.AlbertBackbone, keras_hub.models.ElectraBackbone) else {}
    size = "vocab_size" if kind is keras_hub.models.ElectraBackbone else "vocabulary_size"
    model = kind(**{size: tokenizer.vocabulary_size() + 1}, max_sequence_length=40, **SIZES, **more)
    model.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return load_text_backbone(str(folder))


def reference(tokenizer: Any, preprocessor: Any, limit: int) -> dict[str, np.ndarray]:
    """What KerasHub makes of PAIRS; its packer by itself where it has no preprocessor."""
    firsts, seconds = (tf.constant(list(side)) for side in zip(*PAIRS, strict=True))
    if preprocessor is not None:
        found = preprocessor(tokenizer, sequence_length=limit)(x=(firsts, seconds))
        return {name: np.asarray(value).astype(np.int32) for name, value in found.items()}
    packer = keras_hub.layers.MultiSegmentPacker(
        sequence_length=limit,
        start_value=tokenizer.start_token_id,
        end_value=tokenizer.end_token_id,
        pad_value=tokenizer.pad_token_id,
    )
    token_ids, segment_ids = packer((tokenizer(firsts), tokenizer(seconds)))
    return {"token_ids": np.asarray(token_ids), "segment_ids": np.asarray(segment_ids)}


def assert_rows(features: dict[str, Any], expected: dict[str, np.ndarray], width: int) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(features[name]), values[:, :width], err_msg=name)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # KerasHub leaves the proto open
@pytest.mark.parametrize("family", FAMILIES, ids=[family.__name__ for family in FAMILIES])
def test_rows_are_those_of_kerashub(family: Callable[[], tuple[Any, Any, Any]], tmp_path: Path, quiet: Console) -> None:
    tokenizer, kind, preprocessor = family()
    backbone = loaded(tokenizer, kind, tmp_path / "preset")
    # Room for both that is odd, and even; byte pairs take long.
    for limit in (15,) if family is roberta else (15, 16):
        encoding = PairEncoding(backbone, sequence_length=limit)
        expected = reference(tokenizer, preprocessor, limit)
        rows = encoding.encode(examples(PAIRS), quiet, what="pairs")
        assert_rows(rows.gather(tf.range(len(PAIRS), dtype=tf.int64), tf.constant(limit)), expected, limit)
        assert set(rows.lengths[rows.truncated]) == {limit}
        assert 0 < len(rows.truncated) < len(PAIRS)


def test_the_packaged_backbone_reads_pairs_as_kerashub_packs_them(quiet: Console) -> None:
    backbone = load_text_backbone(None)
    rows = PairEncoding(backbone, sequence_length=24).encode(examples(PAIRS), quiet, what="pairs")
    expected = reference(backbone.tokenizer, keras_hub.models.BertTextClassifierPreprocessor, 24)
    assert_rows(rows.gather(tf.range(len(PAIRS), dtype=tf.int64), tf.constant(24)), expected, 24)


def test_a_served_graph_makes_the_same_rows(tiny_preset: str, quiet: Console) -> None:
    encoding = PairEncoding(load_text_backbone(tiny_preset), sequence_length=16)
    rows = encoding.encode(examples(PAIRS), quiet, what="pairs")
    given = {FIRST: tf.constant(PAIRS)[:, 0], SECOND: tf.constant(PAIRS)[:, 1]}
    served = tf.function(encoding.serve, autograph=False)(given).features
    for name, values in rows.gather(tf.range(len(PAIRS), dtype=tf.int64), tf.constant(16)).items():
        np.testing.assert_array_equal(served[name], values, err_msg=name)


def test_truncated_pairs_are_counted(tiny_preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    encoding = PairEncoding(load_text_backbone(tiny_preset), sequence_length=8)
    pairs = [("a film", "a plot"), ("a film", "the film was dull and weak"), ("a", "the")]
    rows = encoding.encode(examples(pairs), Console(), what="train")
    assert rows.truncated.tolist() == [1]
    assert rows.full_lengths.tolist() == [7, 11, 5]
    assert "train: 1 of 3 pairs (33.3%) are longer than 8 tokens" in " ".join(capsys.readouterr().err.split())


def test_a_model_that_knows_one_segment_is_given_one(tiny_preset: str, quiet: Console) -> None:
    backbone = dataclasses.replace(load_text_backbone(tiny_preset), num_segments=1)
    rows = PairEncoding(backbone, sequence_length=8).encode(examples([("a film", "a plot")]), quiet, what="pairs")
    assert not np.any(rows.gather(tf.constant([0], tf.int64), tf.constant(8))["segment_ids"])


def test_what_cannot_hold_a_pair_is_refused(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    with pytest.raises(ConfigError, match=r"sequence_length is 4, .* needs at least 5"):
        PairEncoding(backbone, sequence_length=4)
    with pytest.raises(PresetError, match=r"no token to put between two texts.*pair_encoder='bi'"):
        PairEncoding(dataclasses.replace(backbone, separator_ids=()), sequence_length=None)


def test_texts_apart_are_those_of_each_side(tiny_preset: str, quiet: Console) -> None:
    backbone = load_text_backbone(tiny_preset)
    encoding, alone = PairsApartEncoding(backbone, sequence_length=9), TextEncoding(backbone.encoder(9))
    rows = encoding.encode(examples(PAIRS), quiet, what="pairs")
    everything = tf.range(len(PAIRS), dtype=tf.int64)
    features = rows.gather(everything, tf.constant(9))
    served = encoding.serve({FIRST: tf.constant(PAIRS)[:, 0], SECOND: tf.constant(PAIRS)[:, 1]}).features
    lengths, truncated = [], set()
    for side, prefix in enumerate(["", "second_"]):
        texts = dataclasses.replace(examples(PAIRS), texts=[pair[side] for pair in PAIRS])
        expected = alone.encode(texts, quiet, what="texts")
        for name, values in expected.gather(everything, tf.constant(9)).items():
            np.testing.assert_array_equal(features[f"{prefix}{name}"], values)
            np.testing.assert_array_equal(served[f"{prefix}{name}"], values)
        lengths.append(expected.lengths)
        truncated |= set(expected.truncated.tolist())
    assert len(features) == 6
    np.testing.assert_array_equal(rows.lengths, np.max(lengths, axis=0))
    assert rows.truncated.tolist() == sorted(truncated)


def test_negatives_are_read_beside_pairs_and_those_that_are_not_there_are_short_rows(
    tiny_preset: str, quiet: Console
) -> None:
    backbone = load_text_backbone(tiny_preset)
    encoding = PairsApartEncoding(backbone, sequence_length=9, triplets=True)
    pairs, alone = examples(PAIRS), TextEncoding(backbone.encoder(9))
    negatives = [pair[1] for pair in PAIRS[::-1]]
    triplets = dataclasses.replace(pairs, columns={**pairs.columns, NEGATIVE: negatives})
    everything = tf.range(len(PAIRS), dtype=tf.int64)
    read = encoding.encode(triplets, quiet, what="triplets").gather(everything, tf.constant(9))
    short = encoding.encode(pairs, quiet, what="pairs").gather(everything, tf.constant(9))
    served = encoding.serve({FIRST: tf.constant(PAIRS)[:, 0], SECOND: tf.constant(PAIRS)[:, 1]}).features
    expected = alone.encode(dataclasses.replace(pairs, texts=negatives), quiet, what="texts")
    nothing = alone.encode(dataclasses.replace(pairs, texts=[""] * len(PAIRS)), quiet, what="texts")
    assert set(read) == set(short) == set(served)
    for name, values in expected.gather(everything, tf.constant(9)).items():
        np.testing.assert_array_equal(read[f"third_{name}"], values)
        np.testing.assert_array_equal(short[f"second_{name}"], read[f"second_{name}"])
    for name, values in nothing.gather(everything, tf.constant(2)).items():
        np.testing.assert_array_equal(short[f"third_{name}"], values)
        np.testing.assert_array_equal(served[f"third_{name}"], values)


@pytest.mark.parametrize("kind", [PairEncoding, PairsApartEncoding])
def test_nothing_behind_a_nul_is_lost(kind: Any, tiny_preset: str, quiet: Console) -> None:
    texts = ["a\x00 film", "\x00", "the pl\x00ot was\x00", "\x00dull", "music"]
    soiled = [(first, second) for first in texts for second in texts]
    clean = [(first.replace("\x00", ""), second.replace("\x00", "")) for first, second in soiled]
    encoding = kind(load_text_backbone(tiny_preset), sequence_length=12)
    everything, width = tf.range(len(soiled), dtype=tf.int64), tf.constant(12)
    rows = [encoding.encode(examples(pairs), quiet, what="pairs") for pairs in (soiled, clean)]
    found, expected = (one.gather(everything, width) for one in rows)
    served = encoding.serve({FIRST: tf.constant(soiled)[:, 0], SECOND: tf.constant(soiled)[:, 1]}).features
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
        most = served[name].shape[1]
        np.testing.assert_array_equal(served[name], values[:, :most])
    assert rows[0].lengths.max() > 4
