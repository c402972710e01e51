"""Words as rows of tokens: the same in training, `predict` and an export; every word once."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.backbones.keras_hub_tokenizers import segmentation_of
from tfft.console import Console
from tfft.data.word_cutting import cut_words
from tfft.encoding.words import WordEncoding, word_positions
from tfft.tasks.base import unlabelled

TEXTS = ["the film was funny", "", "a plot, a cast (weak) and the script: awful!", "cafe"]


@pytest.fixture(scope="module")
def backbone(tiny_preset: str) -> TextBackbone:
    return load_text_backbone(tiny_preset)


def encoding_of(backbone: TextBackbone, **options: Any) -> WordEncoding:
    return WordEncoding(backbone, **{"sequence_length": 8, "overlap": 0.5, "words": "punctuation", **options})


def encoded(encoding: WordEncoding, examples: Any) -> tuple[Any, dict[str, np.ndarray]]:
    rows = encoding.encode(examples, Console(quiet=True), what="texts")
    width = int(rows.lengths.max())
    features = rows.gather(tf.range(len(rows.lengths), dtype=tf.int64), tf.constant(width))
    return rows, {name: values.numpy() for name, values in features.items()}


def test_a_request_is_encoded_as_in_training(backbone: TextBackbone) -> None:
    encoding = encoding_of(backbone)
    rows, features = encoded(encoding, unlabelled(TEXTS))
    served = tf.function(encoding.serve)({"text": tf.constant(TEXTS)})
    assert set(served.features) == set(features)
    for name, values in features.items():
        np.testing.assert_array_equal(served.features[name], values)
    np.testing.assert_array_equal(served.context.items, rows.items)
    np.testing.assert_array_equal(served.context.starts.flat_values, rows.context.starts)
    np.testing.assert_array_equal(served.context.ends.flat_values, rows.context.ends)


def test_every_word_is_in_one_row_with_its_own_first_token(backbone: TextBackbone) -> None:
    rows, features = encoded(encoding_of(backbone), unlabelled(TEXTS))
    words = [text[start:end] for text in TEXTS for start, end in cut_words(text, "punctuation")]
    assert int(rows.items.sum()) == len(words)
    assert rows.windows.tolist() == [1, 1, 4, 1]
    first = [
        int(features["token_ids"][row, place])
        for row in range(len(rows.lengths))
        for place in features["word_positions"][row]
        if place >= 0
    ]
    own = backbone.tokenizer(tf.constant(words))
    assert first == [int(pieces[0]) for pieces in own]
    ends = np.cumsum(rows.windows)
    assert rows.example_of.tolist() == np.searchsorted(ends, np.arange(ends[-1]), side="right").tolist()


def test_given_words_are_not_cut_again(backbone: TextBackbone) -> None:
    words = [["the", "U.S.", "film"], ["was", "weak"]]
    places = [[(0, 3), (4, 8), (9, 13)], [(0, 3), (4, 8)]]
    examples = unlabelled(["the U.S. film", "was weak"], {"words": words, "places": places})
    rows, _ = encoded(encoding_of(backbone), examples)
    assert rows.items.tolist() == [3, 2]
    assert rows.context.starts.tolist() == [0, 4, 9, 0, 4]


def test_words_of_byte_pairs_have_the_tokens_they_have_in_a_sentence(backbone: TextBackbone) -> None:
    space = "\u0120"  # what stands for a space
    names = ["<s>", "<pad>", "</s>", "<mask>", "a", "b", space, "ab", f"{space}a", f"{space}ab"]
    vocabulary = {name: number for number, name in enumerate(names)}
    merges = ["a b", f"{space} a", f"{space} ab"]
    tokenizer = keras_hub.models.RobertaTokenizer(vocabulary=vocabulary, merges=merges)
    segmentation = segmentation_of(tokenizer)
    of_bytes = dataclasses.replace(backbone, tokenizer=tokenizer, word_piece="none", segmentation=segmentation)
    assert of_bytes.word_prefix == " "
    _, features = encoded(encoding_of(of_bytes, words="whitespace"), unlabelled(["ab a ab"]))
    inside = np.asarray(tokenizer(tf.constant([" ab a ab"]))[0]).tolist()
    assert features["token_ids"][0].tolist()[1:-1] == inside


def test_positions_of_words_are_in_order_and_then_minus_one() -> None:
    marks = tf.constant([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    expected = [[1, 3, -1, -1], [-1, -1, -1, -1], [0, 1, 2, 3]]
    assert word_positions(marks).numpy().tolist() == expected
