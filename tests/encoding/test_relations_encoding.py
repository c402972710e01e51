"""Texts with two entities become the tokens of one marked sentence, or the window around both that fits."""

from __future__ import annotations

import dataclasses
import io
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
from tfft.core.entity_markers import HEAD_MARKERS, TAIL_MARKERS, MarkedText, entities_of, parse_marked
from tfft.core.errors import ConfigError
from tfft.encoding.base import EncodedRows
from tfft.encoding.relations import RelationEncoding
from tfft.layers.marked_entities import cut_at_markers
from tfft.tasks.base import unlabelled
from tfft.tasks.relation_extraction import RelationExtraction

LETTERS = "abcdefgh"
SIZES: dict[str, Any] = {"num_layers": 1, "num_heads": 2, "hidden_dim": 4, "intermediate_dim": 4}
UNPLEASANT = ("", " ", "a", "naïve café — 東京 🙂", "x" * 9, "a b " * 9, "nul \0 here", "\n\t<e3>@ # \u3000")
TEXTS = [
    "a <e1>b c</e1> d <e2>e</e2> f",
    "<e2>a</e2><e1>b</e1>",
    "a b<e2> c </e2>.<e1>d,e</e1>, f\u00a0g",
    *RelationExtraction().unpleasant(UNPLEASANT),
]
#: Each byte has a character of its own below this one.
LAST_OF_BYTES = 324


def bert() -> tuple[Any, Any]:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "@", "#", ".", ","]
    return keras_hub.models.BertTokenizer(words, lowercase=True), keras_hub.models.BertBackbone


def roberta() -> tuple[Any, Any]:
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, *(f"Ġ{letter}" for letter in LETTERS), "Ġ@", "Ġ#", "<mask>"]
    tokens += [chr(place) for place in range(33, LAST_OF_BYTES)]
    merges = [f"Ġ {letter}" for letter in (*LETTERS, "@", "#")]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return keras_hub.models.RobertaTokenizer(vocabulary, merges), keras_hub.models.RobertaBackbone


def xlm_roberta() -> tuple[Any, Any]:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join([*LETTERS, "@", "#"])] * 9), model_writer=written, vocab_size=60,
        model_type="char", hard_vocab_limit=False, minloglevel=2, unk_id=0, bos_id=1, eos_id=2,
    )  # fmt: skip
    return keras_hub.models.XLMRobertaTokenizer(written.getvalue()), keras_hub.models.XLMRobertaBackbone


def loaded(tokenizer: Any, kind: Any, folder: Path) -> TextBackbone:
    model = kind(vocabulary_size=tokenizer.vocabulary_size() + 1, max_sequence_length=40, **SIZES)
    model.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return load_text_backbone(str(folder))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> TextBackbone:
    return loaded(*bert(), tmp_path_factory.mktemp("presets") / "bert")


def encoded(encoding: RelationEncoding, texts: list[str], console: Console) -> tuple[EncodedRows, list[dict[str, Any]]]:
    """The rows, and of each its tokens and positions."""
    rows = encoding.encode(unlabelled(texts), console, what="train")
    features = rows.gather(tf.range(len(texts), dtype=tf.int64), tf.constant(int(rows.lengths.max())))
    assert features["entity_positions"].shape == (len(texts), 2)
    found = []
    for number, length in enumerate(rows.lengths):
        assert features["padding_mask"][number].numpy().sum() == length
        assert not features["segment_ids"][number].numpy().any()
        own = features["token_ids"][number].numpy()
        found.append({"ids": own[:length].tolist(), "positions": features["entity_positions"][number].numpy().tolist()})
    return rows, found


def sentence(text: MarkedText) -> list[str]:
    """The parts of the marked sentence that a model reads."""
    first, second = ("@", "#") if text.head_first else ("#", "@")
    parts = [text.before, first, text.first, first, text.between, second, text.second, second, text.after]
    return [part.replace("\0", "").strip(" \t\n") for part in parts]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # KerasHub leaves the proto open
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(bert, id="bert"),
        pytest.param(xlm_roberta, id="xlm_roberta", marks=pytest.mark.slow),
        pytest.param(roberta, id="roberta", marks=pytest.mark.slow),
    ],
)
def test_rows_are_the_tokens_of_one_sentence_with_signs(family: Any, tmp_path: Path, quiet: Console) -> None:
    tokenizer, kind = family()
    backbone = loaded(tokenizer, kind, tmp_path / "preset")
    rows, found = encoded(RelationEncoding(backbone, sequence_length=3000), TEXTS, quiet)
    sentences = [sentence(entities_of(text)) for text in TEXTS]
    # In the middle of a text, a word of a byte pair tokenizer begins with its space; so does a sign that comes first.
    start = " " if family is roberta else ""
    joined = [("" if parts[0] else start) + " ".join(filter(None, parts)) for parts in sentences]
    *expected, head, tail = tf.function(tokenizer)(tf.constant([*joined, f"{start}@", f"{start}#"])).to_list()
    for text, row, ids in zip(TEXTS, found, expected, strict=True):
        assert row["ids"] == [*backbone.start_ids, *ids, *backbone.end_ids], text
    for text, row in zip(TEXTS, found, strict=True):
        own = [
            row["ids"][place : place + len(sign)] for place, sign in zip(row["positions"], (head, tail), strict=True)
        ]
        assert own == [head, tail], text
        assert (row["positions"][0] < row["positions"][1]) == entities_of(text).head_first
    assert not len(rows.truncated)


def cut_by_hand(text: MarkedText, room: int) -> list[str]:
    """Takes away one token after the other: outside first, then in the middle, then from the longer entity."""
    before, first, between, second, after = (part.split() for part in text[:5])
    while sum(map(len, (before, first, between, second, after))) > room:
        if before or after:
            # The side that has more loses the token farthest away.
            if len(before) > len(after):
                before.pop(0)
            else:
                after.pop()
        elif between:
            between.pop(len(between) // 2)
        else:
            (first if len(first) > len(second) else second).pop()
    one, other = ("@", "#") if text.head_first else ("#", "@")
    return [*before, one, *first, one, *between, other, *second, other, *after]


def test_rows_that_are_too_long_keep_both_entities_and_what_is_nearest(backbone: TextBackbone, quiet: Console) -> None:
    random = np.random.default_rng(5)
    texts = []
    for number in range(100):
        before, first, between, second, after = (
            " ".join(random.choice(list(LETTERS), random.integers(least, most)))
            for least, most in ((0, 9), (1, 7), (0, 9), (1, 7), (0, 9))
        )
        one, other = (HEAD_MARKERS, TAIL_MARKERS)[:: 1 if number % 2 else -1]
        texts.append(f"{before}{one[0]}{first}{one[1]}{between}{other[0]}{second}{other[1]}{after}")
    seen = set()
    for limit in (8, 9, 14, 23):
        rows, found = encoded(RelationEncoding(backbone, sequence_length=limit), texts, quiet)
        for number, (text, row) in enumerate(zip(texts, found, strict=True)):
            parsed = entities_of(text)
            tokens = ["[CLS]", *cut_by_hand(parsed, limit - 6), "[SEP]"]
            assert [backbone.tokenizer.id_to_token(token) for token in row["ids"]] == tokens, (limit, text)
            assert row["positions"] == [tokens.index("@"), tokens.index("#")]
            whole = sum(len(part.split()) for part in parsed[:5]) + 6
            assert rows.full_lengths[number] == whole
            assert (number in rows.truncated) == (whole > limit)
            entities = len(parsed.first.split()) + len(parsed.second.split())
            needed = (entities, entities + len(parsed.between.split()), whole - 6)
            seen.add(sum(size > limit - 6 for size in needed))
    assert seen == {0, 1, 2, 3}, "rows that lose nothing, what is outside, what is between, and parts of entities"


def test_a_served_graph_makes_the_same_rows(backbone: TextBackbone, quiet: Console) -> None:
    encoding = RelationEncoding(backbone, sequence_length=16)
    rows, _ = encoded(encoding, TEXTS, quiet)
    served = tf.function(encoding.serve, autograph=False)({"text": tf.constant([text.encode() for text in TEXTS])})
    for name, values in rows.gather(tf.range(len(TEXTS), dtype=tf.int64), tf.constant(16)).items():
        np.testing.assert_array_equal(served.features[name], values, err_msg=name)
    for name in ("heads", "tails"):
        assert [item.decode() for item in getattr(served.context, name).numpy()] == getattr(rows.context, name)
    none = tf.function(encoding.serve, autograph=False)({"text": tf.constant([], tf.string)})
    assert none.features["entity_positions"].shape == (0, 2)


def test_a_graph_cuts_texts_as_python_does_and_refuses_the_same() -> None:
    cut = tf.function(cut_at_markers, autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    found = cut(tf.constant([text.encode() for text in TEXTS]))
    for text, parts, head_first in zip(TEXTS, found.parts.numpy(), found.head_first.numpy(), strict=True):
        assert ([part.decode() for part in parts], bool(head_first)) == ([*entities_of(text)[:5]], entities_of(text)[5])
    for text in (
        "", "a b", "<e1>a</e1> <e2>b", "<e1>a</e1> <e1>c</e1> <e2>b</e2>", "</e1>a<e1> <e2>b</e2>",
        "<e1>a <e2>b</e2></e1>", "<e1>a <e2>b</e1> c</e2>", "<e1>a<e2></e1>b</e2>", "<e1> </e1><e2>b</e2>",
        "<e1>a</e1><e2></e2>", "<e1>\0<e2>b</e2>",
    ):  # fmt: skip
        assert isinstance(parse_marked(text), str)
        with pytest.raises(tf.errors.InvalidArgumentError, match="Each text marks the head entity as <e1>"):
            cut(tf.constant([TEXTS[0].encode(), text.encode()]))


def test_bytes_that_are_no_text_are_cut_as_well() -> None:
    raw = b"\xff<e1>\xf0\x9f</e1>\0\xe6<e2>\xc3</e2>\x80"
    assert cut_at_markers(tf.constant([raw])).parts.numpy().tolist() == [
        [b"\xff", b"\xf0\x9f", b"\0\xe6", b"\xc3", b"\x80"]
    ]


def test_rows_that_are_cut_are_counted(backbone: TextBackbone, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [
        "<e1>a</e1> <e2>b</e2>",
        "a b c <e1>a</e1> <e2>b</e2>",
        "<e1>a</e1> c d <e2>b</e2>",
        "<e1>a b</e1><e2>b</e2>",
    ]
    rows = RelationEncoding(backbone, sequence_length=8).encode(unlabelled(texts), Console(), what="train")
    assert rows.truncated.tolist() == [1, 2, 3]
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "train: 3 of 4 texts (75.0%) are longer than 8 tokens and were cut to what is around their entities; 2 of"
        in said
    )


def test_what_cannot_mark_entities_is_refused_or_said(backbone: TextBackbone, tiny_preset: str) -> None:
    with pytest.raises(ConfigError, match=r"sequence_length is 7, of which 6 mark .* needs at least 8"):
        RelationEncoding(backbone, sequence_length=7)
    with pytest.raises(ConfigError, match="is causal: its tokens do not see what follows"):
        RelationEncoding(dataclasses.replace(backbone, causal=True), sequence_length=None)
    assert RelationEncoding(backbone, sequence_length=None).said is None
    lacking = RelationEncoding(load_text_backbone(tiny_preset), sequence_length=None)
    assert lacking.said == "the vocabulary has no '@' and '#' to mark entities with; the unknown token marks them"
