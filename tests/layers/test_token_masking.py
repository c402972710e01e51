"""Masking against BERT's own procedure, written down here once more, and against the shares that it has to have."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from offset_cases import of
from scipy.stats import binom, chisquare

from tfft.backbones.keras_hub import load_text_backbone
from tfft.core.errors import ConfigError, PresetError
from tfft.layers.token_masking import (
    MaskedTokens,
    MaskingVocabulary,
    TokenMasking,
    TokenMaskingOptions,
    continuation_table,
    masked_positions,
    masking_vocabulary,
)

#: 0 to 4 are special, 5 to 24 begin a word, 25 to 39 continue one.
PAD, UNKNOWN, START, END, MASK = range(5)
SIZE, FIRST, FIRST_PIECE = 40, 5, 25
NUMBERS = np.arange(SIZE)
VOCABULARY = MaskingVocabulary(MASK, NUMBERS >= FIRST, NUMBERS >= FIRST_PIECE)
SEED = tf.constant([3, 4])


def masked(rows: Sequence[Sequence[int]], seed: Any = SEED, **options: float) -> MaskedTokens:
    ids = tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32)
    return TokenMasking(VOCABULARY, TokenMaskingOptions(**options))(ids, seed)


def words_of(row: Sequence[int]) -> list[list[int]]:
    """The places of each word: BERT's `cand_indexes` with whole words."""
    words: list[list[int]] = []
    for place, token in enumerate(row):
        if token < FIRST:
            continue
        if token >= FIRST_PIECE and words and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    return words


def random_rows(count: int, length: int, seed: int = 0, pieces: float = 0.4) -> list[list[int]]:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        size = random.integers(0, length + 1)
        is_piece = random.random(size) < pieces
        tokens = np.where(is_piece, random.integers(FIRST_PIECE, SIZE, size), random.integers(FIRST, FIRST_PIECE, size))
        rows.append([START, *map(int, tokens), END])
    return rows


tokens = st.integers(0, SIZE - 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(tokens, max_size=25), max_size=6), st.integers(0, 2**31 - 1), st.sampled_from([0.15, 0.5, 1]))
def test_whole_words_are_taken_until_none_fits(rows: list[list[int]], seed: int, share: float) -> None:
    ids, labels = (part.to_list() for part in masked(rows, tf.constant([seed, 1]), share=share))
    assert [len(row) for row in ids] == [len(row) for row in rows]
    for row, hidden, label in zip(rows, ids, labels, strict=True):
        words = words_of(row)
        lengths = [len(word) for word in words]
        taken = [word for word in words if label[word[0]] != -1]
        assert {place for place, value in enumerate(label) if value != -1} == {
            place for word in taken for place in word
        }
        assert all(label[place] in {-1, row[place]} for place in range(len(row)))
        assert all(hidden[place] == row[place] for place in range(len(row)) if label[place] == -1)
        assert all(hidden[place] == MASK or hidden[place] >= FIRST for place in range(len(row)) if label[place] != -1)
        # Python's own rounding, as in BERT's create_pretraining_data.py.
        wanted = max(1, round(sum(lengths) * share))
        count = sum(map(len, taken))
        if not words:
            assert not count
        elif min(lengths) > wanted:
            assert len(taken) == 1
            assert count == min(lengths)
        else:
            left = [len(word) for word in words if word not in taken]
            assert count <= wanted
            assert all(count + length > wanted for length in left), "a word that fits was passed over"


def test_the_row_gets_what_the_greedy_walk_gives() -> None:
    """Exact: all orders of the words of a row, each walked as BERT walks it."""
    row = [START, 5, 25, 26, 6, 27, 7, 8, END]
    words, wanted, rounds = words_of(row), 3, 8000
    expected: dict[tuple[int, ...], float] = {}
    orders = list(itertools.permutations(words))
    for order in orders:
        taken: list[int] = []
        for word in order:
            if len(taken) + len(word) <= wanted:
                taken += word
        key = tuple(sorted(taken))
        expected[key] = expected.get(key, 0) + rounds / len(orders)
    _, labels = masked([row] * rounds, share=0.45)
    found = dict.fromkeys(expected, 0)
    for label in labels.to_list():
        found[tuple(place for place, value in enumerate(label) if value != -1)] += 1
    assert chisquare([found[key] for key in expected], [expected[key] for key in expected]).pvalue > 1e-3


def test_the_shares_are_those_of_bert() -> None:
    rows = [[START, *range(FIRST, FIRST_PIECE), END]] * 3000  # 20 words of one token
    ids, labels = (part.flat_values.numpy() for part in masked(rows))
    chosen = labels != -1
    assert chosen.reshape(3000, -1).sum(axis=1).tolist() == [3] * 3000
    hidden, original = ids[chosen], labels[chosen]
    to_mask = hidden == MASK
    low, high = binom.interval(0.9999, len(hidden), 0.8)
    assert low <= to_mask.sum() <= high
    # A random token is by chance the one that was there.
    low, high = binom.interval(0.9999, len(hidden), 0.1 + 0.1 / (SIZE - FIRST))
    assert low <= (hidden == original).sum() <= high
    others = hidden[~to_mask & (hidden != original)]
    counts = np.bincount(others, minlength=SIZE)
    assert not counts[:FIRST].any()
    assert counts[FIRST:].all()
    # Any but the original, which is one of the first 20: these are a little rarer.
    expected = np.where(np.arange(FIRST, SIZE) < FIRST_PIECE, 19 / 20, 1.0)
    assert chisquare(counts[FIRST:], expected / expected.sum() * counts.sum()).pvalue > 1e-3
    places = np.bincount(np.flatnonzero(chosen) % 22, minlength=22)
    assert places[0] == places[21] == 0
    assert chisquare(places[1:21]).pvalue > 1e-3, "some places are preferred"


def test_tokens_of_one_word_are_hidden_each_for_itself() -> None:
    ids, labels = masked([[START, 5, 25, END]] * 500, share=1.0)
    hidden = ids.to_tensor().numpy()[:, 1:3] == MASK
    assert (hidden[:, 0] != hidden[:, 1]).any()
    assert (labels.to_tensor().numpy()[:, 1:3] == [5, 25]).all()


@pytest.mark.parametrize(
    ("options", "fixed"), [({"mask_share": 1.0, "random_share": 0.0}, True), ({"share": 0.3}, False)]
)
def test_options_change_what_is_hidden(options: dict[str, float], fixed: bool) -> None:
    ids, labels = (part.flat_values.numpy() for part in masked(random_rows(50, 30), **options))
    assert (ids[labels != -1] == MASK).all() == fixed
    share = (labels != -1).sum() / (ids.size - 100)
    assert share == pytest.approx(options.get("share", 0.15), abs=0.03)


def test_a_seed_gives_the_same_masks_everywhere_and_another_one_others() -> None:
    rows = random_rows(40, 30)
    expected = [part.flat_values.numpy() for part in masked(rows)]
    masking = TokenMasking(VOCABULARY)
    ragged = tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32)
    traced = tf.function(
        masking, input_signature=[tf.RaggedTensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int32)]
    )
    dataset = tf.data.Dataset.from_tensors(ragged).map(lambda ids: masking(ids, SEED))
    for found in (traced(ragged, SEED), next(iter(dataset))):
        for part, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part.flat_values, wanted)
    for other in ([3, 5], [4, 4]):
        assert (masked(rows, tf.constant(other)).labels.flat_values.numpy() != expected[1]).any()


@pytest.mark.parametrize("rows", [[], [[]], [[], [START, END], []], [[START, 5, END], [], [PAD]]], ids=str)
def test_rows_with_nothing_in_them(rows: list[list[int]]) -> None:
    ids, labels = masked(rows, mask_share=1.0, random_share=0.0)
    assert ids.to_list() == [[MASK if token == 5 else token for token in row] for row in rows]
    positions, originals = masked_positions(labels)
    assert positions.shape == originals.shape == (len(rows), 1)


def test_positions_and_labels_are_gathered() -> None:
    labels = tf.ragged.constant([[-1, 7, -1, 9], [], [-1], [8]], dtype=tf.int32)
    for width in (None, 2, tf.constant(2)):
        positions, originals = masked_positions(labels, width)
        assert positions.numpy().tolist() == [[1, 3], [-1, -1], [-1, -1], [0, -1]]
        assert originals.numpy().tolist() == [[7, 9], [-1, -1], [-1, -1], [8, -1]]
    assert [part.numpy().tolist() for part in masked_positions(labels, 1)] == [
        [[1], [-1], [-1], [0]],
        [[7], [-1], [-1], [8]],
    ]
    traced = tf.function(lambda ragged: masked_positions(ragged, 3)).get_concrete_function(
        tf.RaggedTensorSpec([None, None], tf.int32)
    )
    assert [part.shape.as_list() for part in traced.structured_outputs] == [[None, 3]] * 2


def test_a_row_has_places_enough_for_its_share() -> None:
    rows = random_rows(300, 40, pieces=0.0)
    most = TokenMaskingOptions(share=0.2).wanted(42)
    positions, _ = masked_positions(masked(rows, share=0.2).labels, most)
    assert (positions.numpy() >= 0).sum() == (masked(rows, share=0.2).labels.flat_values.numpy() >= 0).sum()
    assert TokenMaskingOptions().wanted(0) == 0


@pytest.mark.parametrize(
    "options", [{"share": 0.0}, {"share": 1.5}, {"mask_share": -0.1}, {"mask_share": 0.9, "random_share": 0.2}], ids=str
)
def test_impossible_shares_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="share"):
        TokenMaskingOptions(**options)


def words_in(name: str, text: str) -> list[str]:
    """The words of a text as the table has them."""
    layer = of(name).layer
    continues = continuation_table(layer)
    words: list[str] = []
    for number in of(name).graph(tf.constant([text])).to_list()[0]:
        token = layer.id_to_token(int(number))
        if continues[number] and words:
            words[-1] += token
        else:
            words.append(token)
    return words


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("uncased", "the café is 文中", ["the", "cafe", "i##s", "文", "中"]),
        ("roberta", "the film, 文中 over", ["the", "Ġfilm,", "Ġ", "æĸĩ", "ä¸Ń", "Ġover"]),  # noqa: RUF001  bytes of a character
        ("deberta_v3", "the film, over", ["▁the", "▁film,", "▁over"]),
        ("xlm_roberta", "the film, over", ["▁the", "▁film,", "▁over"]),
    ],
)
def test_words_of_each_family(name: str, text: str, expected: list[str]) -> None:
    assert words_in(name, text) == expected


def test_pieces_of_scripts_without_spaces_stand_alone() -> None:
    layer = of("deberta_v3").layer
    continues = continuation_table(layer)
    tokens = layer.get_vocabulary()
    han = [number for number, token in enumerate(tokens) if "\u4e00" <= token[0] <= "\u9fff"]
    assert han
    assert not continues[han].any()


@pytest.mark.parametrize("name", ["uncased", "roberta", "xlm_roberta", "deberta_v3"])
def test_special_tokens_are_not_ordinary(name: str) -> None:
    layer = of(name).layer
    found = masking_vocabulary(layer)
    numbers = {layer.token_to_id(token): token for token in layer.get_vocabulary()}
    assert len(found.ordinary) == len(numbers) == layer.vocabulary_size()
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "<pad>", "</s>", "<unk>", "<mask>"}
    assert {token for number, token in numbers.items() if not found.ordinary[number]} == special & set(numbers.values())
    assert numbers[found.mask_id] in {"[MASK]", "<mask>"}
    assert not found.continues[~found.ordinary].any()


def test_tokenizers_without_masks_and_unknown_ones_are_refused() -> None:
    with pytest.raises(PresetError, match="GPT2Tokenizer has no mask token"):
        masking_vocabulary(
            keras_hub.models.GPT2Tokenizer(vocabulary={"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}, merges=["a b"])
        )

    class Bytes(keras_hub.tokenizers.ByteTokenizer):
        mask_token_id = 1

        def get_vocabulary(self) -> list[str]:
            return ["a", "b"]

    with pytest.raises(PresetError, match="Bytes is no WordPiece"):
        masking_vocabulary(Bytes())
    with pytest.raises(PresetError, match="has no vocabulary"):
        continuation_table(object())
    only = keras_hub.models.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    with pytest.raises(PresetError, match="nothing but special"):
        masking_vocabulary(only)


def test_encoded_texts_are_masked(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    ids, _ = backbone.encoder(24).encode(tf.constant(["the films was dull", "", "zzz"]))
    found = TokenMasking(masking_vocabulary(backbone.tokenizer), TokenMaskingOptions(share=1.0))(ids, SEED)
    assert found.labels.to_list()[0] == [-1, *ids.to_list()[0][1:-1], -1]
    assert found.labels.to_list()[1:] == [[-1, -1], [-1, -1, -1]]
