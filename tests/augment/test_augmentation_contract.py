"""What every augmentation promises: run over the registry, so that a new file is tested by being there."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf

from tfft.augment._words import join_text, text_batch
from tfft.augment.base import ArrayBatch, Augmentation, AugmentationContext, Modality, TokenBatch, augmentations
from tfft.augment.compose import Augmenter, augmentation_name, parse
from tfft.console import Console
from tfft.core.errors import ConfigError

NAMES = augmentations.names()
ROWS = 400
SEED = tf.constant([11, 12])
#: Options without which an augmentation has nothing to do.
NEEDED: dict[str, dict[str, Any]] = {
    "back_translation": {"translator": lambda texts: [text[::-1] for text in texts]},
    "paraphrase": {"function": lambda texts: [text.upper() for text in texts]},
    "synonym_replacement": {"thesaurus": {"film": ["movie", "picture"], "a": ["one"]}},
}
FORBIDDEN_OPS = {"PyFunc", "EagerPyFunc", "PyFuncStateless", "NumpyFunc"}

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "plot", "dull", "fine", "was"]
TEXTS = [f"a film {row} was  dull or fine, said plot {'我爱你' if row % 3 else 'Ünïç'} \n" for row in range(ROWS)]


def tokenize(texts: tf.Tensor) -> tf.RaggedTensor:
    """Numbers of the words that are in the vocabulary."""
    words = tf.strings.split(tf.strings.lower(texts))
    places = tf.argmax(words.flat_values[:, None] == tf.constant(VOCABULARY)[None], axis=1, output_type=tf.int32)
    return words.with_flat_values(tf.maximum(places, 1))


def masked_lm() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    liking = np.random.default_rng(2).normal(size=len(VOCABULARY)).astype("float32")
    return lambda ids, mask: np.broadcast_to(liking, (*ids.shape, len(VOCABULARY)))


CONTEXT = AugmentationContext(
    texts=TEXTS,
    console=Console(quiet=True),
    seed=1,
    vocabulary=VOCABULARY,
    special_ids=frozenset(range(5)),
    mask_id=4,
    token_embeddings=lambda: np.random.default_rng(1).normal(size=(len(VOCABULARY), 8)).astype("float32"),
    masked_lm=masked_lm,
    tokenize=tokenize,
    start_ids=(2,),
    end_ids=(3,),
)


def make(name: str, probability: float = 1.0) -> Augmentation:
    (made,) = parse({name: {"probability": probability, **NEEDED.get(name, {})}})
    return made


def images(dtype: str) -> np.ndarray:
    """Soft blobs of colour, each row its own, so that every change of colour or place shows."""
    y, x = np.mgrid[:20, :24]
    rows = np.arange(ROWS)[:, None, None, None]
    waves = np.stack([y * 7.0 + x * 3, x * 9.0 + 20, y * 4.0 + x * x / 8], axis=-1)
    return ((waves[None] + 3.1 * rows) % 255).astype(dtype)


def batches(modality: Modality) -> Iterator[Any]:
    """A batch of each dtype of a modality."""
    random = np.random.default_rng(4)
    places = tf.range(ROWS, dtype=tf.int64)
    targets = tf.one_hot(np.arange(ROWS) % 5, 5)
    lengths = tf.constant(random.integers(200, 401, ROWS), tf.int32)
    if modality == "text":
        yield text_batch(tf.constant([text.encode() for text in TEXTS]), None, places)
    elif modality == "tokens":
        rows = [[2, *random.integers(5, 10, random.integers(2, 20)).tolist(), 3] for _ in range(ROWS)]
        yield TokenBatch(tf.ragged.constant(rows, tf.int32, ragged_rank=1), places)
    elif modality == "image":
        yield ArrayBatch(tf.constant(images("uint8")), targets, None)
        yield ArrayBatch(tf.constant(images("float32")), targets, None)
    elif modality == "audio":
        time = np.arange(400) / 16_000
        sines = [0.3 * np.sin(2 * np.pi * (300 + 5 * row) * time + row) for row in range(ROWS)]
        values = np.where(np.arange(400) < lengths.numpy()[:, None], sines, 0).astype("float32")
        yield ArrayBatch(tf.constant(values), targets, lengths)
        yield ArrayBatch(tf.constant(np.stack(sines).astype("float32")), None, None)
    else:
        yield ArrayBatch(tf.constant(random.normal(size=(ROWS, 400, 30)).astype("float32")), targets, lengths)


def rows_of(batch: Any) -> list[Any]:
    """What each row is, to the byte: its text, its ids, or its values with its targets."""
    if isinstance(batch, TokenBatch):
        return batch.ids.to_list()
    if not isinstance(batch, ArrayBatch):
        return join_text(batch.lead, batch.words, batch.gaps).numpy().tolist()
    targets = np.zeros((ROWS, 0)) if batch.targets is None else batch.targets.numpy()
    return [value.tobytes() + target.tobytes() for value, target in zip(batch.values.numpy(), targets, strict=True)]


def first_rows(batch: Any, size: int) -> Any:
    return type(batch)(*(None if part is None else part[:size] for part in batch))


@functools.cache
def compiled(name: str, probability: float) -> Any:
    return tf.function(make(name, probability).prepare(CONTEXT))


def run(name: str, probability: float = 1.0, seed: tf.Tensor = SEED) -> Iterator[Any]:
    """Yields each batch, what became of it, and which rows are said to be changed."""
    for batch in batches(augmentations.get(name).modality):
        after, changed = compiled(name, probability)(batch, seed)
        yield batch, after, changed.numpy()


def test_there_are_augmentations_of_each_modality() -> None:
    assert {augmentations.get(name).modality for name in NAMES} == set(get_args(Modality))
    assert "compose" not in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_frozen_dataclass_whose_options_are_explained(name: str) -> None:
    cls: Any = augmentations.get(name)
    assert cls.__module__ == f"tfft.augment.{name}"
    assert augmentation_name(cls) == name
    assert inspect.getdoc(cls)
    assert isinstance(cls.keeps_tags, bool)
    made = cls(**NEEDED.get(name, {}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.probability = 0.5
    for field in dataclasses.fields(cls):
        assert field.metadata.get("help", "").endswith("."), f"{field.name} has no help text"
        assert field.default is not dataclasses.MISSING, f"{field.name} has no default"
    assert 0 < made.probability <= 1


@pytest.mark.parametrize("name", NAMES)
def test_options_are_checked_with_their_names(name: str) -> None:
    with pytest.raises(ConfigError, match=f"Unknown option of {name} 'probabilty'. Did you mean 'probability'"):
        parse({name: {"probabilty": 0.5}})
    for wrong in (0.0, 1.01, "0.5"):
        with pytest.raises(ConfigError, match=f"option probability of {name}"):
            parse({name: {"probability": wrong}})
    assert parse([make(name)]) == (make(name),)


@pytest.mark.parametrize("name", NAMES)
def test_with_probability_one_rows_change_and_exactly_these_are_said(name: str) -> None:
    for before, after, changed in run(name):
        differs = [one != other for one, other in zip(rows_of(before), rows_of(after), strict=True)]
        assert changed.dtype == bool
        assert changed.tolist() == differs
        assert changed.mean() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_the_batch_keeps_its_form(name: str) -> None:
    for before, after, _ in run(name):
        assert type(after) is type(before)
        if isinstance(before, TokenBatch):
            assert after.ids.dtype == tf.int32
            assert after.ids.nrows() == ROWS
            assert after.rows.numpy().tolist() == before.rows.numpy().tolist()
        elif isinstance(before, ArrayBatch):
            assert after.values.dtype == before.values.dtype
            assert after.values.shape == before.values.shape
            assert np.isfinite(after.values.numpy().astype("float64")).all()
            assert (after.lengths is None) == (before.lengths is None)
            assert before.lengths is None or (after.lengths.numpy() <= before.lengths.numpy()).all()
            if before.targets is not None:
                assert after.targets.dtype == tf.float32
                assert after.targets.shape == before.targets.shape
                np.testing.assert_allclose(after.targets.numpy().sum(1), 1.0, atol=1e-5)
        else:
            assert after.words.row_lengths().numpy().tolist() == after.gaps.row_lengths().numpy().tolist()
            assert after.words.row_lengths().numpy().min() > 0
            assert after.tags is None
            assert after.rows.numpy().tolist() == before.rows.numpy().tolist()
            for row in rows_of(after):
                row.decode()


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything(name: str) -> None:
    runs = run(name, 0.3), run(name, 0.3), run(name, 0.3, tf.constant([11, 13]))
    for (_, one, _), (_, same, _), (_, other, _) in zip(*runs, strict=True):
        assert rows_of(one) == rows_of(same)
        assert rows_of(one) != rows_of(other)


@pytest.mark.parametrize("name", NAMES)
def test_so_many_rows_change_as_the_probability_says(name: str) -> None:
    certain = [changed.mean() for _, _, changed in run(name)]
    for share, (before, after, changed) in zip(certain, run(name, 0.3), strict=True):
        assert abs(changed.mean() - 0.3 * share) < 5 * np.sqrt(0.3 * 0.7 / ROWS)
        same = [one == other for one, other in zip(rows_of(before), rows_of(after), strict=True)]
        assert same == (~changed).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_a_pipeline_without_python_and_without_state(name: str) -> None:
    transform = compiled(name, 0.3)
    batch = next(batches(augmentations.get(name).modality))
    dataset = tf.data.Dataset.from_tensors(SEED).repeat(2).map(lambda seed: transform(batch, seed))
    (first, _), (second, _) = dataset
    assert rows_of(first) == rows_of(second)
    graph = transform.get_concrete_function(batch, SEED).graph
    operations = {operation.type for operation in graph.get_operations()}
    operations |= {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    assert not operations & FORBIDDEN_OPS
    assert not {operation for operation in operations if operation.startswith(("Random", "Rng"))}


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_and_a_batch_of_one_pass(name: str) -> None:
    made = make(name)
    transform = made.prepare(CONTEXT)
    for whole in batches(made.modality):
        for size in (0, 1):
            after, changed = transform(first_rows(whole, size), SEED)
            assert changed.shape == [size]
            first = (
                after.ids
                if isinstance(after, TokenBatch)
                else after.values
                if isinstance(after, ArrayBatch)
                else after.words
            )
            assert (first.nrows() if isinstance(first, tf.RaggedTensor) else first.shape[0]) == size


@pytest.mark.parametrize("name", NAMES)
def test_tags_are_kept_for_every_word_or_the_augmentation_is_refused(name: str) -> None:
    made = make(name)
    words = [text.split() for text in TEXTS]
    tags = [[int(word == "film") for word in row] for row in words]
    tagged = dataclasses.replace(
        CONTEXT, tagged=True, outside_tag=0, inside_tags=frozenset({2}), words=words, tags=tags, memo={}
    )
    if not made.keeps_tags:
        with pytest.raises(ConfigError, match=f"{name} cannot keep the tag of each word"):
            Augmenter([made], tagged, 0)
        return
    augmenter = Augmenter([made], tagged, 0)
    if made.modality != "text":
        return
    after, after_tags = augmenter.text(
        tf.ragged.constant(words, tf.string, ragged_rank=1),
        tf.ragged.constant(tags, tf.int64, ragged_rank=1),
        tf.range(ROWS, dtype=tf.int64),
        SEED,
    )
    assert augmenter.fired()[name][0] > 0.8 * ROWS
    assert after.row_lengths().numpy().tolist() == after_tags.row_lengths().numpy().tolist()
    # Each row had one word with the tag 1, and still has.
    assert all(row.count(1) == 1 for row in after_tags.to_list())


@pytest.mark.parametrize("name", NAMES)
def test_it_can_fire_on_rows_that_it_is_made_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf, "function", lambda python: python)  # once over a few rows: tracing would take longest
    made = make(name, 0.01)
    few = [first_rows(batch, 8) for batch in batches(made.modality)]
    Augmenter([made], CONTEXT, 0).check_can_fire({made.modality: few})
