"""Documents as rows of two segments with hidden tokens: the rows of `sentence_pairs`, whole documents, any cut."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, PresetError
from tfft.data.masked_texts import whole_texts
from tfft.data.order import EpochOrder
from tfft.data.pipeline import drawn_dataset
from tfft.data.sentence_pairs import SentencePairOptions, sentence_pairs
from tfft.data.sharing import Sharing
from tfft.encoding.base import EncodedRows
from tfft.encoding.masked_pairs import MaskedPairEncoding, PairCache
from tfft.tasks.base import unlabelled

WORDS = ["the", "a", "film", "plot", "cast", "music", "ending", "script", "was", "is", "wonderful", "moving", "funny"]
START, SEPARATOR, MASK = 2, 3, 4
LENGTH = 16
Objective = Literal["next_sentence", "sentence_order"]


def document(number: int) -> str:
    chance = np.random.default_rng(number)
    lengths = chance.integers(1, 7, number % 6)
    return ". ".join(" ".join(WORDS[word] for word in chance.integers(0, 13, length)) for length in lengths)


#: Every sixth is empty, and every sixth has one sentence; one of these is longer than a row.
DOCUMENTS = [*map(document, range(48)), "the film " * 20]


@pytest.fixture(scope="module")
def backbone(tiny_preset: str) -> TextBackbone:
    return load_text_backbone(tiny_preset)


def encoding_of(backbone: TextBackbone, objective: Objective) -> MaskedPairEncoding:
    return MaskedPairEncoding(backbone, sequence_length=LENGTH, seed=3, objective=objective)


def rows_of(encoding: MaskedPairEncoding, texts: list[str], console: Console | None = None) -> EncodedRows:
    return encoding.encode(whole_texts(unlabelled(texts)), console or Console(quiet=True), what="train")


def features_of(rows: EncodedRows) -> dict[str, np.ndarray]:
    found = rows.gather(tf.range(len(rows.lengths), dtype=tf.int64), tf.constant(LENGTH))
    return {name: value.numpy() for name, value in found.items()}


@pytest.fixture(scope="module")
def encoding(backbone: TextBackbone) -> MaskedPairEncoding:
    return encoding_of(backbone, "sentence_order")


@pytest.fixture(scope="module")
def rows(encoding: MaskedPairEncoding) -> EncodedRows:
    return rows_of(encoding, DOCUMENTS)


@pytest.mark.parametrize("objective", ["next_sentence", "sentence_order"])
def test_rows_are_those_of_sentence_pairs_and_of_documents_without_a_pair(
    backbone: TextBackbone, objective: Objective
) -> None:
    vocabulary = backbone.tokenizer.get_vocabulary()
    # In a WordPiece vocabulary without a full stop, each is one unknown token at the end of its word.
    pieces = [
        [[vocabulary.index(word) for word in sentence.split()] + [1] for sentence in text.split(". ")]
        for text in DOCUMENTS
    ]
    for sentences in pieces:
        sentences[-1].pop()
    options = SentencePairOptions(
        objective=objective, sequence_length=LENGTH, start_ids=(START,), between_ids=(SEPARATOR,), end_ids=(SEPARATOR,)
    )
    pairs = sentence_pairs(pieces, options, seed=3, epoch=0)
    rows = rows_of(encoding_of(backbone, objective), DOCUMENTS)
    assert rows.windows is not None
    expected: list[tuple[list[int], list[int], int]] = []
    for number, sentences in enumerate(pieces):
        own = np.flatnonzero(pairs.documents == number)
        alone = [*[START, *itertools.chain(*sentences)][: LENGTH - 1], SEPARATOR]
        found = [(pairs.ids[row], pairs.segment_ids[row], int(pairs.labels[row])) for row in own]
        expected += found or [(alone, [0] * len(alone), -1)]
        assert rows.windows[number] == max(len(own), 1)
    assert rows.lengths.tolist() == [len(ids) for ids, _, _ in expected]
    assert rows.truncated.tolist() == ([48] if objective == "sentence_order" else [])
    features, targets = features_of(rows), rows.context.targets
    for row, (ids, segments, label) in enumerate(expected):
        assert targets.tokens.row(row).tolist() == ids
        assert features["segment_ids"][row].tolist() == segments + [0] * (LENGTH - len(ids))
        assert features["pair_labels"][row] == targets.orders.row(row)[0] == label
    joined = targets.joined(rows.windows)
    assert len(joined) == len(DOCUMENTS)
    assert [len(item) for item in joined.orders] == rows.windows.tolist()


def test_separators_are_never_hidden_and_one_segment_is_all_zeros(backbone: TextBackbone, rows: EncodedRows) -> None:
    special = rows.context.targets.tokens.values < 5
    assert special.sum() > 2 * len(rows.lengths)
    assert set(rows.context.targets.labels.values) & set(range(5)) == set()
    features = features_of(rows)
    assert ((features["token_ids"] == SEPARATOR).sum(axis=1) == 1 + (features["pair_labels"] >= 0)).all()
    assert (features["token_ids"] == MASK).any()
    assert features["segment_ids"].any()
    alike = rows_of(encoding_of(dataclasses.replace(backbone, num_segments=1), "sentence_order"), DOCUMENTS)
    assert not features_of(alike)["segment_ids"].any()


def batches(encoding: MaskedPairEncoding, rows: EncodedRows, sharing: Sharing) -> list[Any]:
    assert rows.cache is not None
    order = EpochOrder(rows.lengths, (8, LENGTH), 10, 5, batching="bucketed")
    weights = np.ones(len(rows.lengths), np.float32)
    found = drawn_dataset(encoding.batch_draw(rows.cache), weights, order, epochs=2, sharing=sharing)
    return list(found.as_numpy_iterator())


def test_any_cut_of_a_batch_has_the_same_masks_and_the_same_share_of_pairs(
    encoding: MaskedPairEncoding, rows: EncodedRows
) -> None:
    assert isinstance(rows.cache, PairCache)
    whole = batches(encoding, rows, Sharing(10))
    of_epoch = len(whole) // 2
    assert any(
        not np.array_equal(one[0]["token_ids"], other[0]["token_ids"])
        for one, other in zip(whole[:of_epoch], whole[of_epoch:], strict=True)
    ), "the second epoch hides others"
    for inputs, targets, _, units in whole:
        labels, scale = targets["pairs"]
        np.testing.assert_allclose(scale, units / max((labels >= 0).sum(), 1), rtol=1e-6)
        assert (targets["tokens"][1] == 1).all()
        assert units == max((targets["tokens"][0] >= 0).sum(), 1)
        np.testing.assert_array_equal((inputs["token_ids"] == SEPARATOR).sum(axis=1) == 2, labels >= 0)
    for first in range(2):
        sharing = Sharing(10, replicas=2, first=first, local=1, micro_batch_size=2)
        for part, (inputs, targets, _, units) in zip(batches(encoding, rows, sharing), whole, strict=True):
            own, _ = sharing.deal(np.arange(len(inputs["token_ids"])))
            assert part[3] == units
            tf.nest.map_structure(
                lambda cut, everything, own=own: np.testing.assert_array_equal(cut, everything[own]),
                (part[0], part[1]), (inputs, targets),
            )  # fmt: skip


def test_what_is_left_out_is_said_once(encoding: MaskedPairEncoding, capsys: pytest.CaptureFixture[str]) -> None:
    # Three sentences of a row each: two make a pair, and the third has none to follow.
    texts = [". ".join(["the film was moving and the cast was dull"] * 3)] * 5 + ["the film", ""]
    rows = rows_of(encoding, texts, Console())
    said = " ".join(capsys.readouterr().err.split())
    assert "train: 5 pairs of segments from 5 documents; 2 documents of at most one sentence" in said
    assert "5 of 16 sentences are in no row" in said
    assert rows.windows is not None
    assert rows.windows.tolist() == [1] * 7


def test_a_request_gives_the_features_of_predict(encoding: MaskedPairEncoding) -> None:
    texts = ["the [MASK] was <mask>. a film", "[MASK]", "film"]
    rows = encoding.encode(unlabelled(texts), Console(quiet=True), what="texts")
    expected = rows.gather(tf.range(len(texts), dtype=tf.int64), tf.constant(int(rows.lengths.max())))
    served = encoding.serve({"text": tf.constant(texts)})
    assert set(served.features) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(served.features[name], value)
    assert served.features["pair_labels"].numpy().tolist() == [-1] * 3
    assert rows.windows is None


def test_what_gives_no_pairs_is_refused(backbone: TextBackbone, encoding: MaskedPairEncoding) -> None:
    with pytest.raises(DataError, match=r"sentence_objective, train: Sentence-order .* two sentences or more"):
        rows_of(encoding, ["the film", "a plot", ""])
    with pytest.raises(DataError, match=r"sentence_objective, train: Next-sentence .* only 1 with text"):
        rows_of(encoding_of(backbone, "next_sentence"), ["the film. a plot", ""])
    with pytest.raises(PresetError, match=r"no token to put between two sentences.*sentence_objective='none'"):
        encoding_of(dataclasses.replace(backbone, separator_ids=()), "sentence_order")
    with pytest.raises(ConfigError, match="a pair needs at least 5"):
        MaskedPairEncoding(backbone, sequence_length=4, seed=0, objective="sentence_order")
