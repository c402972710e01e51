"""Hidden tokens of training batches and of figures: what is hidden comes back, however a batch is cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfft.backbones.keras_hub import load_text_backbone
from tfft.console import Console
from tfft.core.errors import PresetError
from tfft.data.masked_texts import whole_texts
from tfft.data.order import EpochOrder
from tfft.data.pipeline import drawn_dataset
from tfft.data.sharing import Sharing
from tfft.encoding.base import EncodedRows
from tfft.encoding.masked_texts import MaskedTextEncoding
from tfft.layers.token_masking import TokenMasking
from tfft.tasks.base import unlabelled

WORDS = ["the", "a", "film", "plot", "cast", "music", "ending", "script", "was", "is", "wonderful", "moving", "funny"]
TEXTS = [" ".join(WORDS[(row * 7 + place) % 13] for place in range(row % 19)) for row in range(41)]


@pytest.fixture(scope="module")
def encoding(tiny_preset: str) -> MaskedTextEncoding:
    return MaskedTextEncoding(load_text_backbone(tiny_preset), sequence_length=16, seed=3)


def rows_of(encoding: MaskedTextEncoding) -> EncodedRows:
    return encoding.encode(whole_texts(unlabelled(TEXTS)), Console(quiet=True), what="texts")


@pytest.fixture(scope="module")
def rows(encoding: MaskedTextEncoding) -> EncodedRows:
    return rows_of(encoding)


def test_what_is_hidden_for_figures_is_what_stood_there(rows: EncodedRows) -> None:
    tokens, labels = rows.context.targets.tokens, rows.context.targets.labels
    assert rows.items is not None
    assert rows.items.tolist() == [len(row) for row in labels]
    counts = [len(row) - 2 for row in tokens]
    assert rows.items.tolist() == [max(1, round(0.15 * count)) if count else 0 for count in counts]
    chosen = [40, 0, 7, 18]
    found = {name: value.numpy() for name, value in rows.gather(tf.constant(chosen, tf.int64), tf.constant(16)).items()}
    for place, row in enumerate(chosen):
        positions = found["masked_positions"][place]
        kept = positions >= 0
        own = tokens.row(row)
        assert found["masked_labels"][place][kept].tolist() == own[positions[kept]].tolist()
        assert (found["masked_labels"][place][~kept] == -1).all()
        changed = np.flatnonzero(found["token_ids"][place][: len(own)] != own)
        assert set(changed) <= set(positions[kept].tolist())


@pytest.mark.slow
def test_the_same_seed_hides_the_same_for_figures_and_another_other_tokens(rows: EncodedRows, tiny_preset: str) -> None:
    def shown(found: EncodedRows) -> list[Any]:
        every = tf.range(len(TEXTS), dtype=tf.int64)
        return found.gather(every, tf.constant(16))["masked_positions"].numpy().tolist()

    same, other = (
        MaskedTextEncoding(load_text_backbone(tiny_preset), sequence_length=16, seed=seed) for seed in (3, 4)
    )
    assert shown(rows) == shown(rows_of(same))
    assert shown(rows) != shown(rows_of(other))


def batches(
    encoding: MaskedTextEncoding, rows: EncodedRows, sharing: Sharing, start: tuple[int, int] = (0, 0)
) -> list[Any]:
    assert rows.cache is not None
    order = EpochOrder(rows.lengths, (8, 16), 10, 5, batching="bucketed")
    weights = np.arange(len(TEXTS), dtype=np.float32)
    found = drawn_dataset(encoding.batch_draw(rows.cache), weights, order, epochs=2, start=start, sharing=sharing)
    return list(found.as_numpy_iterator())


@pytest.fixture(scope="module")
def whole(encoding: MaskedTextEncoding, rows: EncodedRows) -> list[Any]:
    """All batches of two epochs, of one replica."""
    return batches(encoding, rows, Sharing(10))


def test_training_batches_hide_tokens_anew_and_say_what_they_were(rows: EncodedRows, whole: list[Any]) -> None:
    assert rows.cache is not None
    order = EpochOrder(rows.lengths, (8, 16), 10, 5, batching="bucketed")
    planned = [item for epoch in (0, 1) for item in order.batches(epoch)]
    seen: list[set[tuple[int, ...]]] = [set(), set()]
    for number, ((inputs, targets, weights, units), (batch, _)) in enumerate(zip(whole, planned, strict=True)):
        assert targets.shape[1] == max(1, round(0.15 * batch.width)), "one shape for each width"
        assert units == max((targets >= 0).sum(), 1)
        assert weights.tolist() == batch.rows.tolist()
        for row, ids, positions, labels in zip(
            batch.rows, inputs["token_ids"], inputs["masked_positions"], targets, strict=True
        ):
            own = rows.context.targets.tokens.row(row)
            kept = positions >= 0
            assert labels[kept].tolist() == own[positions[kept]].tolist()
            assert kept.sum() == (0 if len(own) == 2 else max(1, round(0.15 * (len(own) - 2))))
            assert set(np.flatnonzero(ids[: len(own)] != own)) <= set(positions[kept].tolist())
            seen[number * 2 // len(whole)].add((int(row), *positions.tolist()))
    assert len(seen[0] & seen[1]) < len(TEXTS) // 2, "the second epoch hides others"


def test_any_cut_of_a_batch_has_the_same_masks(
    encoding: MaskedTextEncoding, rows: EncodedRows, whole: list[Any]
) -> None:
    for first in range(2):
        sharing = Sharing(10, replicas=2, first=first, local=1, micro_batch_size=2)
        for part, (inputs, targets, weights, units) in zip(batches(encoding, rows, sharing), whole, strict=True):
            own, present = sharing.deal(np.arange(len(weights)))
            assert part[3] == units, "each replica divides by the tokens of the whole batch"
            np.testing.assert_array_equal(part[1], targets[own])
            np.testing.assert_array_equal(part[0]["token_ids"], inputs["token_ids"][own])
            np.testing.assert_array_equal(part[2], weights[own] * present)


def test_a_resumed_run_goes_on_with_the_same_masks(
    encoding: MaskedTextEncoding, rows: EncodedRows, whole: list[Any]
) -> None:
    rest = batches(encoding, rows, Sharing(10), start=(1, 2))
    for one, other in zip(whole[-len(rest) :], rest, strict=True):
        np.testing.assert_array_equal(one[0]["token_ids"], other[0]["token_ids"])
        np.testing.assert_array_equal(one[1], other[1])


def test_a_request_gives_the_features_of_predict(encoding: MaskedTextEncoding) -> None:
    texts = ["the [MASK] was <mask>", "[MASK]", "film", "", "the " * 30 + "[MASK]"]
    rows = encoding.encode(unlabelled(texts), Console(quiet=True), what="texts")
    assert rows.items is not None
    assert rows.items.tolist() == [2, 1, 0, 0, 0]
    assert rows.truncated.tolist() == [4]
    width = tf.constant(int(rows.lengths.max()))
    expected = rows.gather(tf.range(len(texts), dtype=tf.int64), width)
    served = encoding.serve({"text": tf.constant(texts)})
    assert set(served.features) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(served.features[name], value)
    assert served.context.masks.numpy().tolist() == [2, 1, 0, 0, 0]


def test_causal_backbones_and_such_without_a_mask_are_refused(tiny_preset: str) -> None:
    backbone = load_text_backbone(tiny_preset)
    with pytest.raises(PresetError, match="causal"):
        MaskedTextEncoding(dataclasses.replace(backbone, causal=True), sequence_length=None, seed=0)

    class Maskless:
        def __getattr__(self, name: str) -> Any:
            if name == "mask_token_id":
                raise AttributeError
            return getattr(backbone.tokenizer, name)

    with pytest.raises(PresetError, match="no mask token"):
        MaskedTextEncoding(dataclasses.replace(backbone, tokenizer=Maskless()), sequence_length=None, seed=0)


def test_masks_are_those_of_the_layer_with_the_seed_of_the_batch(
    encoding: MaskedTextEncoding, rows: EncodedRows
) -> None:
    assert rows.cache is not None
    every = tf.constant([12, 18, 3], tf.int64)
    inputs, _, _ = encoding.batch_draw(rows.cache)(every, tf.range(3), tf.constant(16), tf.constant([1, 2]))
    expected = TokenMasking(encoding._vocabulary)(rows.cache.gather(every), tf.constant([1, 2]))
    np.testing.assert_array_equal(inputs["token_ids"], expected.ids.to_tensor(0, shape=[3, 16]))
