"""Masked language modelling as a task, and the first run of `pretrain_on`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from broken_off import BreakOff
from scipy.special import log_softmax

import tfft
from tfft.core.errors import ArtifactError, ConfigError, DataError
from tfft.data.hidden_tokens import HiddenTokens
from tfft.data.masked_texts import with_one_mask
from tfft.data.ragged_rows import RaggedRows
from tfft.layers.masked_lm_head import MaskedLanguageModelHead
from tfft.tasks.masked_language_modeling import FilledText, MaskedLanguageModeling

OPINIONS = MaskedLanguageModeling().sample_data()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("".join(f"{text}\n" for text in OPINIONS["text"]), "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tiny_preset: str, corpus: Path) -> tfft.FineTunedModel:
    return tfft.fit(
        str(corpus), task="masked_language_modeling", preset=tiny_preset, epochs=6, learning_rate=0.02, quiet=True
    )


def logits_of(model: tfft.FineTunedModel, rows: Any, places: list[int]) -> list[np.ndarray]:
    """The trained model's logits of each hidden token, row by row."""
    found = []
    for place in places:
        features = rows.gather(np.array([place]), int(rows.lengths[place]))
        inputs = {name: features[name] for name in model.keras_model.input}
        found.append(np.asarray(model.keras_model(inputs))[0])
    return found


def test_the_model_beats_token_frequencies(trained: tfft.FineTunedModel) -> None:
    compared = {name: metrics.scalars() for name, metrics in trained.report.compared().items()}
    assert compared["after fine-tuning"]["loss"] < compared["token frequencies"]["loss"]
    assert compared["after fine-tuning"]["perplexity"] < compared["before fine-tuning"]["perplexity"]


def test_figures_are_those_of_the_logits(trained: tfft.FineTunedModel) -> None:
    texts = OPINIONS[:12]
    examples = trained.read(texts, labelled=True)
    rows = trained._encoding.encode(examples, trained._console, what="texts")
    nats, right = [], []
    for logits, labels in zip(logits_of(trained, rows, list(range(12))), rows.context.targets.labels, strict=True):
        log_p = log_softmax(logits.astype(np.float64), axis=-1)[: len(labels)]
        nats += (-log_p[np.arange(len(labels)), labels]).tolist()
        right += (log_p.argmax(axis=-1) == labels).tolist()
    figures = trained.evaluate(texts).metrics.scalars()
    assert len(nats) == 12
    assert figures["loss"] == pytest.approx(np.mean(nats), abs=1e-5)
    assert figures["perplexity"] == pytest.approx(np.exp(np.mean(nats)), rel=1e-4)
    assert figures["accuracy"] == pytest.approx(np.mean(right))


def test_predictions_are_the_likeliest_tokens(trained: tfft.FineTunedModel) -> None:
    texts = ["the [MASK] was dull", "the film <mask> <mask>"]
    found = trained.predict(texts)
    assert all(isinstance(item, FilledText) for item in found)
    assert [len(item.masks) for item in found] == [1, 2]
    vocabulary = trained._backbone.tokenizer.get_vocabulary()
    rows = trained._encoding.encode(trained.task.from_inputs(texts), trained._console, what="texts")
    for item, logits in zip(found, logits_of(trained, rows, [0, 1]), strict=True):
        for mask, own in zip(item.masks, logits, strict=True):
            log_p = log_softmax(own.astype(np.float64))
            best = np.argsort(-log_p)[:5]
            assert list(mask.tokens) == [vocabulary[number] for number in best]
            np.testing.assert_allclose(mask.probabilities, np.exp(log_p[best]), rtol=1e-3)


def test_texts_without_a_mask_are_named(trained: tfft.FineTunedModel) -> None:
    with pytest.raises(DataError, match=r"row 2: 1 of 2 texts have no mask to fill in. Write \[MASK\] or <mask>"):
        trained.predict(["a [MASK]", "a film"])
    with pytest.raises(DataError, match=r"rows 1, 2.* no mask"):
        trained.predict(pd.DataFrame({"text": ["a film", "a plot"]}))


@pytest.mark.parametrize(("text", "expected"), [("a b c", "a [MASK] c"), ("a", "[MASK]"), ("", "[MASK]")])
def test_the_middle_word_is_hidden(text: str, expected: str) -> None:
    assert with_one_mask(text) == expected


@pytest.mark.slow
def test_a_frozen_backbone_stays_as_it_was_and_the_head_learns(tiny_preset: str) -> None:
    model = tfft.fit(
        OPINIONS, task="masked_language_modeling", preset=tiny_preset, freeze="backbone", epochs=2, quiet=True
    )
    from tfft.backbones.keras_hub import load_text_backbone

    before, after = load_text_backbone(tiny_preset).model.get_weights(), model._backbone.model.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert model.history["loss"][1] < model.history["loss"][0]
    names = {variable.path for variable in model.keras_model.trainable_variables}
    assert len(names) == 5
    assert all("masked_lm_head" in name for name in names)


def test_the_head_begins_with_the_frequencies_of_tokens() -> None:
    embedding = keras.layers.ReversibleEmbedding(5, 3)
    embedding.build()
    features = keras.Input((None, 3))
    head = keras.Model(features, MaskedLanguageModelHead(embedding)(features))
    tokens = RaggedRows.from_lengths(np.array([0, 1, 1, 1, 2, 0]), np.array([4, 2]))
    targets = HiddenTokens(tokens, tokens, np.array([False, True, True, True, True]))
    MaskedLanguageModeling().begin(head, targets)
    (bias,) = (np.asarray(item) for item in head.variables if item.path.endswith("output_bias"))
    np.testing.assert_allclose(bias, np.log(np.array([1, 4, 2, 1, 1]) / 8), rtol=1e-6)


def pretrain_options(tiny_preset: str) -> dict[str, Any]:
    return {
        "task": "text_classification", "preset": tiny_preset, "epochs": 2, "batch_size": 10, "baselines": False,
        "quiet": True,
    }  # fmt: skip


@pytest.mark.slow
def test_pretrain_on_is_two_runs_in_one_and_resumes(
    tiny_preset: str, opinions: pd.DataFrame, corpus: Path, tmp_path: Path
) -> None:
    options = {**pretrain_options(tiny_preset), "pretrain_on": str(corpus), "pretrain_epochs": 2}
    options["output_dir"] = str(tmp_path / "run")
    with pytest.raises(InterruptedError):  # in the second run
        tfft.fit(opinions, callbacks=[BreakOff(7)], checkpoint_steps=3, **options)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "run.pretrained").rglob("*")}
    with pytest.raises(ConfigError, match=r"run\.pretrained is of a run that differs in epochs"):
        tfft.fit(opinions, resume=True, **{**options, "pretrain_epochs": 3})
    found = tfft.fit(opinions, resume=True, callbacks=[BreakOff(-1)], checkpoint_steps=3, **options)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run.pretrained").rglob("*")} == written

    first = tfft.fit(
        str(corpus), task="masked_language_modeling", preset=tiny_preset, epochs=2, batch_size=10,
        validation_fraction=0.05, test_fraction=0.0, baselines=False, output_dir=str(tmp_path / "first"), quiet=True,
        learning_rates={"head": 1e-3},
    )  # fmt: skip
    assert len(first.history["loss"]) == 2
    del options["pretrain_on"], options["pretrain_epochs"]
    second = tfft.fit(opinions, **{**options, "preset": str(tmp_path / "first"), "output_dir": None})
    for one, other in zip(found.keras_model.get_weights(), second.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    saved = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert saved["pretrain_on"] == str(corpus)
    assert saved["preset"] == str(tmp_path / "run.pretrained")


def test_pretrain_on_needs_no_directory_and_takes_any_source(tiny_preset: str, opinions: pd.DataFrame) -> None:
    from tfft.backbones.keras_hub import load_text_backbone

    options = {**pretrain_options(tiny_preset), "epochs": 1, "peft": "bitfit"}  # which leaves embeddings as they were
    found = tfft.fit(opinions, pretrain_on=OPINIONS, **options)
    assert found.config.pretrain_on == "<DataFrame>"
    assert not Path(str(found.config.preset)).exists()
    before = np.asarray(load_text_backbone(tiny_preset).model.token_embedding.embeddings)
    assert not np.array_equal(found._backbone.model.token_embedding.embeddings, before)


def test_mistakes_are_said_before_the_first_run(
    tiny_preset: str, opinions: pd.DataFrame, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**pretrain_options(tiny_preset), "output_dir": str(tmp_path / "run")}
    with pytest.raises(DataError, match="no column 'label'"):
        tfft.fit(opinions.drop(columns="label"), pretrain_on=str(corpus), **options)
    with pytest.raises(DataError, match=r"absent\.txt"):
        tfft.fit(opinions, pretrain_on=str(tmp_path / "absent.txt"), **options)
    with pytest.raises(ConfigError, match="pretrain_on is for a task that follows"):
        tfft.fit(OPINIONS, **{**options, "task": "masked_language_modeling"}, pretrain_on=str(corpus))
    with pytest.raises(ConfigError, match="does not take pretrain_on"):
        tfft.cross_validate(opinions, pretrain_on=str(corpus), **{**options, "output_dir": None})
    with pytest.raises(ConfigError, match="pretrain_on is for fit"):
        tfft.find_learning_rate(opinions, pretrain_on=str(corpus), **options)
    assert not list(tmp_path.glob("run*"))
    (tmp_path / "run.pretrained").mkdir()
    (tmp_path / "run.pretrained" / "something").touch()
    with pytest.raises(ArtifactError, match=r"run\.pretrained is not empty"):
        tfft.fit(opinions, pretrain_on=str(corpus), **options)
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(ConfigError, match="pretrain_on is for one process"):
        tfft.fit(opinions, pretrain_on=str(corpus), **options)


@pytest.mark.slow
def test_an_adapter_is_saved_with_the_head_but_without_the_embeddings(tiny_preset: str, tmp_path: Path) -> None:
    model = tfft.fit(
        OPINIONS, task="masked_language_modeling", preset=tiny_preset, peft="lora", epochs=1, learning_rate=0.05,
        baselines=False, quiet=True,
    )  # fmt: skip
    model.save_adapter(tmp_path / "adapter")
    texts = ["the [MASK] was dull", "the film <mask> <mask>"]
    expected = model.predict(texts)
    saved = {variable.path for variable in model._built.head.weights}
    assert len(saved) == 5
    assert not any("token_embedding" in path for path in saved)
    alone = tfft.load_adapter(tmp_path / "adapter", quiet=True).predict(texts)
    together = tfft.load_adapters({"one": tmp_path / "adapter"}, quiet=True).predict(texts, adapter="one")
    for found in (alone, together):
        for item, other in zip(found, expected, strict=True):
            assert [mask.tokens for mask in item.masks] == [mask.tokens for mask in other.masks]
            for mask, wanted in zip(item.masks, other.masks, strict=True):
                np.testing.assert_allclose(mask.probabilities, wanted.probabilities, atol=1e-5)
