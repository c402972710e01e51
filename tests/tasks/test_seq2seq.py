"""Sequence to sequence: tokenizers, losses, searches and files of a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfft
from tfft.data.source_target import References
from tfft.tasks.base import tasks
from tfft.tasks.seq2seq import GeneratedText, _bleu_tokenizer

TASK = tasks.get("seq2seq")
SIZES = {"embedding_dim": 16, "hidden_dim": 16, "dropout": 0.0}
OPTIONS: dict[str, Any] = {
    "task": "seq2seq", "preset": "lstm_attention", "learning_rate": 0.01, "batch_size": 8, "quiet": True,
    "encoder": {"tokenizer": "words", **SIZES}, "decoder": {"tokenizer": "words", **SIZES},
    "decoding": {"beams": 2, "max_length": 12},
}  # fmt: skip
#: The same without the argument that is no option of a run.
CONFIG = {name: value for name, value in OPTIONS.items() if name != "quiet"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tfft.FineTunedModel:
    """A model that has learned to turn "the film was dull" into "a dull film"."""
    directory = tmp_path_factory.mktemp("seq2seq") / "run"
    return tfft.fit(TASK.sample_data(), epochs=45, output_dir=str(directory), **OPTIONS)


def test_texts_are_learned(trained: tfft.FineTunedModel) -> None:
    assert [item.text for item in trained.predict(["the film was dull", "the plot was silly"])] == [
        "a dull film",
        "a silly plot",
    ]
    after = trained.report.after.scalars()
    assert after["rouge_1"] > 60
    assert after["accuracy"] > 0.8
    assert after["loss"] < trained.report.before.scalars()["loss"]


def test_a_prediction_has_its_score(trained: tfft.FineTunedModel) -> None:
    (found,) = trained.predict(["the film was dull"])
    assert isinstance(found, GeneratedText)
    assert found.alternatives == ()
    # Wu et al. 2016, eq. 14, of three words and the end.
    assert found.score == pytest.approx(found.log_probability / ((5 + 4) / 6) ** 0.6)
    # What the model itself says of this text.
    features, ids = features_of(trained, "the film was dull", "a dull film")
    logits = np.asarray(trained.keras_model(features, training=False))[0].astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    assert found.log_probability == pytest.approx(log_probabilities[np.arange(4), ids].sum(), abs=1e-5)


def features_of(model: tfft.FineTunedModel, source: str, target: str) -> tuple[dict[str, Any], list[int]]:
    """The inputs of the Keras model for one pair, by the tokenizers alone, and the ids that it should write."""
    words = model.learned.settings["target_tokenizer"]["words"]
    ids = [words.index(word) + 4 for word in target.split()]  # behind the special ids
    own = model._backbone.tokenizer(tf.constant([source])).numpy()[0]
    return {
        "token_ids": tf.constant([[2, *own, 3]], tf.int32),
        "padding_mask": tf.ones((1, len(own) + 2), tf.int32),
        "decoder_token_ids": tf.constant([[2, *ids]], tf.int32),
    }, [*ids, 3]


def test_figures_are_those_of_the_logits(trained: tfft.FineTunedModel) -> None:
    pairs = [("the film was dull", "a dull film"), ("the cast was weak", "a film")]
    losses, right = [], []
    for source, target in pairs:
        features, ids = features_of(trained, source, target)
        logits = np.asarray(trained.keras_model(features, training=False))[0].astype(np.float64)
        losses += list(np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(ids)), ids])
        right += list(logits.argmax(axis=-1) == ids)
    found = trained.evaluate(pd.DataFrame(pairs, columns=["src", "trg"]))
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(right))


def test_more_texts_are_given_on_request(trained: tfft.FineTunedModel, tmp_path: Path) -> None:
    wider = trained.with_decoding(beams=4, n_best=3)
    (found,) = wider.predict(["the film was dull"])
    assert found.text == "a dull film"
    assert len({found.text, *(other.text for other in found.alternatives)}) == 3
    scores = [found.score, *(other.score for other in found.alternatives)]
    assert scores == sorted(scores, reverse=True)
    assert trained.predict(["the film was dull"])[0].alternatives == ()  # left as it was
    signature = tf.saved_model.load(str(wider.export(tmp_path / "model"))).signatures["serving_default"]
    answer = signature(text=tf.constant(["the film was dull"]))
    assert answer["texts"].shape == (1, 3)
    np.testing.assert_allclose(answer["scores"][0], scores, atol=1e-5)


def test_greedy_search_and_sampling(trained: tfft.FineTunedModel) -> None:
    source = ["the film was dull"]
    assert trained.with_decoding(beams=1).predict(source)[0].text == "a dull film"
    drawn = trained.with_decoding(beams=1, sampling=True, temperature=2.0, n_best=8)
    (found,) = drawn.predict(source)
    assert len({found.text, *(other.text for other in found.alternatives)}) > 1
    assert drawn.predict(source) == [found]
    assert drawn.with_decoding(seed=1).predict(source) != [found]
    with pytest.raises(tfft.ConfigError, match=r"draws texts"):
        drawn.export("nowhere")


def test_a_loaded_run_writes_the_same(trained: tfft.FineTunedModel) -> None:
    texts = ["the film was dull", "the music was weak", ""]
    assert tfft.load(str(trained.config.output_dir), quiet=True).predict(texts) == trained.predict(texts)


def test_a_run_is_the_start_of_another(trained: tfft.FineTunedModel) -> None:
    options = {name: value for name, value in OPTIONS.items() if name not in {"preset", "encoder"}}
    preset = str(trained.config.output_dir)
    model = tfft.fit(TASK.sample_data(), preset=preset, epochs=1, baselines=False, **options)
    np.testing.assert_array_equal(
        model._backbone.tokenizer(tf.constant(["the film"])).to_tensor(),
        trained._backbone.tokenizer(tf.constant(["the film"])).to_tensor(),
    )


@pytest.mark.parametrize(
    "decoder",
    [
        {"input_feeding": True, "layers": 2},
        {"attention": "additive", "tied_embeddings": False, "embedding_dim": 8},
        {"tokenizer": "bpe", "vocabulary_size": 60},
    ],
)
def test_decoders_of_all_kinds_learn_and_export(decoder: dict[str, Any], tmp_path: Path) -> None:
    options = {**OPTIONS, "decoder": {**OPTIONS["decoder"], **decoder}, "encoder": {**SIZES, "vocabulary_size": 60}}
    model = tfft.fit(TASK.sample_data(), epochs=2, label_smoothing=0.1, baselines=False, **options)
    assert model.history["loss"][1] < model.history["loss"][0]
    model.export(tmp_path / "model")


def test_numbers_are_tokens(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [" ".join(map(str, random.integers(0, 9, size=random.integers(2, 6)))) for _ in range(60)]
    data = pd.DataFrame({"src": rows, "trg": [row.replace(" ", ", ") for row in rows]})
    data.to_csv(tmp_path / "numbers.tsv", sep="\t", index=False)
    options = {**OPTIONS, "encoder": SIZES, "decoder": SIZES}
    model = tfft.fit(str(tmp_path / "numbers.tsv"), epochs=1, baselines=False, quality={"leakage": "drop"}, **options)
    assert model.learned.settings["target_tokenizer"] == {"kind": "integers", "largest": 8, "vocabulary_size": 13}
    assert set(model.predict(["3 1 2"])[0].text) <= set("012345678 ")


def test_numbers_stand_for_lines_of_vocabulary_files(tmp_path: Path) -> None:
    sample = TASK.sample_data()
    options = {name: dict(value) if isinstance(value, dict) else value for name, value in OPTIONS.items()}
    for column, side in (("src", "encoder"), ("trg", "decoder")):
        words = sorted({word for text in sample[column] for word in text.split()})
        (tmp_path / column).write_text("\n".join(words) + "\n", "utf-8")
        numbers = [" ".join(str(words.index(word)) for word in text.split()) for text in sample[column]]
        sample[column] = numbers
        options[side] = {**SIZES, "vocabulary_file": str(tmp_path / column)}
    model = tfft.fit(sample, epochs=1, baselines=False, **options)
    assert "the" in model.record.held_out[0].split()
    assert set(model.predict(["the film was dull"])[0].text.split()) <= set((tmp_path / "trg").read_text().split())
    with pytest.raises(tfft.DataError, match="numbers above"):
        tfft.fit(sample.assign(src="99"), **options)
    (tmp_path / "src").write_text("a\nb c\n")
    with pytest.raises(tfft.DataError, match="line 2 is 'b c'"):
        tfft.fit(sample, **options)


def test_a_monitor_of_texts_is_computed_each_epoch() -> None:
    model = tfft.fit(TASK.sample_data(), epochs=2, monitor="val_bleu", baselines=False, **OPTIONS)
    assert len(model.history["val_bleu"]) == 2
    assert "val_bleu" not in tfft.fit(TASK.sample_data(), epochs=1, baselines=False, **OPTIONS).history


def test_lengths_are_filtered_counted_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    data = pd.concat([TASK.sample_data(), pd.DataFrame({"src": ["a b c d e f"], "trg": ["a"]})])
    options = {**OPTIONS, "quiet": False}
    tfft.fit(data, epochs=1, baselines=False, length_filter={"most_ratio": 2.0}, **options)
    assert "1 of 61 pairs left out (1 one side more than 2.0 times as long)" in capsys.readouterr().err
    with pytest.raises(tfft.DataError, match="leaves nothing"):
        tfft.fit(data, epochs=1, length_filter={"most_source": 1}, **OPTIONS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"decoder": {"hidden": 3}}, "hidden_dim"),
        ({"decoder": {"embedding_dim": 8, "hidden_dim": 16}}, "tied_embeddings needs"),
        ({"encoder": {"hidden_dim": 15}}, "multiple of 2"),
        ({"decoding": {"n_best": 5}}, "raise beams"),
        ({"decoding": {"top_k": 5}}, "only count with sampling"),
        ({"decoding": {"sampling": True}}, "set beams to 1"),
        ({"length_filter": {"most_ratio": 0.5}}, "most_ratio should be"),
        ({"source_column": "trg"}, "must differ"),
        ({"preset": "minilm_l6_en_uncased"}, "encoder has options of presets"),
    ],
)
def test_wrong_options_are_said_before_anything_starts(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(tfft.ConfigError, match=message):
        tfft.FitConfig(**{**CONFIG, **wrong})


def test_the_preset_is_for_tasks_that_write() -> None:
    data = pd.DataFrame({"text": [f"film {number}" for number in range(20)], "label": ["good", "bad"] * 10})
    with pytest.raises(tfft.ConfigError, match=r"does not\. Choose a pretrained preset"):
        tfft.fit(data, task="text_classification", preset="lstm_attention", quiet=True)


def test_bleu_finds_words_of_each_script() -> None:
    assert _bleu_tokenizer(["the house", "la casa"]) == "13a"
    assert _bleu_tokenizer(["他来了", "我们走"]) == "zh"
    assert _bleu_tokenizer(["かれはきた", "走ります"]) == "char"


def test_references_are_taken_by_row() -> None:
    found = References(["a", "b"], ["c", "d"])[np.array([1])]
    assert (found.texts, found.sources) == (["b"], ["d"])


def test_a_run_translates_texts_there_and_back(
    trained: tfft.FineTunedModel, opinions: pd.DataFrame, tiny_preset: str
) -> None:
    run = str(trained.config.output_dir)
    table = opinions.sample(20, random_state=0)
    model = tfft.fit(
        table,
        task="text_classification",
        preset=tiny_preset,
        epochs=1,
        augment={"back_translation": {"probability": 1.0, "translator": run, "backward": run}},
        baselines=False,
        quiet=True,
    )
    assert model.record.plan["augmented"]["back_translation"]["changed"] > 0
