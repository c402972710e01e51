"""Relation extraction: reading, options, what is computed of both entities, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_sample_weight

import tfft
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.entity_markers import MarkedText, entities_of, parse_marked
from tfft.core.errors import ConfigError, DataError
from tfft.core.learned import Learned
from tfft.encoding.base import EncodedRows
from tfft.encoding.relations import EntityTexts
from tfft.export._verify_worker import by_python_loader, by_session_loader
from tfft.losses.crossentropy import SmoothedCrossentropy
from tfft.losses.focal import FocalCrossentropy
from tfft.reading import read_examples
from tfft.tasks.base import check_task
from tfft.tasks.relation_extraction import PredictedRelation, RelationExtraction

TASK = RelationExtraction()
PLACES: dict[str, Any] = {f"{name}_column": name for name in ("head_start", "head_end", "tail_start", "tail_end")}
#: A text, its places, and how it is marked.
ROWS = [
    ("Kim runs Acorn.", (0, 3, 9, 14), "<e1>Kim</e1> runs <e2>Acorn</e2>."),
    ("Acorn: Kim", (7, 10, 0, 5), "<e2>Acorn</e2>: <e1>Kim</e1>"),
    ("🙂é東 ab", (1, 3, 4, 6), "🙂<e1>é東</e1> <e2>ab</e2>"),
]


def config(**options: Any) -> FitConfig:
    return FitConfig(task="relation_extraction", **options)


def table(rows: Any = ROWS) -> pd.DataFrame:
    """Rows with columns of places."""
    places = pd.DataFrame([row[1] for row in rows], columns=list(PLACES.values()))
    return places.assign(text=[row[0] for row in rows], label=["a", "b", "a", "b"][: len(rows)])


def read(source: Any, **options: Any) -> Any:
    return read_examples(source, config(**options), Console(quiet=True), labelled=True).examples


def test_places_and_markers_give_the_same_examples(tmp_path: Path) -> None:
    marked = read(pd.DataFrame({"text": [row[2] for row in ROWS], "label": ["a", "b", "a"]}))
    assert list(marked.texts) == [row[2] for row in ROWS]
    table().to_csv(tmp_path / "rows.csv", index=False)
    lines = [json.dumps(row) for row in table().to_dict("records")]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), "utf-8")
    with_nulls = table().astype({"head_start": float})
    for source in (table(), with_nulls, tmp_path / "rows.csv", tmp_path / "rows.jsonl"):
        found = read(source, **PLACES)
        assert (found.texts, list(found.labels)) == (marked.texts, ["a", "b", "a"]), source


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            (0, 3, 9, 99),
            r"2 of 4 texts .*: 2 whose tail entity is outside of the text \(rows 2, 4\)\. Places count char",
        ),
        ((2, 2, 9, 14), r"2 whose head entity ends where it starts, or before \(rows 2, 4\)"),
        ((0, 10, 9, 14), r"2 whose entities overlap \(rows 2, 4\)"),
        ((3, 4, 9, 14), r"2 whose head entity is blank \(rows 2, 4\)"),
        ((0, 3, 9, 13.5), r"2 cells of 'tail_end' are no whole numbers, such as '13.5' \(rows 2, 4\)"),
        ((0, "three", 9, 14), r"2 cells of 'head_end' are no whole numbers, such as 'three' \(rows 2, 4\)"),
        ((0, 3, 9, True), r"2 cells of 'tail_end' are no whole numbers, such as 'true' \(rows 2, 4\)"),
    ],
)
def test_wrong_places_are_named_with_their_rows(places: tuple[Any, ...], message: str) -> None:
    wrong = ("Kim runs Acorn.", places, "")
    with pytest.raises(DataError, match=message):
        read(table([ROWS[0], wrong, ROWS[0], wrong]).astype(object), **PLACES)


def test_texts_without_two_entities_are_named_with_their_rows() -> None:
    texts = [ROWS[0][2], "<e1>a</e1>", "<e1>a <e2>b</e2></e1>", "no", "<e1>a</e1> <e2>b", ROWS[1][2]]
    with pytest.raises(DataError) as caught:
        read(pd.DataFrame({"text": texts, "label": list("ababab")}))
    said = str(caught.value)
    assert "4 of 6 texts" in said
    for part in (
        "1 with no <e2> (row 2)",
        "1 whose entities overlap (row 3)",
        "1 with no <e1> (row 4)",
        "</e2> (row 5)",
    ):
        assert part in said
    assert "head_start_column" in said
    with pytest.raises(DataError, match=r"2 that hold <e1>, which marks entities \(rows 1, 2\)"):
        read(table([(row[2], row[1], "") for row in ROWS[:2]]), **PLACES)
    with pytest.raises(DataError, match=r"1 with null tail_start \(row 2\)"):
        read(table().assign(tail_start=[9, np.nan, 4]), **PLACES, quality={"missing": "fail"})


def test_inputs_of_every_form_are_the_same() -> None:
    marked = [row[2] for row in ROWS]
    names = [dict(zip(("text", *PLACES.values()), (text, *places), strict=True)) for text, places, _ in ROWS]
    tuples = [(text, tuple(np.array(places[:2])), list(places[2:])) for text, places, _ in ROWS]
    assert not TASK.takes(marked)
    for inputs in (marked, [{"text": text} for text in marked], names, tuples, [tuples[0], marked[1], names[2]]):
        found = TASK.from_inputs(inputs)
        assert list(found.texts) == marked
        assert TASK.inputs(found) == marked
    assert TASK.takes(names)
    assert TASK.takes(tuples)
    assert not TASK.takes([{"sentence": "a", "label": "b"}])
    assert TASK.serving_inputs(marked) == {"text": marked}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (ROWS[0][2], "A list of texts is expected; received a str"),
        ({"text": ROWS[0][2]}, "received a dict"),
        (7, "received a int"),
        ([ROWS[0][2], "Kim"], "at position 1 is one with no <e1>"),
        ([ROWS[0][2], 3], "at position 1 there is 3"),
        ([("Kim runs", (0, 3))], "at position 0 there is"),
        ([("Kim runs", (0, 3), (4, 9.0))], "at position 0 there is"),
        ([("Kim runs", (0, 3), (4, True))], "at position 0 there is"),
        ([{"text": "Kim runs", "head_start": 0}], "at position 0 there is"),
        ([("Kim runs", (0, 3), (4, 9))], "at position 0 is one whose tail entity is outside of the text"),
    ],
)
def test_inputs_that_are_something_else_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.from_inputs(inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"head_start_column": "a", "tail_end_column": "d"},
            "together, but head_end_column and tail_start_column name none",
        ),
        ({**PLACES, "tail_end_column": "text"}, "these must be different columns"),
        ({"pooling": "first"}, "pooling has no effect with task='relation_extraction'"),
        ({"mask_personal_data": True}, "mask_personal_data has no effect"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tfft.fit(table(), task="relation_extraction", quiet=True, **options)


def test_options_of_other_tasks_are_refused_there() -> None:
    with pytest.raises(ConfigError, match="negative_label has no effect with task='text_classification'"):
        check_task(FitConfig(task="text_classification", negative_label="none"))
    check_task(config(monitor="val_relation_micro_f1", negative_label="none", **PLACES))


def test_the_negative_label_must_be_there(quiet: Console) -> None:
    examples = read(TASK.sample_data())
    assert TASK.learned(examples, config(negative_label="no_relation"), quiet) == Learned(
        ["criticised", "no_relation", "praised"], {"negative_label": "no_relation"}
    )
    with pytest.raises(ConfigError, match=r"negative_label: Unknown label 'no_relations'\. Did you mean 'no_relation'"):
        TASK.learned(examples, config(negative_label="no_relations"), quiet)


def test_rows_are_weighted_by_class_as_scikit_learn_does() -> None:
    targets, learned = np.array([0, 1, 1, 2, 1, 0]), Learned(["a", "b", "c"])
    found = TASK.sample_weights(targets, learned, config(class_weights="balanced"))
    np.testing.assert_allclose(found, compute_sample_weight("balanced", targets), rtol=1e-6)
    found = TASK.sample_weights(targets, learned, config(class_weights={"b": 3.0}))
    np.testing.assert_array_equal(found, [1, 3, 3, 1, 3, 1])
    np.testing.assert_array_equal(TASK.sample_weights(targets, learned, config()), np.ones(6))
    with pytest.raises(ConfigError, match="class_weights: Unknown label 'd'"):
        TASK.sample_weights(targets, learned, config(class_weights={"d": 3.0}))


def test_the_loss_is_the_one_that_is_named() -> None:
    learned = Learned(["a", "b"])
    assert isinstance(TASK.loss(config(focal_gamma=2.0), learned), FocalCrossentropy)
    smoothed = TASK.loss(config(label_smoothing=0.2), learned)
    assert isinstance(smoothed, SmoothedCrossentropy)
    logits = np.array([[2.0, -1.0]], np.float32)
    logs = logits - np.log(np.exp(logits).sum())
    np.testing.assert_allclose(
        smoothed.call(np.array([0]), logits), [-(0.9 * logs[0, 0] + 0.1 * logs[0, 1])], rtol=1e-5
    )


def test_unpleasant_texts_become_inputs() -> None:
    texts = ("", " ", "a", "x" * 300, "@ # \0")
    found = TASK.unpleasant(texts)
    assert len(found) == 3 * len(texts) - 2
    assert all(isinstance(parse_marked(text), MarkedText) for text in found)
    assert {entities_of(text).head_first for text in found} == {True, False}


def test_predictions_are_served_as_they_are_decoded() -> None:
    learned = Learned(["no", "yes", "perhaps"], {"negative_label": None})
    outputs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    heads, tails = [f"head {row}" for row in range(5)], ["tail é"] * 5
    no_gather: Any = None
    numbers = np.ones(5, np.int64)
    rows = EncodedRows(no_gather, numbers, numbers, numbers, context=EntityTexts(heads, tails))
    predictions = TASK.decode(outputs, rows, learned)
    expected = np.exp(outputs.astype(np.float64)) / np.exp(outputs.astype(np.float64)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose([list(item.probabilities.values()) for item in predictions], expected, rtol=1e-6)
    first = predictions[0]
    best = int(expected[0].argmax())
    assert first == PredictedRelation(learned.labels[best], expected[0, best], first.probabilities, "head 0", "tail é")
    served = TASK.serve(tf.constant(outputs), EntityTexts(tf.constant(heads), tf.constant(tails)), learned)
    wanted = TASK.served_outputs(predictions, learned)
    assert set(served) == set(wanted) == {"label", "probabilities", "classes", "head", "tail"}
    for name, values in wanted.items():
        if values.dtype == object:
            assert np.char.decode(served[name].numpy().astype(bytes)).tolist() == values.tolist()
        else:
            np.testing.assert_allclose(served[name], values, atol=1e-6)


@pytest.fixture(scope="module")
def model(tiny_preset: str, tmp_path_factory: pytest.TempPathFactory) -> tfft.FineTunedModel:
    """A model of the sample data, by places, trained for a moment."""
    rows = []
    for text, label in TASK.sample_data().itertuples(index=False):
        parts = entities_of(text)
        plain = "".join(parts[:5])
        first = len(parts.before)
        second = first + len(parts.first) + len(parts.between)
        spans = (first, first + len(parts.first)), (second, second + len(parts.second))
        head, tail = spans if parts.head_first else spans[::-1]
        rows.append((plain, *head, *tail, label))
    data = pd.DataFrame(rows, columns=["text", *PLACES.values(), "label"])
    return tfft.fit(
        data, task="relation_extraction", preset=tiny_preset, epochs=1, learning_rate=0.01, baselines=False, quiet=True,
        negative_label="no_relation", output_dir=str(tmp_path_factory.mktemp("relations") / "run"), **PLACES,
    )  # fmt: skip


def test_relations_are_told_from_the_tokens_before_both_entities(model: tfft.FineTunedModel) -> None:
    """By KerasHub without tfft: features of the marked sentence at both signs, times the head's weights."""
    preset = f"{model.config.output_dir}/preset"
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(preset)
    backbone = keras_hub.models.Backbone.from_preset(preset)
    texts = {
        "the <e1>film</e1> was <e2>moving</e2> the plot": ("the @ film @ was # moving # the plot", 2, 6),
        "the <e2>film</e2> was <e1>moving</e1> the plot": ("the # film # was @ moving @ the plot", 6, 2),
        "<e1>music</e1><e2>script</e2>": ("@ music @ # script #", 1, 4),
    }
    weights = {item.path.split("/")[-1]: np.asarray(item) for item in model.keras_model.get_layer("head").weights}
    found = model.outputs(list(texts))
    for number, (sentence, head, tail) in enumerate(texts.values()):
        ids = np.array([[tokenizer.cls_token_id, *tokenizer(sentence), tokenizer.sep_token_id]])
        inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
        features = np.asarray(backbone(inputs)["sequence_output"])[0]
        both = np.concatenate([features[head], features[tail]])
        np.testing.assert_allclose(found[number], both @ weights["kernel"] + weights["bias"], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3, "directions differ"


def test_sources_and_inputs_are_predicted_alike(model: tfft.FineTunedModel, tmp_path: Path) -> None:
    rows = [
        (f"the {thing} was funny", (4, 4 + len(thing)), (9 + len(thing), 14 + len(thing))) for thing in ("film", "plot")
    ]
    marked = [f"the <e1>{thing}</e1> was <e2>funny</e2>" for thing in ("film", "plot")]
    source = pd.DataFrame([(text, *head, *tail) for text, head, tail in rows], columns=["text", *PLACES.values()])
    expected = model.predict(marked)
    assert [(item.head, item.tail) for item in expected] == [("film", "funny"), ("plot", "funny")]
    assert model.predict(rows) == model.predict(source) == model.predict(source.to_dict("records")) == expected
    assert model.predict_rows(source) == list(zip(marked, expected, strict=True))


def test_figures_leave_the_negative_label_out(model: tfft.FineTunedModel) -> None:
    after: Any = model.report.after
    assert after.negative_label == "no_relation"
    everything = dataclasses.replace(model.learned, settings={"negative_label": None})
    outputs, targets = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]], np.array([0, 1, 2, 2])
    assert TASK.metrics(outputs, targets, model.learned).relations["micro"]["recall"] == pytest.approx(2 / 3)
    assert TASK.metrics(outputs, targets, everything).relations["micro"]["recall"] == pytest.approx(3 / 4)


@pytest.mark.slow  # that a graph refuses them is tested where texts are cut
@pytest.mark.parametrize("loader", [by_python_loader, by_session_loader], ids=["python", "session"])
def test_a_request_without_two_entities_fails_and_says_why(
    model: tfft.FineTunedModel, tmp_path: Path, loader: Any
) -> None:
    folder = str(model.export(tmp_path / "served"))
    good = "the <e1>film</e1> was <e2>funny</e2>"
    answer = loader(folder, {"text": np.array([good.encode()], dtype=object)})
    assert (answer["head"].tolist(), answer["tail"].tolist()) == ([b"film"], [b"funny"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="Each text marks the head entity as <e1>"):
        loader(folder, {"text": np.array([good.encode(), b"the film was funny"], dtype=object)})


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["prompt", "prefix"])
def test_methods_that_put_tokens_before_the_text_leave_the_entities_in_place(tiny_preset: str, peft: str) -> None:
    trained = tfft.fit(
        TASK.sample_data(), task="relation_extraction", preset=tiny_preset, epochs=8, learning_rate=0.05, quiet=True,
        peft={"method": peft, "num_virtual_tokens": 3}, baselines=False,
    )  # fmt: skip
    assert trained.report.after.scalars()["loss"] < trained.report.before.scalars()["loss"]
    examples = TASK.sample_data().head(20)
    assert trained.evaluate(examples)["accuracy"] > 0.5


@pytest.mark.slow
def test_heads_train_on_features_computed_once(tiny_preset: str) -> None:
    rows = TASK.sample_data()
    trained = tfft.fit(
        rows,
        task="relation_extraction",
        preset=tiny_preset,
        freeze="backbone",
        epochs=3,
        learning_rate=0.01,
        quiet=True,
    )
    assert trained.history["loss"][-1] < trained.history["loss"][0]
    judged = rows.iloc[[row - 1 for row in trained.record.data["rows"]["test"]]]
    assert trained.evaluate(judged).metrics.scalars() == pytest.approx(trained.report.after.scalars(), abs=1e-4)
