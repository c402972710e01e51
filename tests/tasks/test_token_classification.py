"""Token classification: schemes, windows, entities in raw texts, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pandas as pd
import pytest

import tfft
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.core.tag_schemes import Span, spans_of, tags_of
from tfft.data.ragged_rows import RaggedRows, SequenceOutputs
from tfft.reading import read_examples
from tfft.tasks.base import tasks

TASK = "token_classification"
#: The sample data is learned in a few seconds with these.
OPTIONS: dict[str, Any] = {
    "task": TASK, "epochs": 5, "learning_rate": 0.02, "batch_size": 8, "baselines": False, "quiet": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    return tasks.get(TASK).sample_data()


@pytest.fixture(scope="module")
def trained(sample: pd.DataFrame, tiny_preset: str) -> tfft.FineTunedModel:
    return tfft.fit(sample, preset=tiny_preset, **OPTIONS)


def shaped(table: pd.DataFrame, **options: Any) -> tuple[Any, Any]:
    """Examples as they are learned from, and what was learned of them."""
    task, config = tasks.get(TASK), FitConfig(task=TASK, **options)
    examples = read_examples(table, config, Console(quiet=True), labelled=True).examples
    learned = task.learned(examples, config, Console(quiet=True))
    return task.shaped(examples, learned), learned


def test_it_learns_the_sample_and_finds_entities_in_raw_texts(trained: tfft.FineTunedModel) -> None:
    assert trained.report.after.scalars()["entity_f1"] > 0.9
    text = "the  film script\u00a0was dull"
    (found,) = trained.predict([text])
    assert [(item.text, item.type) for item in found.entities] == [("film script", "THING"), ("dull", "OPINION")]
    assert all(text[item.start : item.end] == item.text for item in found.entities)
    assert [text[word.start : word.end] for word in found.words] == [word.text for word in found.words]
    assert all(0 < item.probability <= 1 for item in (*found.entities, *found.words))
    first = found.entities[0]
    assert first.probability <= min(word.probability for word in found.words if word.start in (5, 10)) + 1e-6


@pytest.mark.parametrize("scheme", ["bio", "iob1", "bioes"])
@pytest.mark.parametrize("head", ["crf", "softmax"])
def test_what_is_decoded_is_valid_and_the_best_of_all_valid_sequences(scheme: Any, head: str) -> None:
    """Against enumeration of all sequences: scores, validity, and exact probabilities."""
    task = tasks.get(TASK)
    spans = [Span(0, 1, "A"), Span(1, 3, "A"), Span(4, 5, "B")]
    table = pd.DataFrame({"tokens": [list("abcde")] * 2, "tags": [tags_of(spans, 5, scheme)] * 2})
    _, learned = shaped(table, head=head)
    target = "bioes" if scheme == "bioes" else "bio"
    assert learned.settings["scheme"] == target
    count = len(learned.labels)
    random = np.random.default_rng(5)
    shared = random.normal(size=(count + 2, count)).astype(np.float32) if head == "crf" else np.zeros((0, count))
    rows = [random.normal(size=(length, count)).astype(np.float32) for length in (3, 1)]
    outputs = SequenceOutputs(RaggedRows.from_rows(rows, np.empty((0, count), np.float32)), shared.astype(np.float32))
    texts = ["aa bb cc", "d"]
    encoded = dataclasses.make_dataclass("Rows", ["context"])(
        dataclasses.make_dataclass("Places", ["texts", "starts", "ends", "splits"])(
            texts, np.array([0, 3, 6, 0]), np.array([2, 5, 8, 1]), np.array([0, 3, 4])
        )
    )
    for row, found in zip(rows, task.decode(outputs, encoded, learned), strict=True):
        field = shared if head == "crf" else np.zeros((count + 2, count))
        scores = {}
        for tags in itertools.product(range(count), repeat=len(row)):
            score = field[-2, tags[0]] + field[-1, tags[-1]] + sum(row[place, tag] for place, tag in enumerate(tags))
            scores[tags] = score + sum(field[one, two] for one, two in itertools.pairwise(tags))
        total = np.logaddexp.reduce(list(scores.values()))

        def is_valid(tags: tuple[int, ...]) -> bool:
            names = [learned.labels[tag] for tag in tags]
            return tags_of(spans_of(names, target), len(names), target) == names

        best = max(filter(is_valid, scores), key=lambda tags: scores[tags])
        assert [word.tag for word in found.words] == [learned.labels[tag] for tag in best]
        for place, word in enumerate(found.words):
            alike = [score for tags, score in scores.items() if tags[place] == best[place]]
            assert word.probability == pytest.approx(np.exp(np.logaddexp.reduce(alike) - total), abs=1e-5)
        named = spans_of([learned.labels[tag] for tag in best], target)
        assert [entity.type for entity in found.entities] == [span.type for span in named]
        for span, entity in zip(named, found.entities, strict=True):
            own = best[span.start : span.end]
            alike = [score for tags, score in scores.items() if tags[span.start : span.end] == own]
            assert entity.probability == pytest.approx(np.exp(np.logaddexp.reduce(alike) - total), abs=1e-5)


def test_every_scheme_gives_the_same_entities_to_learn() -> None:
    spans = [[Span(0, 2, "PER"), Span(2, 3, "PER")], [Span(1, 2, "LOC")], []]
    words = [["Ann", "Lee", "Bob", "sang"], ["in", "Rome"], ["nobody"]]
    found = {}
    for scheme in ("bio", "iob1", "bioes"):
        tags = [tags_of(own, len(row), scheme) for own, row in zip(spans, words, strict=True)]
        if scheme == "bioes":  # spelled as BILOU
            tags = [[tag.replace("S-", "U-").replace("E-", "L-") for tag in row] for row in tags]
        examples, learned = shaped(pd.DataFrame({"tokens": words, "tags": tags}))
        found[scheme] = [spans_of(row, learned.settings["scheme"]) for row in examples.columns["learned_tags"]]
    assert found["bio"] == found["iob1"] == found["bioes"] == spans


def test_tags_without_prefixes_are_kept_as_they_are() -> None:
    table = pd.DataFrame(
        {"tokens": [["12", "Main", "St"], ["5", "Elm"]], "tags": [["No", "Street", "Street"], ["No", "Street"]]}
    )
    _, learned = shaped(table)
    assert learned.labels == ["No", "Street"]
    assert learned.settings["scheme"] == "plain"


def test_spans_of_characters_become_tags_of_words(tmp_path: Path) -> None:
    rows = [
        {"text": "Ann Lee, of Rome", "entities": [{"start": 0, "end": 7, "type": "PER"}, [12, 16, "LOC"]]},
        {"text": "nobody", "entities": []},
        {"text": "Bob.", "entities": [{"start": 0, "end": 3, "label": "PER"}]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    examples, learned = shaped(str(path), spans_column="entities")  # type: ignore[arg-type]
    assert learned.settings["words"] == "punctuation"
    assert examples.columns["learned_tags"] == [
        ["B-PER", "I-PER", "O", "O", "B-LOC"], ["O"], ["B-PER", "O"],
    ]  # fmt: skip
    assert examples.columns["words"][0] == ["Ann", "Lee", ",", "of", "Rome"]


def test_writing_without_spaces_is_tagged_by_characters() -> None:
    words = [["\u738b\u5c0f\u660e", "\u5728", "\u5317\u4eac"], ["\u4e0a\u6d77", "\u597d"]]
    tags = [["B-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    examples, learned = shaped(pd.DataFrame({"tokens": words, "tags": tags}))
    assert learned.settings["words"] == "characters"
    assert examples.texts == ["\u738b\u5c0f\u660e\u5728\u5317\u4eac", "\u4e0a\u6d77\u597d"]
    assert examples.columns["learned_tags"][0] == ["B-PER", "I-PER", "I-PER", "O", "B-LOC", "I-LOC"]


def test_long_rows_are_tagged_to_the_last_word_in_windows(tiny_preset: str, sample: pd.DataFrame) -> None:
    long = pd.DataFrame(
        {
            name: [list(itertools.chain.from_iterable(sample[name][start : start + 6])) for start in range(0, 60, 6)]
            for name in ("tokens", "tags")
        }
    )
    options = {**OPTIONS, "epochs": 12, "batch_size": 4, "validation_fraction": 0.0}
    model = tfft.fit(
        long, test_data=sample, preset=tiny_preset, sequence_length=12, quality={"leakage": "off"}, **options
    )
    text = " ".join(" ".join(row) for row in sample["tokens"][:20])
    (found,) = model.predict([text])
    assert [word.text for word in found.words] == text.split()
    assert model.evaluate(sample)["entity_f1"] > 0.8
    assert len(found.entities) > 30


@pytest.mark.slow  # every task is tried in micro-batches on two replicas
def test_accumulation_takes_the_same_steps(tiny_preset: str, sample: pd.DataFrame, tmp_path: Path) -> None:
    """The loss is a mean over the words of the batch, however it is cut; without dropout, to rounding."""
    still = keras_hub.models.Backbone.from_preset(tiny_preset, load_weights=False, dropout=0.0)
    still.save_to_preset(str(tmp_path / "still"))
    keras_hub.models.Tokenizer.from_preset(tiny_preset).save_to_preset(str(tmp_path / "still"))
    options = {**OPTIONS, "epochs": 2, "learning_rate": 1e-3, "dropout": 0.0, "preset": str(tmp_path / "still")}
    whole, parts = (tfft.fit(sample, micro_batch_size=size, **options) for size in (None, 3))
    assert parts.history["loss"] == pytest.approx(whole.history["loss"], rel=1e-5)
    assert parts.report.after.scalars()["loss"] == pytest.approx(whole.report.after.scalars()["loss"], rel=1e-5)


def test_a_frozen_backbone_trains_on_cached_words_as_on_tokens(tiny_preset: str, sample: pd.DataFrame) -> None:
    from tfft.fitting import encoded

    options = {**OPTIONS, "epochs": 2, "freeze": "backbone", "dropout": 0.0, "batching": "shuffled"}
    cached = tfft.fit(sample, preset=tiny_preset, **options)
    most = encoded.MOST_CACHED
    encoded.MOST_CACHED = 0
    try:
        every_step = tfft.fit(sample, preset=tiny_preset, **options)
    finally:
        encoded.MOST_CACHED = most
    assert cached.history["loss"] == pytest.approx(every_step.history["loss"], rel=1e-4, abs=1e-6)


def test_prediction_takes_words_of_files_and_texts(trained: tfft.FineTunedModel, tmp_path: Path) -> None:
    path = tmp_path / "rows.conll"
    path.write_text("the O\nfilm O\nwas O\ndull O\n\nthe O\ncast O\nwas O\nweak O\n")
    from_words = trained.predict(path)
    assert [[word.text for word in item.words] for item in from_words] == [
        ["the", "film", "was", "dull"], ["the", "cast", "was", "weak"],
    ]  # fmt: skip
    path.write_text("the O\nfilm/plot O\nwas O\ndull; O\n")  # words that no cut would give
    assert [word.text for word in trained.predict(path)[0].words] == ["the", "film/plot", "was", "dull;"]
    from_texts = trained.predict(pd.DataFrame({"text": ["the film was dull", None]}))
    assert from_texts[0].entities == from_words[0].entities
    assert from_texts[1] is None


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"tokens": [["a", "b"]], "tags": [["O"]]}, {}, "1 rows have not as many tags as words .row 1."),
        ({"tokens": ["a b"], "tags": [["O"]]}, {}, "row 1: 'tokens' holds one text; a list is needed"),
        ({"tokens": [["a"]], "tags": [["O"]]}, {}, "every tag is 'O'"),
        ({"tokens": [["a"]], "tags": [[3]]}, {}, "are numbers .3., which say nothing"),
        ({"tokens": [["a", "b"]], "tags": [["B-X", "I-Y"]]}, {"tag_scheme": "bio"}, "'I-Y' follows 'B-X'"),
        ({"text": ["Ann"], "spans": [[[0, 2, "PER"]]]}, {"spans_column": "spans", "words": "whitespace"}, "cuts 'Ann'"),
        ({"text": ["Ann"], "spans": [[[0, 9, "PER"]]]}, {"spans_column": "spans"}, "row 1, spans: .* out of range"),
        ({"text": ["Ann"], "spans": [[{"start": 0, "ends": 2}]]}, {"spans_column": "spans"}, "lacks 'end'"),
        ({"text": ["Ann"], "spans": [[{"start": 0, "end": 2}]]}, {"spans_column": "spans"}, "lacks 'type'"),
        ({"text": ["Ann"], "spans": [["PER"]]}, {"spans_column": "spans"}, "'PER' is no span"),
        ({"text": ["Ann"], "spans": [[]]}, {"spans_column": "spans"}, "no row has a span"),
    ],
)  # fmt: skip
def test_bad_data_is_refused_before_tensorflow(table: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        shaped(pd.DataFrame(table), **options)


def test_a_type_that_training_lacks_is_named(trained: tfft.FineTunedModel) -> None:
    other = pd.DataFrame({"tokens": [["the", "film"]], "tags": [["O", "B-THIGN"]]})
    with pytest.raises(DataError, match=r"row 1.*'THIGN'.*Did you mean 'THING'"):
        trained.evaluate(other)


def test_options_of_other_tasks_are_refused(sample: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="class_weights has no effect with task='token_classification'"):
        tfft.fit(sample, task=TASK, class_weights="balanced", quiet=True)
    with pytest.raises(ConfigError, match="tags_column has no effect with task='text_classification'"):
        tfft.fit(sample, task="text_classification", tags_column="ner", quiet=True)
    with pytest.raises(ConfigError, match=r"head: .*'crff'.*Did you mean 'crf'"):
        tfft.fit(sample, task=TASK, head="crff", quiet=True)
    with pytest.raises(ConfigError, match=r"monitor: .*val_entity_f1"):
        tfft.fit(sample, task=TASK, monitor="val_entityf1", quiet=True)


def tags(found: Any) -> list[str]:
    return [word.tag for word in found.words]


@pytest.mark.slow
def test_an_adapter_among_others_tags_as_its_own_model(
    trained: tfft.FineTunedModel, tiny_preset: str, sample: pd.DataFrame, opinions: pd.DataFrame, tmp_path: Path
) -> None:
    tagger = tfft.fit(sample, preset=tiny_preset, peft="lora", **{**OPTIONS, "epochs": 2})
    tagger.save_adapter(tmp_path / "tagger")
    options = {**OPTIONS, "task": "text_classification", "epochs": 1}
    tfft.fit(opinions, preset=tiny_preset, peft="lora", **options).save_adapter(tmp_path / "opinions")
    together = tfft.load_adapters({"tagger": tmp_path / "tagger", "opinions": tmp_path / "opinions"}, quiet=True)
    texts = ["the film was dull", "the cast was weak and the plot was funny"]
    expected = tagger.predict(texts)
    found = together.predict(texts, "tagger")
    assert [[word.tag for word in item.words] for item in found] == [
        [word.tag for word in item.words] for item in expected
    ]
    mixed = together.predict(texts, ["tagger", "opinions"])
    assert [word.tag for word in mixed[0].words] == [word.tag for word in expected[0].words]
    assert mixed[1].label in {"good", "bad"}
