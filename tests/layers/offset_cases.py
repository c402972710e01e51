"""The same toy tokenizers for KerasHub, with offsets, and for Hugging Face, which has them."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import random
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import keras_hub
import sentencepiece
import tensorflow as tf
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from tfft.backbones.keras_hub_tokenizers import segmentation_of
from tfft.layers.probe_texts import PROBE_TEXTS
from tfft.layers.token_offsets import WithOffsets, token_offsets

# ruff: noqa: S106, S311  tokens are no passwords, and chance that a seed fixes is meant


def span(*ranges: tuple[int, int]) -> str:
    """The assigned characters of blocks, and spaces to make words of them."""
    letters = [chr(point) for first, last in ranges for point in range(first, last)]
    return "".join(letter for letter in letters if unicodedata.category(letter) not in {"Cn", "Co", "Cs"}) + " " * 20


SCRIPTS = {
    "ascii": span((0x20, 0x7F)),
    "latin": span((0x20, 0x7F), (0xA0, 0x250), (0x1E00, 0x1F00)),
    "greek_cyrillic": span((0x370, 0x590)),
    "hebrew_arabic": span((0x590, 0x700)),
    "indic": span((0x900, 0xE00)),
    "south_east_asian": span((0xE00, 0x10A0), (0x1780, 0x17F0)),
    "kana_han": span((0x3000, 0x3100), (0x4E00, 0x4F00), (0xF900, 0xF940), (0xFF00, 0xFFF0)),
    "hangul": span((0xAC00, 0xAD00), (0x1100, 0x1200), (0x3130, 0x3190)),
    "signs": span((0x2010, 0x2028), (0x2030, 0x2060), (0x2070, 0x2C00), (0x1F300, 0x1F700)),
    "compatible": span((0xFB00, 0xFE00), (0x1D400, 0x1D800), (0x2460, 0x2500), (0x3200, 0x3400)),
    "spaces": "\t\n\r    \xa0\u2003\u3000ab.3",
}
MARKS = "aeiouncAEÉñßİ中가 " + "".join(map(chr, range(0x300, 0x330))) + "\u0345\u0f71\u0f72\u09c7\u09be\u093c"
TEXTS = [text for text in PROBE_TEXTS if isinstance(text, str)]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def sample(alphabet: str, rows: int = 150) -> list[str]:
    chance = random.Random(7)
    return ["".join(chance.choices(alphabet, k=chance.randrange(16))) for _ in range(rows)]


def knows_its_place(text: str) -> bool:
    """Whether Hugging Face's normalizer for SentencePiece can be relied upon in a text.

    It loses its place after control and format characters that are left out, at accents that stand apart or become a
    space and an accent, and it takes the two characters of a line end for one.
    """
    return not any(
        (unicodedata.category(item) in {"Cc", "Cf"} and item not in "\t\n")
        or 0x300 <= ord(item) < 0x370
        or (unicodedata.normalize("NFKC", item)[:1] == " " and unicodedata.category(item) != "Zs")
        for item in text
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A KerasHub tokenizer, the same with offsets, and the same of Hugging Face."""

    layer: Any
    graph: Any
    offsets: WithOffsets
    reference: tokenizers.Tokenizer
    trusted: Callable[[str], bool]  # whether the reference knows its place in a text

    def compare(self, texts: Sequence[str | bytes], *, tolerated: int = 0) -> int:
        """Fails at any difference but `tolerated` rows; returns how many rows Hugging Face gives other ids."""
        rows = [text if isinstance(text, bytes) else text.encode("utf-8", "replace") for text in texts]
        found = self.offsets(tf.constant(rows, tf.string))
        wanted = self.graph(tf.constant([row.replace(b"\0", b"") for row in rows], tf.string))
        assert found.ids.to_list() == wanted.to_list()
        others, wrong = 0, []
        for row, ids, *spans in zip(rows, *(part.to_list() for part in found), strict=True):
            text, places = row.decode("utf-8", "replace"), list(zip(*spans, strict=True))
            assert all(0 <= start <= end <= len(text) for start, end in places), ascii(text)
            assert [start for start, _ in places] == sorted(start for start, _ in places), ascii(text)
            encoding = self.reference.encode(text, add_special_tokens=False)
            if encoding.ids == ids and self.trusted(text) and places != encoding.offsets:
                wrong.append((ascii(text), places, encoding.offsets))
            others += encoding.ids != ids
        assert len(wrong) <= tolerated, wrong[:3]
        return others

    def spans(self, text: str | bytes) -> list[tuple[str, int, int]]:
        """The tokens of one text, as the vocabulary has them."""
        found = [part.to_list()[0] for part in self.offsets(tf.constant([text]))]
        return [(self.layer.id_to_token(number), start, end) for number, start, end in zip(*found, strict=True)]


def case(layer: Any, reference: tokenizers.Tokenizer, trusted: Callable[[str], bool] = lambda _: True) -> Case:
    offsets = token_offsets(layer, segmentation_of(layer))
    assert isinstance(offsets, WithOffsets), offsets
    return Case(layer, in_graph(layer), offsets, reference, trusted)


def in_graph(layer: Any) -> Any:
    return tf.function(layer, input_signature=[tf.TensorSpec([None], tf.string)])


def word_piece(**options: bool) -> Case:
    """Of all single characters: ids spell out the words, so that no difference hides in [UNK]."""
    written_in = {item for text in (*SCRIPTS.values(), MARKS, *TEXTS) for item in text}
    letters = written_in | {
        form
        for item in written_in
        for shape in ("NFKD", "NFKC")
        for form in unicodedata.normalize(shape, item.casefold())
    }
    written = sorted(item for item in letters if unicodedata.category(item)[0] not in "CZ")
    tokens = list(dict.fromkeys([*BERT, *written, *(f"##{item}" for item in written), "the", "cafe", "각", "文"]))
    reference = tokenizers.Tokenizer(models.WordPiece({token: n for n, token in enumerate(tokens)}, unk_token="[UNK]"))
    reference.normalizer = normalizers.BertNormalizer(**options)
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Words with other characters are unknown to both, though they may end elsewhere.
    return case(keras_hub.models.BertTokenizer(tokens, **options), reference, lambda text: set(text) <= written_in)


def byte_pair(layer: type, special: list[str], processor: Any) -> Case:
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": 900, "initial_alphabet": alphabet, "show_progress": False}
    trained.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(special_tokens=special, **options))
    trained.post_processor = processor
    learnt = json.loads(trained.to_str())["model"]
    merges = [" ".join(merge) for merge in learnt["merges"]]
    return case(layer(vocabulary=learnt["vocab"], merges=merges), trained)


def gpt2() -> Case:
    # Hugging Face's GPT-2 keeps the leading space in the span, RoBERTa leaves it out.
    return byte_pair(keras_hub.models.GPT2Tokenizer, ["<|endoftext|>"], processors.ByteLevel(trim_offsets=False))


def roberta() -> Case:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trimming = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return byte_pair(keras_hub.models.RobertaTokenizer, special, trimming)


def sentencepiece_proto(**options: Any) -> bytes:
    written = io.BytesIO()
    usable = [text for text in TEXTS if len(text) < 300] * 3
    sizes = {"vocab_size": 1400, "hard_vocab_limit": False, "character_coverage": 1.0, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(usable), model_writer=written, model_type="unigram", **sizes, **options
    )
    return written.getvalue()


def unigram(proto: bytes, before: list[Any], pieces: Callable[[list[Any]], list[Any]], unknown: int) -> Any:
    """As transformers converts SentencePiece models: its normalizer, single spaces, Metaspace."""
    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    charsmap = model.normalizer_spec.precompiled_charsmap
    single = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    made = tokenizers.Tokenizer(models.Unigram(pieces([(p.piece, p.score) for p in model.pieces]), unk_id=unknown))
    strip = [] if before else [normalizers.Strip()]
    made.normalizer = normalizers.Sequence([*strip, normalizers.Precompiled(charsmap), single])
    meta = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.pre_tokenizer = pre_tokenizers.Sequence([*before, meta])
    return made


def xlm_roberta() -> Case:
    proto = sentencepiece_proto(unk_id=0, bos_id=1, eos_id=2)
    prefix = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    before = [pre_tokenizers.WhitespaceSplit()]
    reference = unigram(proto, before, lambda pieces: [*prefix, *pieces[3:], ("<mask>", 0.0)], 3)
    return case(keras_hub.models.XLMRobertaTokenizer(proto), reference, knows_its_place)


def deberta_v3() -> Case:
    names = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    proto = sentencepiece_proto(pad_id=0, bos_id=1, eos_id=2, unk_id=3, **names)
    return case(keras_hub.models.DebertaV3Tokenizer(proto), unigram(proto, [], list, 3), knows_its_place)


CASES = {
    "uncased": lambda: word_piece(lowercase=True, strip_accents=True),
    "cased": lambda: word_piece(lowercase=False, strip_accents=False),
    "lowercase": lambda: word_piece(lowercase=True, strip_accents=False),
    "gpt2": gpt2,
    "roberta": roberta,
    "xlm_roberta": xlm_roberta,
    "deberta_v3": deberta_v3,
}


@functools.cache
def of(name: str) -> Case:
    """One of the cases, made when it is first asked for."""
    return CASES[name]()
