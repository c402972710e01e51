"""TextEncoder gives the ids of KerasHub's own preprocessors, in every script, truncated or not."""

from __future__ import annotations

import dataclasses
import io
import logging
from collections.abc import Callable
from typing import Any

import keras_hub
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from tfft.layers.fast_wordpiece import FastTokenizer
from tfft.layers.text_encoder import WORTH_CHARACTERS, TextEncoder

TEXTS = [
    "",
    " ",
    "the film was wonderful",
    "UPPER and Lower, with punctuation!?",
    "café naïve Ünïcödé",
    "cafe\u0301 decomposed",
    "东京的电影很好",
    "これは映画です ひらがな",
    "فيلم رائع جدا",
    "🙂 👍🏽 emoji👩‍👩‍👧",
    "tab\tnew\nline\r\x01\x7f\u200bcontrol",
    "unheardof" * 12,
    "the film was long " * 12,
]
#: Tokens, start and end included: some of the texts are longer.
LIMIT = 20


def characters() -> list[str]:
    """Every character the texts consist of, so that tokens are not all unknown."""
    return sorted({character for text in TEXTS for character in text.casefold() if character.isprintable()})


def wordpiece_vocabulary() -> list[str]:
    found = [character for character in characters() if not character.isspace()]
    words = ["the", "film", "was", "wonderful", "cafe", "long"]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *found, *(f"##{item}" for item in found)]


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes that GPT-2's byte pair encoding is written in."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


def sentencepiece_proto(**pieces: Any) -> bytes:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=written,
        vocab_size=150,
        model_type="char",
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
        **pieces,
    )
    return written.getvalue()


def bert() -> Any:
    tokenizer = keras_hub.models.BertTokenizer(wordpiece_vocabulary(), lowercase=True, strip_accents=True)
    return keras_hub.models.BertTextClassifierPreprocessor(tokenizer)


def distilbert() -> Any:
    tokenizer = keras_hub.models.DistilBertTokenizer(wordpiece_vocabulary(), lowercase=False)
    return keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer)


def roberta() -> Any:
    merges = ["t h", "th e", "Ġ f", "i l", "il m", "Ġf ilm"]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *byte_symbols(), *(merge.replace(" ", "") for merge in merges), "<mask>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = keras_hub.models.RobertaTokenizer(vocabulary=vocabulary, merges=merges)
    return keras_hub.models.RobertaTextClassifierPreprocessor(tokenizer)


def albert() -> Any:
    proto = sentencepiece_proto(
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        pad_piece="<pad>",
        unk_piece="<unk>",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        user_defined_symbols="[MASK]",
    )
    return keras_hub.models.AlbertTextClassifierPreprocessor(keras_hub.models.AlbertTokenizer(proto))


def deberta_v3() -> Any:
    proto = sentencepiece_proto(
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
    )
    return keras_hub.models.DebertaV3TextClassifierPreprocessor(keras_hub.models.DebertaV3Tokenizer(proto))


def xlm_roberta() -> Any:
    proto = sentencepiece_proto(unk_id=0, bos_id=1, eos_id=2)
    return keras_hub.models.XLMRobertaTextClassifierPreprocessor(keras_hub.models.XLMRobertaTokenizer(proto))


FAMILIES: list[Callable[[], Any]] = [bert, distilbert, roberta, albert, deberta_v3, xlm_roberta]


def encoder_of(tokenizer: Any) -> TextEncoder:
    return TextEncoder(
        tokenizer,
        start_ids=[tokenizer.start_token_id],
        end_ids=[tokenizer.end_token_id],
        pad_id=tokenizer.pad_token_id,
        sequence_length=LIMIT,
    )


def letters(texts: tf.Tensor) -> tf.RaggedTensor:
    """A tokenizer that costs nothing to trace."""
    return tf.strings.unicode_decode(texts, "UTF-8")


@dataclasses.dataclass(frozen=True)
class Family:
    """A toy tokenizer with KerasHub's preprocessor around it and ours, both truncating to LIMIT tokens."""

    tokenizer: Any
    preprocessor: Any
    encoder: TextEncoder


def family_of(preprocessor: Any) -> Family:
    preprocessor.sequence_length = LIMIT
    return Family(preprocessor.tokenizer, preprocessor, encoder_of(preprocessor.tokenizer))


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.__name__)
def family(request: pytest.FixtureRequest) -> Family:
    return family_of(request.param())


@pytest.fixture(scope="module")
def tiny_bert() -> Family:
    return family_of(bert())


def test_ids_and_mask_are_those_of_the_kerashub_preprocessor(family: Family) -> None:
    wanted = family.preprocessor(TEXTS)
    features = family.encoder.pad(family.encoder.encode(tf.constant(TEXTS))[0], width=LIMIT)
    np.testing.assert_array_equal(features["token_ids"], wanted["token_ids"])
    np.testing.assert_array_equal(features["padding_mask"], np.asarray(wanted["padding_mask"]).astype(np.int32))


def test_the_toy_vocabularies_know_most_tokens(family: Family) -> None:
    ids, _ = family.encoder.encode(tf.constant(TEXTS))
    assert len(np.unique(ids.flat_values)) > 40, "the comparison would say little if all were unknown"


def test_nul_characters_are_dropped_and_what_follows_them_is_kept(family: Family) -> None:
    ids, _ = family.encoder.encode(tf.constant(["the fi\x00lm\x00", "the film"]))
    with_nul, without = ids.to_list()
    assert with_nul == without


def test_truncation_keeps_the_start_and_the_end_token(family: Family) -> None:
    ids, _ = family.encoder.encode(tf.constant(TEXTS))
    assert ids.row_lengths().numpy().max() == LIMIT
    for row in ids.to_list():
        assert (row[0], row[-1]) == (family.tokenizer.start_token_id, family.tokenizer.end_token_id)


def test_full_lengths_count_what_truncation_took(family: Family) -> None:
    ids, full_lengths = family.encoder.encode(tf.constant(TEXTS))
    whole = [len(row) + 2 for row in family.tokenizer(TEXTS)]
    assert full_lengths.numpy().tolist() == whole
    assert ids.row_lengths().numpy().tolist() == [min(length, LIMIT) for length in whole]
    assert min(whole) < LIMIT < max(whole)


def test_every_feature_is_int32(tiny_bert: Family) -> None:
    features = tiny_bert.encoder.pad(tiny_bert.encoder.encode(tf.constant(TEXTS))[0])
    assert {name: value.dtype for name, value in features.items()} == dict.fromkeys(
        ("token_ids", "padding_mask", "segment_ids"), tf.int32
    )
    assert not features["segment_ids"].numpy().any()


def test_rows_are_padded_to_the_longest_when_no_width_is_given(tiny_bert: Family) -> None:
    ids, _ = tiny_bert.encoder.encode(tf.constant(["the", "the film was"]))
    features = tiny_bert.encoder.pad(ids)
    assert features["token_ids"].shape == (2, 5)
    assert features["padding_mask"].numpy().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_a_width_may_be_a_tensor(tiny_bert: Family) -> None:
    ids, _ = tiny_bert.encoder.encode(tf.constant(["the film"]))
    features = tiny_bert.encoder.pad(ids, tf.constant(6))
    words = [tiny_bert.tokenizer.token_to_id(word) for word in ("[CLS]", "the", "film", "[SEP]", "[PAD]", "[PAD]")]
    assert features["token_ids"].numpy().tolist() == [words]


def test_no_texts_give_no_rows(tiny_bert: Family) -> None:
    ids, full_lengths = tiny_bert.encoder.encode(tf.constant([], tf.string))
    assert ids.shape[0] == 0
    assert full_lengths.shape == (0,)


def test_many_encoders_in_one_process_bring_no_retracing_warning(caplog: pytest.LogCaptureFixture) -> None:
    encoders = [TextEncoder(letters, start_ids=[1], end_ids=[2], pad_id=0, sequence_length=LIMIT) for _ in range(8)]
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        for encoder in encoders:
            encoder.encode(tf.constant(["the film"]))
    assert "retracing" not in caplog.text


def encoder_with(faster: Callable[[], FastTokenizer]) -> TextEncoder:
    return TextEncoder(letters, start_ids=[1], end_ids=[2], pad_id=0, sequence_length=LIMIT, faster=faster)


def shouting(texts: tf.Tensor) -> tf.RaggedTensor:
    """A tokenizer that can be told from `letters`."""
    return letters(tf.strings.upper(texts))


def test_the_faster_tokenizer_is_made_once_it_is_worth_it() -> None:
    made: list[int] = []
    encoder = encoder_with(lambda: made.append(1) or FastTokenizer(shouting, None))  # type: ignore[func-returns-value]
    encoder.expect(WORTH_CHARACTERS // 2)
    assert encoder.encode(tf.constant(["a"]))[0].to_list() == [[1, ord("a"), 2]]
    assert not made
    encoder.expect(WORTH_CHARACTERS // 2)
    encoder.expect(WORTH_CHARACTERS)
    assert encoder.encode(tf.constant(["a"]))[0].to_list() == [[1, ord("A"), 2]]
    assert made == [1]


def test_what_is_traced_is_fast() -> None:
    encoder = encoder_with(lambda: FastTokenizer(shouting, None))
    traced = tf.function(lambda texts: encoder.encode(texts)[0].to_tensor())
    assert traced(tf.constant(["a", "b"])).numpy().tolist() == [[1, ord("A"), 2], [1, ord("B"), 2]]
    assert encoder.encode(tf.constant(["a"]))[0].to_list() == [[1, ord("A"), 2]]


def test_why_there_is_nothing_faster_is_known_once_it_was_asked_for() -> None:
    encoder = encoder_with(lambda: FastTokenizer(letters, "it has holes"))
    assert encoder.reason is None
    encoder.hurry()
    assert encoder.reason == "it has holes"
    assert encoder.tokenizer is letters
