"""Question answering: its windows, targets, answers and errors, against plain Python over words and scores."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfft
from tfft.backbones.base import TextBackbone
from tfft.backbones.keras_hub import load_text_backbone
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.core.learned import Learned
from tfft.data.question_rows import ANSWERS, QUESTIONS, TrueAnswers
from tfft.data.ragged_rows import RaggedRows, SequenceOutputs
from tfft.data.schema import TextExamples
from tfft.encoding.base import EncodedRows
from tfft.encoding.questions import QuestionEncoding, ServedWindows, WindowPlaces
from tfft.heads.answer_span import NO_CANDIDATE
from tfft.metrics.question_answering import answer_scores
from tfft.reading import read_examples
from tfft.splitting import Sources, split_data
from tfft.tasks._best_answers import served_answers
from tfft.tasks.base import unlabelled
from tfft.tasks.question_answering import PredictedAnswer, QuestionAnswering

TASK = QuestionAnswering()
#: 14 words, each of which is one token of the tiny backbone.
LONG = "the film was moving the plot was dull the cast was funny the ending"
#: Questions, contexts, and the answer of each, if any; the words of the third stand in no window together.
ROWS = [
    ("the plot was", LONG, "dull"),
    ("music", "the film was awful", ""),
    ("the", LONG, "moving the plot was dull the cast was funny"),
    ("the film was", "the film was silly", "was silly"),
]
LENGTH, OVERLAP = 12, 0.5


@pytest.fixture(scope="module")
def backbone(tiny_preset: str) -> TextBackbone:
    return load_text_backbone(tiny_preset)


@pytest.fixture(scope="module")
def encoding(backbone: TextBackbone) -> QuestionEncoding:
    return QuestionEncoding(backbone, sequence_length=LENGTH, overlap=OVERLAP)


def examples_of(rows: list[tuple[str, str, str]]) -> TextExamples:
    answers = [[{"text": text, "answer_start": context.index(text)}] if text else [] for _, context, text in rows]
    columns: dict[str, list[Any]] = {QUESTIONS: [row[0] for row in rows], ANSWERS: answers}
    return unlabelled([row[1] for row in rows], columns)


@pytest.fixture(scope="module")
def rows(encoding: QuestionEncoding) -> EncodedRows:
    return encoding.encode(examples_of(ROWS), Console(quiet=True), what="train")


def windows_in_python() -> list[tuple[int, list[str], int]]:
    """The row of each window, its tokens, and the number of its first word among those of the context."""
    found = []
    for number, (question, context, _) in enumerate(ROWS):
        asked, words = question.split(), context.split()
        room = LENGTH - 3 - len(asked)
        # Beside the longest question, 4 of the 9 places, half of the 5 left is shared.
        first = 0
        while True:
            last = first + room >= len(words)
            first = max(0, len(words) - room) if last else first
            found.append((number, ["[CLS]", *asked, "[SEP]", *words[first : first + room], "[SEP]"], first))
            if last:
                break
            first += room - 2
    return found


def test_windows_hold_the_question_and_overlapping_parts_of_the_context(
    rows: EncodedRows, backbone: TextBackbone
) -> None:
    expected = windows_in_python()
    assert [number for number, _, _ in expected] == rows.example_of.tolist()
    assert rows.windows is not None
    assert max(rows.windows) > 2
    features = rows.gather(tf.range(len(expected), dtype=tf.int64), tf.constant(LENGTH))
    for place, (number, tokens, _) in enumerate(expected):
        ids = [backbone.tokenizer.token_to_id(token) for token in tokens]
        padding = [0] * (LENGTH - len(ids))
        asked = len(ROWS[number][0].split())
        context = len(tokens) - asked - 3
        assert features["token_ids"][place].numpy().tolist() == ids + padding
        assert features["padding_mask"][place].numpy().tolist() == [1] * len(ids) + padding
        assert features["segment_ids"][place].numpy().tolist() == [0] * (asked + 2) + [1] * (context + 1) + padding
        assert features["candidates"][place].numpy().tolist() == [1] + [0] * (asked + 1) + [1] * context + [0] + padding


def test_windows_with_the_whole_answer_point_at_it_and_others_at_the_start(rows: EncodedRows) -> None:
    expected = []
    for number, tokens, first in windows_in_python():
        question, context, answer = ROWS[number]
        before = len(context[: context.index(answer)].split())
        begin = len(question.split()) + 2 + before - first
        end = begin + len(answer.split()) - 1
        inside = bool(answer) and begin >= len(question.split()) + 2 and end < len(tokens) - 1
        expected.append([begin, end] if inside else [0, 0])
    assert np.asarray(TASK.row_targets(TrueAnswers([]), rows, Learned([]))).tolist() == expected
    assert [0, 0] in expected
    assert len(np.unique(expected)) > 2


def test_an_answer_ends_before_the_token_that_begins_where_it_ends(encoding: QuestionEncoding) -> None:
    # [CLS] the [SEP] the film ##s was dull [SEP]
    rows = encoding.encode(examples_of([("the", "the films was dull", "film")]), Console(quiet=True), what="train")
    assert np.asarray(TASK.row_targets(TrueAnswers([]), rows, Learned([]))).tolist() == [[4, 4]]


def test_answers_that_no_window_holds_are_counted_and_said_once(
    encoding: QuestionEncoding, capsys: pytest.CaptureFixture[str]
) -> None:
    encoding.encode(examples_of(ROWS), Console(), what="train")
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the answers of 1 of 4 rows are in no window whole") == 1
    assert "raise sequence_length, or window_overlap" in said
    assert "2 of 4 rows are longer than 12 tokens" in said


def test_questions_that_are_too_long_are_counted(encoding: QuestionEncoding) -> None:
    found = encoding.encode(examples_of([(LONG, LONG, "dull"), ROWS[0]]), Console(quiet=True), what="train")
    assert found.truncated.tolist() == [0]
    assert found.full_lengths[0] > found.lengths[: found.windows[0]].sum()  # type: ignore[index]


def test_a_request_is_encoded_as_a_split_is(encoding: QuestionEncoding, rows: EncodedRows) -> None:
    places: WindowPlaces = rows.context
    served = tf.function(lambda asked, context: encoding.serve({"question": asked, "context": context}))(
        tf.constant([row[0] for row in ROWS]), tf.constant([row[1] for row in ROWS])
    )
    width = served.features["token_ids"].shape[1]
    expected = rows.gather(tf.range(len(rows.lengths), dtype=tf.int64), tf.constant(width))
    assert set(served.features) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(served.features[name], values, err_msg=name)
    inside = np.arange(width) < rows.lengths[:, None]
    for values, flat in (
        (served.context.in_context, places.in_context),
        (served.context.starts, places.starts),
        (served.context.ends, places.ends),
    ):
        np.testing.assert_array_equal(values.numpy()[inside], flat)
    np.testing.assert_array_equal(served.context.rows, rows.example_of)


def scored(rows: EncodedRows, seed: int, *, threshold: float | None) -> tuple[SequenceOutputs, Learned]:
    """Random scores of the tokens, and very low ones of those that are no candidates."""
    places: WindowPlaces = rows.context
    candidates = places.in_context.copy()
    candidates[places.splits[:-1]] = 1
    values = np.random.default_rng(seed).normal(0, 2, (len(candidates), 2)).astype("float32")
    flat = RaggedRows(np.where(candidates[:, None] > 0, values, np.float32(NO_CANDIDATE)), places.splits)
    outputs = rows.of_examples(SequenceOutputs(flat, np.empty((0, 2), np.float32)))
    return outputs, Learned(["start", "end"], {"max_answer_tokens": 3, "no_answer_threshold": threshold})


def by_brute_force(rows: EncodedRows, outputs: SequenceOutputs, threshold: float) -> list[PredictedAnswer]:
    """Every pair of tokens of every window, and what the published script of SQuAD 2.0 makes of them."""
    places: WindowPlaces = rows.context
    found = []
    for number, text in enumerate(places.contexts):
        spans, none = [], []
        for window in np.flatnonzero(rows.example_of == number):
            own = np.arange(places.splits[window], places.splits[window + 1])
            starts, ends = outputs.rows.values[own].astype(np.float64).T
            none.append(starts[0] + ends[0])
            inside = np.flatnonzero(places.in_context[own])
            for first, last in itertools.product(inside, inside):
                if 0 <= last - first < 3:
                    spans.append(
                        (starts[first] + ends[last], int(places.starts[own[first]]), int(places.ends[own[last]]))
                    )
        null = min(none)
        total = sum(np.exp(score) for score, _, _ in spans) + np.exp(null)
        score, start, end = max(spans, key=lambda span: span[0])
        against = 1 / (1 + np.exp(score - null))
        if against > threshold:
            score, start, end = null, 0, 0
        found.append(PredictedAnswer(text[start:end], start, end, float(np.exp(score) / total), float(against)))
    return found


def assert_same(found: list[PredictedAnswer], expected: list[PredictedAnswer]) -> None:
    assert [(item.text, item.start, item.end) for item in found] == [
        (item.text, item.start, item.end) for item in expected
    ]
    for name in ("probability", "no_answer_score"):
        one, other = ([getattr(item, name) for item in items] for items in (found, expected))
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("threshold", [None, 0.5, 0.02], ids=["always", "even", "strict"])
def test_answers_are_the_best_of_all_windows(rows: EncodedRows, threshold: float | None) -> None:
    nothing = 0
    for seed in range(8):
        outputs, learned = scored(rows, seed, threshold=threshold)
        found = TASK.decode(outputs, rows, learned)
        assert_same(found, by_brute_force(rows, outputs, 1.0 if threshold is None else threshold))
        nothing += sum(not item.text for item in found)
    assert bool(nothing) == (threshold is not None)


def test_a_request_is_decoded_as_a_split_is(rows: EncodedRows) -> None:
    places: WindowPlaces = rows.context
    outputs, learned = scored(rows, 3, threshold=0.3)
    width = LENGTH + 2

    def padded(flat: np.ndarray, fill: float) -> tf.Tensor:
        parts = [flat[places.splits[at] : places.splits[at + 1]] for at in range(len(rows.lengths))]
        pad = [(0, 0)] * (flat.ndim - 1)
        return tf.constant(
            np.stack([np.pad(part, [(0, width - len(part)), *pad], constant_values=fill) for part in parts])
        )

    context = ServedWindows(
        tf.constant(list(places.contexts)),
        padded(places.in_context, 0),
        padded(places.starts, 0),
        padded(places.ends, 0),
        tf.constant(rows.example_of, tf.int32),
    )
    served = tf.function(lambda logits: served_answers(logits, context, learned))(
        padded(outputs.rows.values, NO_CANDIDATE)
    )
    expected = TASK.served_outputs(TASK.decode(outputs, rows, learned), learned)
    assert set(served) == set(expected)
    assert served["answer"].numpy().tolist() == [text.encode() for text in expected["answer"]]
    for name in ("start", "end", "probability", "no_answer_score"):
        np.testing.assert_allclose(served[name], expected[name], atol=1e-6, err_msg=name)


def test_figures_are_the_official_counts_and_the_loss_is_that_of_training(rows: EncodedRows) -> None:
    outputs, learned = scored(rows, 5, threshold=0.4)
    targets = TASK.targets(examples_of(ROWS), learned)
    assert not isinstance(targets, np.ndarray)
    found = TASK.metrics(outputs, targets, learned)
    answers = [item.text for item in by_brute_force(rows, outputs, 0.4)]
    pairs = [answer_scores(text, golds) for text, golds in zip(answers, targets.texts, strict=True)]
    assert (found.exact_match, found.f1) == pytest.approx(tuple(np.mean(pairs, axis=0)))
    width = int(rows.lengths.max())
    logits = outputs.rows.values
    splits = rows.context.splits
    padded = np.full((len(rows.lengths), width, 2), NO_CANDIDATE, np.float32)
    for at in range(len(rows.lengths)):
        padded[at, : rows.lengths[at]] = logits[splits[at] : splits[at + 1]]
    loss = TASK.loss(tfft.FitConfig(task="question_answering"), learned)
    assert found.loss == pytest.approx(float(loss(TASK.row_targets(targets, rows, learned), padded)), rel=1e-5)


def test_the_threshold_is_the_best_on_the_validation_split_and_between_two_scores(encoding: QuestionEncoding) -> None:
    rows = encoding.encode(
        examples_of([("music", "film was awful", ""), ("cast", "plot was silly", "")] * 10),
        Console(quiet=True),
        what="validation",
    )
    outputs, learned = scored(rows, 7, threshold=None)
    best_answers = TASK.decode(outputs, rows, learned)
    scores = [item.no_answer_score for item in best_answers]
    # All but the first and one more of the six that are most likely to have an answer have one.
    places = np.argsort(scores)[[1, 2, 4, 5, 9]].tolist()
    targets = TrueAnswers([[item.text] if place in places else [] for place, item in enumerate(best_answers)])
    learned = dataclasses.replace(learned, settings={**learned.settings, "no_answer_threshold": 0.5})
    threshold = TASK.tuned(outputs, targets, learned, Console(quiet=True)).settings["no_answer_threshold"]

    def f1(at: float) -> float:
        tried = dataclasses.replace(learned, settings={**learned.settings, "no_answer_threshold": at})
        return TASK.metrics(outputs, targets, tried).f1

    assert f1(threshold) == pytest.approx(max(f1(at) for at in [0.0, *scores]))
    assert f1(threshold) == pytest.approx(17 / 20)
    assert sum(score < threshold for score in scores) == 6
    assert min(abs(threshold - score) for score in scores) > 1e-4


def test_the_threshold_stays_where_nothing_is_without_an_answer(rows: EncodedRows) -> None:
    outputs, learned = scored(rows, 1, threshold=None)
    assert TASK.tuned(outputs, TrueAnswers([["a"], [], ["b"], ["c"]]), learned, Console(quiet=True)) is learned
    outputs, learned = scored(rows, 1, threshold=0.5)
    assert TASK.tuned(outputs, TrueAnswers([["a"]] * 4), learned, Console(quiet=True)) is learned


@pytest.fixture(scope="module")
def options(tiny_preset: str) -> dict[str, Any]:
    return {
        "task": "question_answering",
        "preset": tiny_preset,
        "epochs": 1,
        "learning_rate": 0.01,
        "baselines": False,
        "quiet": True,
    }


@pytest.fixture(scope="module")
def model(options: dict[str, Any]) -> tfft.FineTunedModel:
    return tfft.fit(
        TASK.sample_data(), **{**options, "epochs": 10, "learning_rate": 0.02, "dropout": 0.0, "batch_size": 8}
    )


def test_it_learns_to_answer(model: tfft.FineTunedModel) -> None:
    after = model.report.after
    assert after.scalars()["exact_match"] > 0.7 > model.report.before.scalars()["exact_match"]
    assert model.evaluate(TASK.sample_data())["f1"] > 0.7


def test_answers_are_parts_of_the_context_as_it_was_given(model: tfft.FineTunedModel) -> None:
    context = "The  FILM was\tMÖVING…  the plot\nwas DULL "
    pairs = [("The plot was", context), ("", context), ("the plot was", "…"), ("x", "")]
    found = [*model.predict(pairs[:1]), *model.predict([{"question": "The plot was", "context": context}])]
    assert found[0] == found[1]
    everything = TASK.decode(
        model.outputs(pairs),
        model._encoding.encode(TASK.from_inputs(pairs), Console(quiet=True), what="texts"),
        Learned([], {**model.learned.settings, "no_answer_threshold": None}),
    )
    assert everything[0].text
    for item, (_, text) in zip(everything, pairs, strict=True):
        assert item.text == text[item.start : item.end] == item.text.strip()
    assert_same(everything[-1:], [PredictedAnswer("", 0, 0, 1.0, 1.0)])


def test_a_source_gives_an_answer_a_row_and_none_where_a_cell_is_missing(model: tfft.FineTunedModel) -> None:
    table = TASK.sample_data()[["question", "context"]].head(4)
    expected = model.predict(list(table.itertuples(index=False, name=None)))
    table.loc[2, "question"] = None
    found = model.predict(table)
    assert found[2] is None
    assert_same([found[0], found[1], found[3]], [expected[0], expected[1], expected[3]])
    assert model.predict([]) == []


def test_bytes_that_are_no_text_get_an_answer(model: tfft.FineTunedModel) -> None:
    context = b"the film \xff\xfe\xe6\x9d was moving \xf0\x9f"
    served = model._encoding.serve({"question": tf.constant([b"the \xff film"]), "context": tf.constant([context])})
    inputs = {name: served.features[name] for name in model.keras_model.input}
    always = Learned([], {**model.learned.settings, "no_answer_threshold": None})
    found = TASK.serve(model.keras_model(inputs), served.context, always)
    assert found["answer"].numpy()[0].decode() in context.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("what?", "received a str"),
        (["what?"], "two texts; at position 0 there is one str"),
        ([("what?", "this"), ("what?", None)], "at position 1"),
        ([("a", "b", "c")], r"at position 0 there is \('a', 'b', 'c'\)"),
        ([{"question": "what?"}], "at position 0"),
        (3, "received a int"),
    ],
    ids=["text", "list of texts", "null", "three", "no context", "number"],
)
def test_other_inputs_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.from_inputs(inputs)


def test_backbones_that_cannot_point_are_refused(backbone: TextBackbone) -> None:
    with pytest.raises(ConfigError, match="causal"):
        dataclasses.replace(backbone, causal=True).question_encoder(None, overlap=0.25)
    with pytest.raises(ConfigError, match="no start token"):
        dataclasses.replace(backbone, start_ids=()).question_encoder(None, overlap=0.25)
    with pytest.raises(ConfigError, match=r"sequence_length=4 leaves no room .* at least 5"):
        backbone.question_encoder(4, overlap=0.25)
    assert backbone.question_encoder(5, overlap=0.9).max_question_tokens == 1


def test_the_separator_is_that_of_keras_hub(tmp_path: Path) -> None:
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5, "<mask>": 6}
    tokenizer = keras_hub.models.RobertaTokenizer(vocabulary=vocabulary, merges=["a b"])
    packer = keras_hub.models.RobertaTextClassifierPreprocessor(tokenizer, sequence_length=6)
    packed = keras.utils.unpack_x_y_sample_weight(packer((tf.constant(["a"]), tf.constant(["b"])), y=tf.constant([0])))[
        0
    ]
    expected = [int(item) for item in packed["token_ids"][0]]
    model = keras_hub.models.RobertaBackbone(
        vocabulary_size=7, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4, max_sequence_length=8
    )
    for part in (model, tokenizer):
        part.save_to_preset(str(tmp_path))
    backbone = load_text_backbone(str(tmp_path))
    encoder = backbone.question_encoder(8, overlap=0.0)
    assert [*encoder.start_ids, 3, *encoder.separator_ids, 4, *encoder.end_ids] == expected
    assert (len(encoder.separator_ids), encoder.context_segment_id) == (2, 0)


def squad_file(folder: Path, table: pd.DataFrame) -> Path:
    """The table as SQuAD 2.0 has it: a paragraph for each context."""
    paragraphs = [
        {
            "context": row.context,
            "qas": [
                {
                    "id": f"q{row.Index}",
                    "question": row.question,
                    "answers": row.answers,
                    "is_impossible": not row.answers,
                }
            ],
        }
        for row in table.itertuples()
    ]
    path = folder / "squad.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "films", "paragraphs": paragraphs}]}), "utf-8")
    return path


def test_files_of_squad_and_flat_columns_give_the_same_examples(model: tfft.FineTunedModel, tmp_path: Path) -> None:
    table = TASK.sample_data()
    expected = model.read(table, labelled=True)
    flat = table.drop(columns="answers")
    flat["answer_text"] = [row[0]["text"] if row else None for row in table["answers"]]
    flat["answer_start"] = [row[0]["answer_start"] if row else None for row in table["answers"]]
    flat.to_csv(tmp_path / "flat.csv", index=False)
    lists = table.drop(columns="answers")
    lists["texts"] = [[item["text"] for item in row] for row in table["answers"]]
    lists["starts"] = [[item["answer_start"] for item in row] for row in table["answers"]]
    hub: list[Any] = [
        {key: [item[key] for item in row] for key in ("text", "answer_start")} for row in table["answers"]
    ]
    for source, options in (
        (str(squad_file(tmp_path, table)), {}),
        (str(tmp_path / "flat.csv"), {"answers_column": "answer_text", "answer_start_column": "answer_start"}),
        (lists, {"answers_column": "texts", "answer_start_column": "starts"}),
        (table.assign(answers=pd.Series(hub, dtype=object)), {}),
    ):
        config = tfft.FitConfig(task="question_answering", **options)  # type: ignore[arg-type]
        found = read_examples(source, config, Console(quiet=True), labelled=True).examples
        assert found.texts == expected.texts
        assert found.columns == expected.columns
    assert sum(not row for row in expected.columns[ANSWERS]) == 12


def test_answers_that_stand_elsewhere_and_data_without_answers_are_refused(options: dict[str, Any]) -> None:
    table = TASK.sample_data()
    answers: list[Any] = table["answers"].tolist()
    answers[7] = [{"text": "film", "answer_start": 999}]
    table["answers"] = answers
    with pytest.raises(DataError, match=r"1 of 48 answers do not stand .*row 8.* at 999"):
        tfft.fit(table, **options)
    table["answers"] = [[] for _ in range(len(table))]
    with pytest.raises(DataError, match="no question of the training split has an answer"):
        tfft.fit(table, **options)


def test_no_context_is_in_two_splits() -> None:
    table = TASK.sample_data().head(20)
    several = pd.concat([table.assign(question=f"{word} was") for word in ("the film", "the plot", "music")])
    config = tfft.FitConfig(task="question_answering", test_fraction=0.2, validation_fraction=0.2)
    parts = split_data(config, Sources(several), Console(quiet=True)).examples
    seen = [set(part.texts) for part in parts.values()]
    assert len(seen) == 3
    assert not any(one & other for one, other in itertools.combinations(seen, 2))


@pytest.mark.slow
def test_micro_batches_and_cached_features_change_nothing(options: dict[str, Any]) -> None:
    table = TASK.sample_data()
    chosen = options | {"freeze": "backbone", "dropout": 0.0, "batch_size": 8, "sequence_length": 12}
    chosen |= {"test_data": table, "quality": {"leakage": "report"}}
    once, twice = (tfft.fit(table, **chosen, micro_batch_size=size) for size in (None, 4))
    assert once.history["loss"] == pytest.approx(twice.history["loss"], rel=1e-5)
    for one, other in zip(once.keras_model.weights, twice.keras_model.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    figures = once.report.after.scalars()
    assert once.evaluate(table).metrics.scalars() == pytest.approx(figures, abs=1e-5)


@pytest.mark.slow
def test_an_adapter_is_trained_saved_and_loaded(options: dict[str, Any], tmp_path: Path) -> None:
    chosen: dict[str, Any] = {
        "peft": {"method": "lora", "rank": 2},
        "validation_fraction": 0.0,
        "output_dir": str(tmp_path / "run"),
    }
    model = tfft.fit(TASK.sample_data(), **options, **chosen)
    pairs = TASK.inputs(examples_of(ROWS))
    found = model.outputs(pairs)
    loaded = tfft.load(tmp_path / "run", quiet=True)
    np.testing.assert_array_equal(loaded.outputs(pairs).rows.values, found.rows.values)
    assert loaded.learned == model.learned
    trained = {variable.path.split("/")[-1] for variable in model.keras_model.trainable_variables}
    assert trained == {"kernel", "lora_a", "lora_b"}
    places: WindowPlaces = found.context
    outside = places.in_context == 0
    outside[places.splits[:-1]] = False
    assert (found.rows.values[outside] == NO_CANDIDATE).all()
    assert (found.rows.values[~outside] > NO_CANDIDATE).all()


PAGE = (Path(__file__).parents[2] / "docs" / "question_answering.md").read_text("utf-8")


@pytest.mark.slow
def test_the_snippets_of_the_page_run(tmp_path: Path) -> None:
    (python,), (shell,) = (
        re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) for kind in ("python", "sh")
    )
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in ([sys.executable, "-c", python], ["bash", "-euo", "pipefail", "-c", shell]):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"text", "start", "end", "probability", "no_answer_score"}] * 3


def test_the_page_names_every_option_of_the_task() -> None:
    assert TASK.uses <= set(re.findall(r"`([a-z_]+)[`=]", PAGE))
