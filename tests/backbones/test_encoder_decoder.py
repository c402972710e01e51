"""BART and T5 with tiny random weights: searching step by step is what the whole model says; files, adapters."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfft
from tfft.backbones.encoder_decoder import EncoderDecoderBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.tasks.base import tasks

#: KerasHub's T5 layers warn of themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer '.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning"),
]

SAMPLE = tasks.get("seq2seq").sample_data()
TEXTS = [text for column in ("src", "trg") for text in SAMPLE[column]]
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
OPTIONS: dict[str, Any] = {
    "task": "seq2seq", "head": "pretrained_decoder", "batch_size": 16, "learning_rate": 3e-3, "quiet": True,
    "decoding": {"beams": 2, "max_length": 16}, "baselines": False,
}  # fmt: skip


def bart() -> tuple[Any, Any]:
    words = sorted({word for text in TEXTS for word in text.split()})
    letters = sorted(set("".join(words)))
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
    pieces = [*letters, "Ġ", *(f"Ġ{letter}" for letter in letters)]
    vocabulary = special | {piece: number for number, piece in enumerate(pieces, len(special))}
    tokenizer = keras_hub.models.BartTokenizer(vocabulary=vocabulary, merges=[f"Ġ {letter}" for letter in letters])
    size = tokenizer.vocabulary_size()
    return keras_hub.models.BartBackbone(vocabulary_size=size, max_sequence_length=64, **SIZES), tokenizer


def t5() -> tuple[Any, Any]:
    from sentencepiece import SentencePieceTrainer

    made = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=made, vocab_size=60, hard_vocab_limit=False, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=5,
    )  # fmt: skip
    tokenizer = keras_hub.models.T5Tokenizer(proto=made.getvalue())
    return keras_hub.models.T5Backbone(vocabulary_size=tokenizer.vocabulary_size(), **SIZES), tokenizer


@pytest.fixture(scope="module", params=[bart, t5], ids=["bart", "t5"])
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A preset directory of a tiny encoder-decoder."""
    keras.utils.set_random_seed(5)
    directory = str(tmp_path_factory.mktemp("presets") / "tiny")
    for part in request.param():
        part.save_to_preset(directory)
    return directory


@pytest.fixture(scope="module")
def trained(preset: str, tmp_path_factory: pytest.TempPathFactory) -> tfft.FineTunedModel:
    run = tmp_path_factory.mktemp("runs") / "run"
    return tfft.fit(SAMPLE, preset=preset, label_smoothing=0.1, epochs=2, output_dir=str(run), **OPTIONS)


def backbone_of(model: tfft.FineTunedModel) -> EncoderDecoderBackbone:
    found = model._backbone
    assert isinstance(found, EncoderDecoderBackbone)
    return found


def ids_of(backbone: EncoderDecoderBackbone, text: str) -> list[int]:
    found: list[int] = backbone.encoder(None).pieces(tf.constant([text])).to_list()[0]
    return found


def test_the_loss_falls_and_files_give_the_same(trained: tfft.FineTunedModel) -> None:
    assert trained.history["loss"][1] < trained.history["loss"][0]
    texts = ["the film was dull", "", "the plot"]
    loaded = tfft.load(str(trained.config.output_dir), quiet=True)
    assert loaded.predict(texts) == trained.predict(texts)
    assert "target_tokenizer" not in trained.learned.settings


def test_the_search_says_what_the_whole_model_says(trained: tfft.FineTunedModel) -> None:
    backbone, limit = backbone_of(trained), 16
    greedy = trained.with_decoding(beams=1, max_length_ratio=9.0)
    source = "the film was dull"
    (found,) = greedy.predict([source])
    own = [*backbone.start_ids, *ids_of(backbone, source), *backbone.end_ids]
    starts, end = list(backbone.decoder_start_ids), backbone.end_ids[0]
    never = {backbone.pad_id, *starts} - {end}
    written: list[int] = []
    total = 0.0
    while True:  # the whole model anew for each token, without any cache
        logits = np.asarray(
            trained.keras_model(
                {
                    "token_ids": tf.constant([own], tf.int32),
                    "padding_mask": tf.ones((1, len(own)), tf.int32),
                    "decoder_token_ids": tf.constant([[*starts, *written]], tf.int32),
                },
                training=False,
            )
        )[0, -1].astype(np.float64)
        log_probabilities = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        allowed = np.array([value if token not in never else -np.inf for token, value in enumerate(log_probabilities)])
        token = int(allowed.argmax()) if len(written) < limit else end
        total += log_probabilities[token]
        if token == end:
            break
        written.append(token)
    assert found.log_probability == pytest.approx(total, abs=1e-4)
    assert found.text == backbone.target_tokenizer.detokenize(tf.constant([written], tf.int32)).numpy()[0].decode()


def test_figures_are_those_of_the_logits(trained: tfft.FineTunedModel) -> None:
    backbone = backbone_of(trained)
    pairs = [("the film was dull", "a dull film"), ("the cast was weak", "a film")]
    losses, right = [], []
    for source, target in pairs:
        ids = [ids_of(backbone, text) for text in (source, target)]
        own = [*backbone.start_ids, *ids[0], *backbone.end_ids]
        starts, wanted = list(backbone.decoder_start_ids), [*ids[1], backbone.end_ids[0]]
        features = {
            "token_ids": tf.constant([own], tf.int32),
            "padding_mask": tf.ones((1, len(own)), tf.int32),
            "decoder_token_ids": tf.constant([[*starts, *ids[1]]], tf.int32),
        }
        logits = np.asarray(trained.keras_model(features, training=False))[0, len(starts) - 1 :].astype(np.float64)
        losses += list(np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(wanted)), wanted])
        right += list(logits.argmax(axis=-1) == wanted)
    found = trained.evaluate(pd.DataFrame(pairs, columns=["src", "trg"]))
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found["accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.slow
def test_exports_write_the_same(trained: tfft.FineTunedModel, tmp_path: Path) -> None:
    assert trained.export(tmp_path / "model") == tmp_path / "model" / "1"  # verified in a fresh process


@pytest.mark.slow
def test_lora_trains_little_and_is_folded_into_exports(preset: str, tmp_path: Path) -> None:
    model = tfft.fit(SAMPLE, preset=preset, peft="lora", epochs=5, **{**OPTIONS, "learning_rate": 0.05})
    assert model.history["loss"][-1] < model.history["loss"][0] - 0.02
    assert all("lora" in variable.path for variable in model.keras_model.trainable_variables)
    assert any("decoder" in variable.path for variable in model.keras_model.trainable_variables)
    model.export(tmp_path / "model")


def test_presets_of_the_other_kind_are_refused(preset: str, tiny_preset: str, opinions: pd.DataFrame) -> None:
    with pytest.raises(tfft.PresetError, match="writes no texts itself"):
        tfft.fit(SAMPLE, preset=tiny_preset, **OPTIONS)
    with pytest.raises(tfft.PresetError, match="head='pretrained_decoder'"):
        tfft.fit(opinions, task="text_classification", preset=preset, quiet=True)
    with pytest.raises(tfft.ConfigError, match="leave it out"):
        tfft.fit(SAMPLE, preset=preset, **{**OPTIONS, "decoder": {"layers": 2}})
    with pytest.raises(tfft.ConfigError, match="Did you mean 'pretrained_decoder'"):
        tfft.fit(SAMPLE, preset=preset, **{**OPTIONS, "head": "pretrained"})
    assert isinstance(load_text_backbone(preset, writes=True), EncoderDecoderBackbone)
