"""The recurrent backbone: the formula in NumPy, padding that changes nothing, files that bring back the same bits."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.recurrent import (
    RecurrentBackbone,
    RecurrentOptions,
    is_recurrent,
    load_recurrent,
    recurrent_backbone,
    save_recurrent,
)
from tfft.core.errors import ArtifactError, ConfigError
from tfft.layers.recompute import recompute

WORDS = ["Main", "St.", "12", "Elm", "Ave"] * 2
SMALL = RecurrentOptions(embedding_dim=5, shape_dim=3, ngram_dim=4, hidden_dim=8, layers=2, dropout=0.25)
CHARACTERS = dataclasses.replace(SMALL, unit="character", bigram_dim=4)
#: Rows of known words, of others, and of nothing.
ROWS = [["12", "Main", "St."], ["7", "Oakwood", "Lane", "Elm", "Ave"], []]


@pytest.fixture(scope="module")
def small() -> RecurrentBackbone:
    return recurrent_backbone(WORDS, SMALL, seed=3)


def rows_of(backbone: RecurrentBackbone, rows: list[list[str]], width: int, filler: int = 0) -> dict[str, np.ndarray]:
    ids, mask = np.full((len(rows), width), filler, np.int32), np.zeros((len(rows), width), np.int32)
    for place, row in enumerate(rows):
        tokens = [2, *backbone.tokenizer(tf.constant(row, tf.string)).flat_values.numpy(), 3]
        ids[place, : len(tokens)], mask[place, : len(tokens)] = tokens, 1
    return {"token_ids": ids, "padding_mask": mask}


def features_of(backbone: RecurrentBackbone, features: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(backbone.features(features, frozen=True))


def lstm(values: np.ndarray, cell: Any) -> np.ndarray:
    """Hochreiter and Schmidhuber's cell with a forget gate; Keras has the gates in the order i, f, c, o."""
    kernel, recurrent, bias = (np.asarray(weight, np.float64) for weight in cell.weights)
    state = memory = np.zeros(len(recurrent))
    found = []
    for value in values:
        i, f, c, o = np.split(value @ kernel + state @ recurrent + bias, 4)
        gate_i, gate_f, gate_o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        memory = gate_f * memory + gate_i * np.tanh(c)
        state = gate_o * np.tanh(memory)
        found.append(state)
    return np.array(found)


@pytest.mark.parametrize("options", [SMALL, CHARACTERS], ids=["words", "characters"])
def test_features_are_those_of_the_formula(options: RecurrentOptions) -> None:
    small, rows = recurrent_backbone(WORDS, options, seed=3), ROWS
    if options.unit == "character":
        rows = [list("Main"), list("12 é"), []]
    inputs = rows_of(small, rows, 9)
    ngrams = small.model.get_layer("ngrams")
    ngrams.table.assign(np.random.default_rng(0).normal(size=ngrams.table.shape))
    features = features_of(small, inputs)
    assert features.shape == (3, 9, SMALL.hidden_dim + SMALL.ngram_dim)
    assert small.hidden_dim == features.shape[-1]
    for row, length in enumerate(inputs["padding_mask"].sum(axis=1)):
        numbers = small.tokenizer.token_features()(inputs["token_ids"][row, :length])._asdict()
        if options.unit == "character":
            padded = [0, *numbers["token"].numpy().tolist(), 0]
            pairs = [(one * 1_000_003 + other) % 100_003 for one, other in itertools.pairwise(padded)]
            numbers = {"token": numbers["token"], "shape": numbers["shape"], "bigram": pairs[:-1], "next": pairs[1:]}
        tables = [
            small.model.get_layer(f"{'bigram' if name == 'next' else name}_embedding").embeddings for name in numbers
        ]
        found = zip(tables, numbers.values(), strict=True)
        values = np.concatenate([np.asarray(table)[np.asarray(places)] for table, places in found], axis=-1)
        for block in small.blocks:
            backward = lstm(values[::-1], block.backward_layer.cell)[::-1]
            values = np.concatenate([lstm(values, block.forward_layer.cell), backward], axis=-1)
        columns = [numbers["token"], numbers["shape"]]
        if options.unit == "word":
            columns += [numbers["prefix"], numbers["suffix"]]
        wide = ngrams([np.asarray(column)[np.newaxis] for column in columns], np.ones((1, length), np.int32))[0]
        np.testing.assert_allclose(features[row, :length], np.concatenate([values, wide], axis=-1), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [SMALL, CHARACTERS], ids=["words", "characters"])
def test_padding_changes_nothing(options: RecurrentOptions, training: bool) -> None:
    if training:  # dropout draws other numbers for other widths
        options = dataclasses.replace(options, dropout=0.0, word_dropout=0.0, ngram_dropout=0.0)
    small, rows = recurrent_backbone(WORDS, options, seed=3), ROWS
    if options.unit == "character":
        rows = [list("".join(row)[:5]) for row in ROWS]
    alone, padded = rows_of(small, rows[1:2], 7), rows_of(small, rows, 12, filler=70)
    one = np.asarray(small.model(alone, training=training))
    np.testing.assert_allclose(np.asarray(small.model(padded, training=training))[1:2, :7], one, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_words_are_taken_for_unknown_ones_in_training(training: bool) -> None:
    backbone = recurrent_backbone(WORDS, dataclasses.replace(SMALL, dropout=0.0, word_dropout=1 - 1e-9), seed=3)
    inputs = rows_of(backbone, ROWS, 7)
    found = np.asarray(backbone.model(inputs, training=training))
    table = backbone.model.get_layer("token_embedding").embeddings
    table.assign(np.repeat(np.asarray(table)[1:2], table.shape[0], axis=0))
    alike = np.asarray(backbone.model(inputs, training=False))
    assert np.allclose(found, alike, atol=1e-6) == training


def test_words_that_training_lacks_are_not_all_alike(small: RecurrentBackbone) -> None:
    rows = [["7"], ["8"], ["Oak"], ["Oat"], ["oak"]]
    found = features_of(small, rows_of(small, rows, 3))[:, 1]
    assert len({row.tobytes() for row in found}) == len(rows)


def test_the_seed_decides_all_weights_and_no_two_directions_are_alike(small: RecurrentBackbone) -> None:
    keras.utils.set_random_seed(99)
    same, other = (recurrent_backbone(WORDS[::-1], SMALL, seed=seed).model.get_weights() for seed in (3, 4))
    for ours, theirs, others in zip(small.model.get_weights(), same, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert not np.array_equal(ours, others) or np.unique(ours).size <= 2  # biases
    directions = [layer for block in small.blocks for layer in (block.forward_layer, block.backward_layer)]
    assert len({np.asarray(layer.cell.recurrent_kernel).tobytes() for layer in directions}) == 4


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_of_the_lstm_are_the_blocks(layers: int) -> None:
    backbone = recurrent_backbone(WORDS, dataclasses.replace(SMALL, layers=layers), seed=0)
    assert [type(block) for block in backbone.blocks] == [keras.layers.Bidirectional] * layers
    depths = {variable.path: backbone.depth(variable) for variable in backbone.model.trainable_variables}
    for path, depth in depths.items():
        number = layers - 1 if path.startswith("ngrams") else path.split("/")[0].rpartition("_")[2]
        assert depth == (0 if "embedding" in path else int(number) + 1)
    assert {*depths.values()} == {*range(layers + 1)}


def test_recomputed_blocks_have_the_same_gradients(small: RecurrentBackbone) -> None:
    inputs = {name: tf.constant(value) for name, value in rows_of(small, ROWS, 9).items()}
    states = {variable.path: np.asarray(variable) for variable in small.model.non_trainable_variables}

    def gradients() -> Any:
        variables = [variable.value for variable in small.model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(small.model(inputs, training=True) ** 2)
        return list(map(tf.convert_to_tensor, tape.gradient(loss, variables)))

    wanted = gradients()
    for variable in small.model.non_trainable_variables:
        variable.assign(states[variable.path])
    with recompute(small.blocks):
        found = tf.function(gradients)()
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_rule_of_endings_is_learned_for_words_never_seen() -> None:
    random = np.random.default_rng(0)

    def drawn(count: int) -> list[str]:
        letters = random.choice(list("abcdefgh"), (count, 5))
        endings = random.choice(["ing", "ton"], count)
        return ["".join(row) + ending for row, ending in zip(letters, endings, strict=True)]

    train, test = drawn(480), drawn(160)
    options = RecurrentOptions(embedding_dim=8, shape_dim=8, hidden_dim=16, dropout=0.2)
    backbone = recurrent_backbone(train, options, seed=0)
    inputs = backbone.inputs()
    outputs = keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(seed=0))(
        backbone.features(inputs, frozen=False)
    )
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def arrays(words: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        ids = np.asarray(backbone.tokenizer(tf.constant(words)).flat_values).reshape(-1, 8)
        labels = np.array([word.endswith("ing") for word in words], np.int32).reshape(-1, 8)
        return {"token_ids": ids, "padding_mask": np.ones_like(ids)}, labels

    model.fit(*arrays(train), batch_size=10, epochs=10, shuffle=False, verbose=0)
    features, labels = arrays(test)
    assert (np.asarray(model(features)).argmax(-1) == labels).mean() == 1.0


@pytest.mark.parametrize("unit", ["word", "character"])
def test_files_bring_back_the_same_bits(unit: Any, tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, unit=unit, lowercase=True, normalize_digits=True, dropout=0.5)
    backbone = recurrent_backbone([*WORDS, "東京", "東京"], options, seed=5)
    assert not is_recurrent(tmp_path / "preset")
    save_recurrent(backbone, tmp_path / "preset")
    assert is_recurrent(tmp_path / "preset")
    assert sorted(file.name for file in (tmp_path / "preset").iterdir()) == ["model.weights.h5", "recurrent.json"]
    keras.utils.set_random_seed(8)
    loaded = load_recurrent(tmp_path / "preset")
    assert loaded.options == options
    rows = [*ROWS, ["東京", "OAK", "19"]]
    wanted, found = (features_of(model, rows_of(model, rows, 20)) for model in (backbone, loaded))
    np.testing.assert_array_equal(found, wanted)
    for ours, theirs in zip(loaded.model.get_weights(), backbone.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_quantized_backbone_comes_back(small: RecurrentBackbone, tmp_path: Path) -> None:
    def quantize(model: keras.Model) -> None:
        model.quantize("int8", filters=lambda layer: isinstance(layer, keras.layers.Embedding))

    backbone = recurrent_backbone(WORDS, SMALL, seed=3)
    quantize(backbone.model)
    save_recurrent(backbone, tmp_path)
    inputs = rows_of(small, ROWS, 7)
    found = features_of(load_recurrent(tmp_path, quantize=quantize), inputs)
    np.testing.assert_array_equal(found, features_of(backbone, inputs))
    assert not np.array_equal(found, features_of(small, inputs))


def set_in_json(**values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "recurrent.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "model.weights.h5").unlink(), "no whole 'bilstm' backbone"),
        (lambda folder: (folder / "recurrent.json").write_text("{", "utf-8"), "no whole 'bilstm' backbone"),
        (set_in_json(format="something else"), "is a 'something else'; this version reads"),
        (set_in_json(options={"width": 3}), "width"),
        (set_in_json(options={"hidden_dim": 3}), "hidden_dim is 3; it must be even"),
        (set_in_json(vocabulary=["a"]), "no whole 'bilstm' backbone"),
    ],
    ids=["no_weights", "no_json", "format", "unknown_option", "odd", "vocabulary"],
)
def test_altered_files_are_refused(
    small: RecurrentBackbone, change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    save_recurrent(small, tmp_path)
    change(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        load_recurrent(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 5}, "hidden_dim is 5; it must be even"),
        ({"bigram_dim": -1}, "bigram_dim is -1; it must be at least 0"),
        ({"layers": 0}, "layers is 0; it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be from 0 to below 1"),
        ({"unit": "words"}, "unit is 'words'; it must be 'word' or 'character'"),
    ],
    ids=["odd", "bigram_dim", "layers", "dropout", "unit"],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecurrentOptions(**options)
