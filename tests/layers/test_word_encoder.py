"""Windows of words: every word once, with the tokens of the tokenizer, against the definition in plain Python."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.layers.word_encoder import WordEncoder

UNKNOWN, START, END, PAD = 1, 2, 3, 0
#: Words of no token, of some, and of more than a window takes.
ROWS = st.lists(
    st.lists(st.sampled_from(["", "a", "bc", "def", "x" * 9, "y" * 40]), max_size=12), min_size=1, max_size=4
)


def letters(texts: tf.Tensor) -> tf.RaggedTensor:
    """One token a character, numbered as Unicode does."""
    return tf.strings.unicode_decode(texts, "UTF-8")


def encoder_of(room: int, overlap: int) -> WordEncoder:
    return WordEncoder(
        letters,
        start_ids=[START],
        end_ids=[END],
        pad_id=PAD,
        unknown_id=UNKNOWN,
        sequence_length=room + 2,
        overlap=overlap,
    )


def by_definition(words: list[str], room: int, overlap: int) -> list[tuple[list[int], list[int]]]:
    """Windows of a row as tokens and marks, without start and end."""
    tokens, first = [], []
    for word in words:
        pieces = [ord(letter) for letter in word] or [UNKNOWN]
        tokens += pieces
        first += [1] + [0] * (len(pieces) - 1)
    starts = [0]
    while starts[-1] + room < len(tokens):
        starts.append(starts[-1] + room - overlap)
    middles = [start + (room - 1) / 2 for start in starts]
    starts = [max(0, min(start, len(tokens) - room)) for start in starts]
    found = []
    for number, start in enumerate(starts):
        places = range(start, min(start + room, len(tokens)))
        # Of two windows whose middles are as near, the later one.
        nearest = [min(range(len(starts)), key=lambda k: (abs(place - middles[k]), -k)) for place in places]
        marks = [first[place] * int(best == number) for place, best in zip(places, nearest, strict=True)]
        found.append(([tokens[place] for place in places], marks))
    return found


def encode(encoder: WordEncoder, rows: list[list[str]]) -> Any:
    lengths = [len(row) for row in rows]
    return encoder.encode(
        tf.RaggedTensor.from_row_lengths(tf.constant([word for row in rows for word in row], tf.string), lengths)
    )


@pytest.mark.parametrize(("room", "overlap"), [(5, 2), (8, 0), (7, 6), (1, 0)])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_windows_are_those_of_the_definition(room: int, overlap: int, rows: list[list[str]]) -> None:
    ids, word_starts, windows = encode(encoder_of(room, overlap), rows)
    wanted = [by_definition(row, room, overlap) for row in rows]
    assert windows.numpy().tolist() == [len(row) for row in wanted]
    flat = [window for row in wanted for window in row]
    assert ids.to_list() == [[START, *tokens, END] for tokens, _ in flat]
    assert word_starts.to_list() == [[0, *marks, 0] for _, marks in flat]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_every_word_is_tagged_once_and_in_order(rows: list[list[str]]) -> None:
    ids, word_starts, windows = encode(encoder_of(6, 3), rows)
    starts = iter(zip(ids.to_list(), word_starts.to_list(), strict=True))
    for row, number in zip(rows, windows.numpy().tolist(), strict=True):
        tagged = []
        for _ in range(number):
            tokens, marks = next(starts)
            tagged += [token for token, mark in zip(tokens, marks, strict=True) if mark]
        assert tagged == [ord(word[0]) if word else UNKNOWN for word in row]


def test_padding_and_the_shape_of_nothing() -> None:
    encoder = encoder_of(5, 2)
    ids, word_starts, _ = encode(encoder, [["ab", "c"], []])
    features = encoder.pad(ids, word_starts, 6)
    assert features["token_ids"].numpy().tolist() == [[START, 97, 98, 99, END, PAD], [START, END, PAD, PAD, PAD, PAD]]
    assert features["padding_mask"].numpy().tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]]
    assert features["word_starts"].numpy().tolist() == [[0, 1, 0, 1, 0, 0], [0] * 6]
    assert not features["segment_ids"].numpy().any()
    nothing = encode(encoder, [[]])
    assert nothing.ids.to_list() == [[START, END]]


def test_windows_are_the_same_in_a_graph_of_open_shape() -> None:
    encoder = encoder_of(5, 2)
    traced = tf.function(encoder.encode, input_signature=[tf.RaggedTensorSpec([None, None], tf.string, 1, tf.int64)])
    rows = tf.ragged.constant([["ab", "cdefgh", "", "ijk"], ["l"]])
    for ours, wanted in zip(traced(rows)[:2], encoder.encode(rows)[:2], strict=True):
        assert ours.to_list() == wanted.to_list()


@pytest.mark.parametrize(("room", "overlap"), [(5, 5), (0, 0), (4, -1)])
def test_windows_that_do_not_get_on_are_refused(room: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="cannot share"):
        encoder_of(room, overlap)
