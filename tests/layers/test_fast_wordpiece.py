"""The fast tokenizer gives the ids of KerasHub's layer in a graph, whatever the text, or steps aside and says why."""

from __future__ import annotations

import dataclasses
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.backbones import keras_hub_tokenizers as backbones
from tfft.backbones.keras_hub import load_text_backbone
from tfft.backbones.keras_hub_tokenizers import word_piece_of
from tfft.backbones.packaged import DEFAULT_TEXT_PRESET, PACKAGED_PRESETS
from tfft.layers.fast_wordpiece import FastTokenizer, FastWordPiece, WordPiece, fast_tokenizer

# ruff: noqa: RUF001, S311  look-alikes of other scripts, and chance that a seed fixes, are meant

#: Ordinary sentences: the words of most of these scripts have pieces in MiniLM's vocabulary, at least letter by letter.
ORDINARY = {
    "english": "What a film! It's 100% worth £7.50 (and more) - see https://example.org/a_b?c=d #movies @home",
    "french": "L’été dernier, « Amélie » m’a émue : déjà vu, cœur brisé, où ça ? Noël à l'Hôtel",
    "german": "Größe, Übermut und Äpfel: „Straße“ – ein weiß-blauer Fluß, 3,5 %",
    "vietnamese": "Tiếng Việt rất hay và đẹp, không phải không",
    "turkish": "IĞDIR'da İstanbul'a ışık, çiğdem ve öğüt",
    "greek": "Ο Οδυσσεύς είπε: ΣΑΣ ΕΥΧΑΡΙΣΤΩ, κόσμε!",
    "russian": "Съешь ещё этих мягких французских булок, да выпей чаю. ЙОД",
    "chinese": "东京的电影很好,我喜欢看。《红楼梦》共一百二十回",
    "japanese": "これは映画です。カタカナとひらがな、漢字。",
    "arabic": "فيلم رائع جدا، هل شاهدته؟ مُحَمَّد",
    "hebrew": "סרט נהדר, שָׁלוֹם עולם",
    "hindi": "यह बहुत अच्छी फ़िल्म है। नमस्ते",
    "thai": "ภาพยนตร์เรื่องนี้ดีมาก",
    "armenian": "Հայաստանի մայրաքաղաքն Երևանն է:",
    "emoji": "so good 🙂👍🏽🎉 ❤️ 🇩🇪 ☀",
    "lines": "one\ttwo\r\nthree \x01 four\x7ffive",
    "mathematics": "a < b, x ≥ y ± 2, √2 ≈ 1.41, α → β",
}
#: Where the kernels of the fast path are known to part from the layer, or bytes are no text.
ODD = [
    "안녕하세요 영화 ㅋㅋ",
    "wait…what‥ no\xa0break zero\u200bwidth soft\xadhyphen joined\u200dletters \ufeffmark",
    "👩‍👩‍👧 🧑🏿‍🚀 1️⃣",
    "´quoted´ ¨ x¯ ＄＋＝ ｶﾞｷﾞ ㈱ ⑴ ℀ ŀ ǆ ᾳ \u0345",
    "ক\u09c7\u09be \u1100\u1161\u11a8 가\u11a8 க\u0bca",
    "cafe\u0301 \u0301 a\u0338 =\u0338 o\u0302\u0323",
    "𠀀𪜀 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0001d15e",
    "\ue000 \U0010ffff \u0378 \ufffd",
    "[MASK] and [CLS] and [unused5] and [mask]",
    b"caf\xe9 is latin",
    b"cut \xe4\xb8",
    b"\xed\xa0\xbd surrogate \xc0\xaf overlong \xff",
    "",
    "   ",
    "a" * 100,
    "a" * 101,
    "é" * 50,
    "é" * 51,
    "中" * 60,
    "unheard" * 15 + " of",
    "the " * 500,
]
OPTIONS = {
    "uncased": {"lowercase": True, "strip_accents": True},
    "cased": {"lowercase": False, "strip_accents": False},
    "lowercase": {"lowercase": True, "strip_accents": False},
    "no_accents": {"lowercase": False, "strip_accents": True},
}
WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([word for text in (*ORDINARY.values(), *ODD) if isinstance(text, str) for word in text.split()]),
    st.text("aAeEÉñßİıσς\u0301\u0323\u0307'#.-…\xa0\u200b\u200d中あ가ㅏनिक़ا 🙂🏽[]", max_size=10),
)
TEXTS = st.lists(WORDS, max_size=8).map(" ".join)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A fast tokenizer, and KerasHub's layer in a graph."""

    layer: Any
    fast: FastWordPiece
    graph: Any

    def compare(self, texts: Sequence[str | bytes]) -> None:
        """Fails at the first text with other ids; texts with NUL are TextEncoder's business."""
        rows = [text if isinstance(text, bytes) else text.encode("utf-8", "replace") for text in texts]
        rows = [row.replace(b"\0", b"") for row in rows]
        found, wanted = self.fast(tf.constant(rows, tf.string)), self.graph(tf.constant(rows, tf.string))
        if not np.array_equal(found.flat_values, wanted.flat_values):
            for row, one, other in zip(rows, found.to_list(), wanted.to_list(), strict=True):
                assert one == other, row.decode("utf-8", "replace")
        np.testing.assert_array_equal(found.row_splits, wanted.row_splits)


def in_graph(layer: Any) -> Any:
    return tf.function(layer, input_signature=[tf.TensorSpec([None], tf.string)])


def described(layer: Any) -> WordPiece:
    found = word_piece_of(layer)
    assert isinstance(found, WordPiece)
    return found


def pair_of(layer: Any) -> Pair:
    found = fast_tokenizer(layer, word_piece_of(layer))
    assert found.reason is None
    assert isinstance(found.tokenize, FastWordPiece)
    return Pair(layer, found.tokenize, in_graph(layer))


@pytest.fixture(scope="module")
def vocabulary() -> list[str]:
    """The vocabulary of MiniLM, which is that of BERT uncased."""
    directory = PACKAGED_PRESETS[DEFAULT_TEXT_PRESET].directory()
    assert directory is not None
    return (directory / "vocab.txt").read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def uncased(vocabulary: list[str]) -> Pair:
    return pair_of(keras_hub.models.BertTokenizer(vocabulary, **OPTIONS["uncased"]))


@pytest.fixture(scope="module")
def cased(vocabulary: list[str]) -> Pair:
    return pair_of(keras_hub.models.BertTokenizer(vocabulary, **OPTIONS["cased"]))


@pytest.fixture(params=["uncased", "cased"])
def minilm(request: pytest.FixtureRequest) -> Pair:
    pair: Pair = request.getfixturevalue(request.param)
    return pair


def letters() -> list[str]:
    """A small vocabulary that can spell most of the texts here."""
    found = {item for text in (*ORDINARY.values(), *ODD) if isinstance(text, str) for item in text}
    written = sorted(item for item in found | {item.casefold()[:1] for item in found} if not item.isspace())
    return [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "film",
        *written,
        *(f"##{item}" for item in written),
    ]


@pytest.fixture(scope="module")
def every_character() -> list[str]:
    """All characters there are, unassigned ones left out, and those of the planes of rare Han characters thinned."""
    points = [*range(1, 0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x32000, 97), 0xE0001, 0xE0100]
    return [chr(point) for point in points if unicodedata.category(chr(point)) != "Cn"]


@pytest.fixture(scope="module", params=OPTIONS)
def spelling(request: pytest.FixtureRequest, every_character: list[str]) -> Pair:
    """A vocabulary of all single characters: ids spell out the words, so that no difference hides in [UNK]."""
    written = [item for item in every_character if unicodedata.category(item)[0] not in "CZ"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *written, *(f"##{item}" for item in written)]
    layer = keras_hub.models.BertTokenizer(tokens, **OPTIONS[request.param])
    return Pair(layer, FastWordPiece(layer, described(layer)), in_graph(layer))


def test_ordinary_texts_in_many_scripts(minilm: Pair) -> None:
    minilm.compare(list(ORDINARY.values()))


def test_texts_that_the_kernels_disagree_about(minilm: Pair) -> None:
    minilm.compare(ODD)


def test_odd_rows_among_ordinary_ones_stay_in_order(minilm: Pair) -> None:
    rows = [*ORDINARY.values(), *ODD] * 4
    random.Random(3).shuffle(rows)
    minilm.compare(rows)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.one_of(TEXTS, st.text(), st.binary(max_size=30)), max_size=6))
def test_any_text_and_any_bytes(uncased: Pair, texts: list[str | bytes]) -> None:
    uncased.compare(texts)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TEXTS, max_size=6))
def test_any_words_with_every_set_of_options(spelling: Pair, texts: list[str]) -> None:
    spelling.compare(texts)


def test_every_character_alone_and_inside_a_word(spelling: Pair, every_character: list[str]) -> None:
    spelling.compare([f"{item} x{item}y" for item in every_character])


def test_safe_characters_do_not_influence_each_other(spelling: Pair, every_character: list[str]) -> None:
    safe = spelling.fast.is_safe(tf.constant(every_character)).numpy()
    allowed = [item for item, is_safe in zip(every_character, safe, strict=True) if is_safe]
    assert len(allowed) > 40_000
    source = random.Random(11)
    # Common letters are rare among all characters; marks are what could act on neighbours.
    marks = [item for item in allowed if unicodedata.category(item)[0] == "M"]
    pool = [allowed, [item for item in allowed if item < "\u2000"], marks or allowed]
    texts = ["".join(source.choice(source.choice(pool)) for _ in range(6)) for _ in range(40_000)]
    assert spelling.fast.is_safe(tf.constant(texts)).numpy().all()
    spelling.compare(texts)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_texts_take_the_fast_path(uncased: Pair, name: str) -> None:
    assert uncased.fast.is_safe(tf.constant([ORDINARY[name]])).numpy().all()


def test_only_unsafe_rows_go_through_the_layer() -> None:
    layer = keras_hub.models.BertTokenizer(letters(), **OPTIONS["uncased"])

    def marked(texts: tf.Tensor) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_tensor(tf.fill([tf.size(texts), 1], -1))

    fast = FastWordPiece(marked, described(layer))
    rows = fast(tf.constant(["the film", "no\xa0break", "", "한국어", "film"])).to_list()
    the, film = layer.token_to_id("the"), layer.token_to_id("film")
    assert rows == [[the, film], [-1], [], [-1], [film]]


def test_no_rows_give_no_rows(uncased: Pair) -> None:
    ids = uncased.fast(tf.constant([], tf.string))
    assert (ids.shape[0], ids.dtype) == (0, tf.int32)


def test_words_of_vocabulary_pieces_at_the_limit_of_length(uncased: Pair) -> None:
    words = [stem * 40 for stem in ("ab", "the", "é", "中a", "я")]
    cut = [word.encode()[:size].decode("utf-8", "ignore") for word in words for size in range(95, 106)]
    uncased.compare(
        [f"{before}{word}{after}" for word in cut for before in ("", "so ", "x.") for after in ("", ".", " z", "中")]
    )


def test_special_tokens_in_strings() -> None:
    special = ["<tag>", "été"]
    layer = keras_hub.models.BertTokenizer(
        [*letters(), *special], special_tokens_in_strings=True, special_tokens=special, **OPTIONS["uncased"]
    )
    pair = pair_of(layer)
    texts = ["a [MASK] b", "[CLS][SEP]x[MASK]y", "[mask]", "a <tag> b<tag>c <TAG>", "été Été ete", "plain words"]
    assert layer.token_to_id("[MASK]") in pair.fast(tf.constant(texts)).to_list()[0]
    pair.compare([*texts, *ORDINARY.values(), *ODD])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (keras_hub.models.DistilBertTokenizer, {"lowercase": True}),
        (keras_hub.models.ElectraTokenizer, {"split_on_cjk": False}),
        (keras_hub.tokenizers.WordPieceTokenizer, {"dtype": "int64", "lowercase": True, "strip_accents": True}),
    ],
)
def test_other_word_piece_classes_and_options(kind: Any, options: dict[str, Any]) -> None:
    pair_of(kind(letters(), **options)).compare([*ORDINARY.values(), *ODD])


def test_another_suffix_indicator_and_unknown_token() -> None:
    tokens = ["<unk>", "the", "fi", "@@lm", "@@l", "@@m", ".", "@", "a", "@@a"]
    layer = keras_hub.tokenizers.WordPieceTokenizer(tokens, oov_token="<unk>", suffix_indicator="@@")  # noqa: S106
    pair_of(layer).compare(["the film. a@a @@lm aaa xyz", *ORDINARY.values(), *ODD])


def test_the_tiny_preset_tokenizes_fast_and_keeps_its_layer(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    fast, reason = backbone.fast_tokenizer
    assert reason is None
    assert isinstance(fast, FastWordPiece)
    encoder = backbone.encoder(None)
    assert encoder.tokenizer is backbone.tokenizer
    encoder.hurry()
    assert encoder.tokenizer is fast
    assert isinstance(backbone.tokenizer, keras_hub.models.BertTokenizer)
    Pair(backbone.tokenizer, fast, in_graph(backbone.tokenizer)).compare([*ORDINARY.values(), *ODD])


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5))
def test_rows_of_the_encoder_are_those_of_the_layer(tiny_encoder: tuple[Any, Any], texts: list[str]) -> None:
    encoder, layer = tiny_encoder
    rows = [text.encode("utf-8", "replace").replace(b"\0", b"") for text in texts]
    wanted = [[2, *row, 3] for row in layer(tf.constant(rows, tf.string)).to_list()]
    ids, full_lengths = encoder.encode(tf.constant(rows, tf.string))
    assert ids.to_list() == wanted
    assert full_lengths.numpy().tolist() == [len(row) for row in wanted]


@pytest.fixture(scope="module")
def tiny_encoder(tiny_preset: str) -> tuple[Any, Any]:
    backbone = load_text_backbone(tiny_preset)
    encoder = backbone.encoder(100_000)
    encoder.hurry()
    return encoder, in_graph(backbone.tokenizer)


def test_inside_another_graph_and_inside_tf_data(uncased: Pair) -> None:
    rows = [*ORDINARY.values(), *(text for text in ODD if isinstance(text, str))]
    wanted = uncased.graph(tf.constant(rows)).to_list()
    assert tf.function(uncased.fast)(tf.constant(rows)).to_list() == wanted
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(7).map(uncased.fast, num_parallel_calls=2)
    assert [row for batch in batches for row in batch.to_list()] == wanted


@pytest.fixture(scope="module")
def exported(uncased: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel from strings to ids and row splits."""
    folder = tmp_path_factory.mktemp("tokenizer")
    module = tf.Module()
    module.tokenizer = uncased.fast

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = module.tokenizer(text)
        return {"ids": ids.flat_values, "splits": ids.row_splits}

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return folder


def test_after_export_through_both_loaders(uncased: Pair, exported: Path) -> None:
    rows = [text.encode() if isinstance(text, str) else text for text in (*ORDINARY.values(), *ODD)]
    wanted = uncased.graph(tf.constant(rows))
    found = tf.saved_model.load(str(exported)).signatures["serving_default"](text=tf.constant(rows))
    np.testing.assert_array_equal(found["ids"], wanted.flat_values)
    np.testing.assert_array_equal(found["splits"], wanted.row_splits)
    parts = [rows, rows[:1], rows[-2:]]
    wanted_of_parts = [uncased.graph(tf.constant(part)).flat_values for part in parts]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:  # as TF Serving's C++ loader does
        signature = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(exported)).signature_def
        outputs = {name: item.name for name, item in signature["serving_default"].outputs.items()}
        text = signature["serving_default"].inputs["text"].name
        for part, ids in zip(parts, wanted_of_parts, strict=True):
            np.testing.assert_array_equal(session.run(outputs, {text: np.array(part, dtype=object)})["ids"], ids)


class Shouting(keras_hub.models.BertTokenizer):
    """A tokenizer with a way of its own."""

    def tokenize(self, inputs: Any) -> Any:
        return super().tokenize(tf.strings.upper(inputs))


def bpe() -> Any:
    return keras_hub.models.GPT2Tokenizer(vocabulary={"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}, merges=["a b"])


def word_piece(tokens: Sequence[str] = ("[UNK]", "a", "b", "##b"), **options: Any) -> Any:
    return keras_hub.tokenizers.WordPieceTokenizer(list(tokens), **options)


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b"]
FALLBACKS = {
    "GPT2Tokenizer is no WordPiece tokenizer": bpe,
    "Shouting tokenizes in a way of its own": lambda: Shouting(BERT),
    "it is set to take words, to pad, or to give strings": lambda: word_piece(sequence_length=4),
    "its suffix indicator is empty": lambda: word_piece(suffix_indicator=""),
    "one of its special tokens is empty": lambda: word_piece(special_tokens=[""], special_tokens_in_strings=True),
    "its vocabulary entry 'a b' contains white space": lambda: word_piece(["[UNK]", "a b", "a", "b"]),
    "tensorflow-text cannot take its vocabulary: No valid vocab tokens": lambda: word_piece(["[UNK]"]),
}


@pytest.mark.parametrize("reason", FALLBACKS)
def test_tokenizers_that_cannot_be_fast_are_used_as_they_are_with_the_reason(reason: str) -> None:
    layer = FALLBACKS[reason]()
    found = fast_tokenizer(layer, word_piece_of(layer))
    assert found.tokenize is layer
    assert str(found.reason).startswith(reason)


@pytest.mark.parametrize("name", ["vocabulary", "unknown_token"])
def test_a_tokenizer_that_is_not_what_it_says_is_found_out_and_used_as_it_is(name: str) -> None:
    layer = keras_hub.models.BertTokenizer(letters(), **OPTIONS["uncased"])
    honest = described(layer)
    swapped = list(honest.vocabulary)
    one, other = swapped.index("s"), swapped.index("##s")
    swapped[one], swapped[other] = swapped[other], swapped[one]
    wrong = {"vocabulary": swapped, "unknown_token": "[MASK]"}
    found = fast_tokenizer(layer, dataclasses.replace(honest, **{name: wrong[name]}))
    assert found.tokenize is layer
    assert "the fast tokenizer gives other ids for" in str(found.reason)


def test_words_that_are_not_the_layers_are_found_out() -> None:
    layer = keras_hub.models.BertTokenizer(letters(), **OPTIONS["uncased"])
    honest = described(layer)
    kernel = tensorflow_text.FastBertNormalizer(lower_case_nfd_strip_accents=True)
    cut = tensorflow_text.FastWordpieceTokenizer(["[UNK]", "\ue000"], token_out_type=tf.int32)

    def kernels_own(texts: tf.Tensor) -> tf.RaggedTensor:
        """With these, every character would be called safe."""
        normal = kernel.normalize(texts)
        _, starts, ends = cut.tokenize_with_offsets(normal)
        whole = tf.gather(normal, starts.value_rowids())
        size = ends.flat_values - starts.flat_values
        return starts.with_flat_values(tf.strings.substr(whole, starts.flat_values, size))

    found = fast_tokenizer(layer, dataclasses.replace(honest, words=kernels_own))
    assert found.tokenize is layer
    assert "other ids for" in str(found.reason)


def test_another_inside_of_kerashub_means_the_layer(monkeypatch: pytest.MonkeyPatch, tiny_preset: str) -> None:
    monkeypatch.setattr(backbones, "_words", lambda *_: None)
    backbone = load_text_backbone(tiny_preset)
    assert backbone.fast_tokenizer == FastTokenizer(
        backbone.tokenizer, "this version of KerasHub cuts texts into words in another place than tfft knows"
    )
    assert backbone.encoder(None).encode(tf.constant(["the film"]))[0].to_list() == [[2, 5, 7, 3]]
