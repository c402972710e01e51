"""Masked language modelling with next-sentence and sentence-order prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from broken_off import BreakOff
from scipy.special import log_softmax

import tfft
from tfft.config.pretraining import pretraining_config
from tfft.core.errors import ConfigError, DataError
from tfft.data.hidden_tokens import PAIRS, TOKENS
from tfft.tasks.masked_language_modeling import MaskedLanguageModeling

THINGS = ("film", "plot", "cast", "music", "ending", "script")
OPINIONS = ("wonderful", "moving", "funny", "brilliant", "charming", "dull", "awful", "boring", "weak", "silly")
#: So short that documents become several rows.
LENGTH = 14
FIGURES = {"loss", "perplexity", "accuracy", "pair_loss", "pair_accuracy"}


def document(number: int) -> str:
    """One, two or seven sentences, of which the first begins in another way: the order can be learnt."""
    chance = np.random.default_rng(number)
    first = f"the {chance.choice(THINGS)} was {chance.choice(OPINIONS)}"
    rest = [f"a {chance.choice(OPINIONS)} {chance.choice(THINGS)}" for _ in range((0, 1, 1, 1, 6)[number % 5])]
    return "\n".join([first, *rest])


DOCUMENTS = pd.DataFrame({"text": [document(number) for number in range(1200)]})
FEW = DOCUMENTS[:72]
OPTIONS: dict[str, Any] = {
    "task": "masked_language_modeling", "sentence_objective": "sentence_order", "sequence_length": LENGTH,
    "quiet": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> tfft.FineTunedModel:
    path = tmp_path_factory.mktemp("pairs") / "run"
    return tfft.fit(
        DOCUMENTS, preset=tiny_preset, epochs=5, learning_rate=0.01, output_dir=str(path), split="random",
        quality={"near_duplicates": "off"}, **OPTIONS,
    )  # fmt: skip


def encoded(model: tfft.FineTunedModel, data: pd.DataFrame) -> Any:
    return model._encoding.encode(model.read(data, labelled=True), model._console, what="texts")


def inputs_of(model: tfft.FineTunedModel, features: Any) -> dict[str, Any]:
    return {name: features[name] for name in model.keras_model.input}


def nats_and_hits(logits: Any, labels: Any) -> tuple[list[float], list[bool]]:
    """Cross-entropy in float64 and whether the likeliest is right, of each label that is there."""
    log_p, labels = log_softmax(np.asarray(logits, np.float64), axis=-1), np.asarray(labels)
    places = np.argwhere(labels >= 0)
    nats = [float(-log_p[(*place, labels[tuple(place)])]) for place in places]
    return nats, [bool(log_p[tuple(place)].argmax() == labels[tuple(place)]) for place in places]


def test_the_loss_of_a_batch_is_the_sum_of_both_means(trained: tfft.FineTunedModel) -> None:
    rows = encoded(trained, DOCUMENTS[:12])
    draw = trained._encoding.batch_draw(rows.cache)  # type: ignore[attr-defined]
    batch = tf.range(len(rows.lengths), dtype=tf.int64)
    features, targets, units = draw(batch, batch, tf.constant(LENGTH), tf.constant([1, 2]))
    outputs = trained.keras_model(inputs_of(trained, features))
    tokens, _ = nats_and_hits(outputs[TOKENS], targets[TOKENS][0])
    pairs, _ = nats_and_hits(outputs[PAIRS], targets[PAIRS][0])
    loss = trained.task.loss(trained.config, trained.learned)
    found = float(tf.reduce_sum(loss.call(targets, outputs))) / float(units)
    assert (len(tokens), len(pairs)) == (int(units), int(np.sum(rows.context.targets.orders.values >= 0)))
    assert 0 < len(pairs) < len(rows.lengths)
    assert found == pytest.approx(np.mean(tokens) + np.mean(pairs), rel=1e-5)


def test_figures_are_those_of_the_logits(trained: tfft.FineTunedModel) -> None:
    data = DOCUMENTS[20:32]
    rows = encoded(trained, data)
    assert rows.windows.max() > 1
    features = rows.gather(tf.range(len(rows.lengths), dtype=tf.int64), tf.constant(LENGTH))
    outputs = trained.keras_model(inputs_of(trained, features))
    tokens, right = nats_and_hits(outputs[TOKENS], features["masked_labels"])
    pairs, ordered = nats_and_hits(outputs[PAIRS], features["pair_labels"])
    found = trained.evaluate(data).metrics
    assert set(found.scalars()) == FIGURES
    assert found.scalars()["loss"] == pytest.approx(np.mean(tokens), abs=1e-5)
    assert found.scalars()["accuracy"] == pytest.approx(np.mean(right))
    assert found.scalars()["pair_loss"] == pytest.approx(np.mean(pairs), abs=1e-5)
    assert found.scalars()["pair_accuracy"] == pytest.approx(np.mean(ordered))
    assert found.to_dict()["pairs"] == len(pairs)


def test_the_report_has_figures_of_pairs_beside_their_baseline(trained: tfft.FineTunedModel) -> None:
    compared = {name: metrics.scalars() for name, metrics in trained.report.compared().items()}
    assert all(set(figures) == FIGURES for figures in compared.values())
    assert set(trained.task.figures_of(trained.config)) == FIGURES
    assert {f"val_{name}" for name in FIGURES} <= set(trained.history)
    assert trained.history["loss"][-1] < trained.history["loss"][0]
    known, after = compared["token and order frequencies"], compared["after fine-tuning"]
    assert known["pair_loss"] == pytest.approx(np.log(2), abs=0.1)
    assert after["pair_loss"] < 0.7 * known["pair_loss"]
    assert after["loss"] < known["loss"]
    assert "pair_accuracy" in str(trained.report)
    assert "Pairs of segments" in str(trained.report)


def test_masks_are_filled_in_as_without_pairs_and_a_saved_run_does_the_same(trained: tfft.FineTunedModel) -> None:
    texts = ["the [MASK] was dull", "a <mask> <mask>"]
    found = trained.predict(texts)
    assert [len(item.masks) for item in found] == [1, 2]
    rows = trained._encoding.encode(trained.task.from_inputs(texts), trained._console, what="texts")
    features = rows.gather(np.array([1]), int(rows.lengths[1]))
    log_p = log_softmax(np.asarray(trained.keras_model(inputs_of(trained, features))[TOKENS][0, 1], np.float64))
    vocabulary = trained._backbone.tokenizer.get_vocabulary()
    assert list(found[1].masks[1].tokens) == [vocabulary[number] for number in np.argsort(-log_p)[:5]]
    loaded = tfft.load(str(trained.config.output_dir), quiet=True)
    assert loaded.predict(texts) == found
    assert loaded.report.after == trained.report.after


@pytest.mark.slow
def test_an_export_is_verified_and_takes_one_text(trained: tfft.FineTunedModel, tmp_path: Path) -> None:
    version = trained.export(tmp_path / "model")
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    answers = signature(text=tf.constant(["the [MASK] was dull"]))
    assert set(answers) == {"tokens", "probabilities"}
    (expected,) = trained.predict(["the [MASK] was dull"])
    assert [token.decode() for token in answers["tokens"].numpy()[0, 0]] == list(expected.masks[0].tokens)


@pytest.mark.slow
def test_micro_batches_train_as_the_whole_batch_does(tiny_preset: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(13)
    still = keras_hub.models.Backbone.from_preset(tiny_preset, load_weights=False, num_layers=1, dropout=0.0)
    still.save_to_preset(str(tmp_path))
    keras_hub.models.Tokenizer.from_preset(tiny_preset).save_to_preset(str(tmp_path))
    options = {
        **OPTIONS, "preset": str(tmp_path), "epochs": 1, "batch_size": 10, "dropout": 0.0, "baselines": False,
        "learning_rate": 5e-3, "batching": "bucketed",
    }  # fmt: skip
    whole, cut = (tfft.fit(FEW, micro_batch_size=size, **options) for size in (None, 3))
    for one, other in zip(whole.keras_model.get_weights(), cut.keras_model.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    assert cut.history["loss"] == pytest.approx(whole.history["loss"], abs=1e-5)


@pytest.mark.slow
def test_a_broken_off_run_with_lora_and_buckets_resumes_to_the_same_bits(tiny_preset: str, tmp_path: Path) -> None:
    options = {
        **OPTIONS, "sentence_objective": "next_sentence", "preset": tiny_preset, "peft": "lora", "micro_batch_size": 4,
        "batch_size": 20, "epochs": 2, "batching": "bucketed", "checkpoint_steps": 3, "baselines": False,
    }  # fmt: skip
    whole = tfft.fit(FEW, output_dir=str(tmp_path / "whole"), **options)
    options["output_dir"] = str(tmp_path / "run")
    with pytest.raises(InterruptedError):
        tfft.fit(FEW, callbacks=[BreakOff(7)], **options)
    resumed = tfft.fit(FEW, resume=True, callbacks=[BreakOff(-1)], **options)
    for one, other in zip(whole.keras_model.get_weights(), resumed.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == whole.history

    texts = ["the [MASK] was dull", "a <mask> <mask>"]
    whole.save_adapter(tmp_path / "adapter")
    expected = whole.predict(texts)
    for model in (tfft.load_adapter(tmp_path / "adapter", quiet=True),
                  tfft.load_adapters({"one": tmp_path / "adapter"}, quiet=True)):  # fmt: skip
        found = model.predict(texts, **({} if isinstance(model, tfft.FineTunedModel) else {"adapter": "one"}))
        assert [[mask.tokens for mask in item.masks] for item in found] == [
            [mask.tokens for mask in item.masks] for item in expected
        ]


@pytest.mark.slow
def test_a_frozen_backbone_trains_both_heads(tiny_preset: str) -> None:
    model = tfft.fit(FEW, preset=tiny_preset, freeze="backbone", epochs=1, **OPTIONS)
    names = {variable.path for variable in model.keras_model.trainable_variables}
    assert len(names) == 5 + 4
    assert sum("pooler" in name for name in names) == 2


@pytest.mark.slow
def test_the_first_run_of_pretrain_on_takes_it(tiny_preset: str, opinions: pd.DataFrame, tmp_path: Path) -> None:
    options: dict[str, Any] = {"task": "text_classification", "preset": tiny_preset, "epochs": 1, "quiet": True}
    model = tfft.fit(
        opinions, pretrain_on=FEW, sentence_objective="next_sentence", output_dir=str(tmp_path / "run"), **options
    )
    assert model.config.sentence_objective == "next_sentence"
    first = tfft.load(tmp_path / "run.pretrained", quiet=True)
    assert "val_pair_loss" in first.history
    assert tfft.load(tmp_path / "run", quiet=True).predict(["the film"]) == model.predict(["the film"])


def test_it_is_refused_by_name_where_nothing_uses_it(opinions: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"sentence_objective has no effect .*or goes with pretrain_on"):
        tfft.fit(opinions, task="text_classification", sentence_objective="next_sentence", quiet=True)
    with pytest.raises(ConfigError, match="val_pair_loss"):
        tfft.fit(FEW, task="masked_language_modeling", monitor="val_pair_loss", quiet=True)
    config = tfft.FitConfig(task="text_classification", pretrain_on="a.txt", sentence_objective="sentence_order")
    assert pretraining_config(config, "run").sentence_objective == "sentence_order"


def test_texts_of_one_sentence_are_refused_with_the_split(tiny_preset: str) -> None:
    with pytest.raises(DataError, match=r"sentence_objective, train: Sentence-order"):
        tfft.fit(MaskedLanguageModeling().sample_data(), preset=tiny_preset, **OPTIONS)
