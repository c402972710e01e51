"""No option is decoration: changing any field of FitConfig changes something that can be seen.

A short baseline run is shared; each check changes one field and looks at weights, history, splits, files or errors.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest

import tfft
from tfft.config import FitConfig
from tfft.config.pretraining import pretraining_config
from tfft.console import Console
from tfft.core.errors import ArtifactError, ConfigError, DataError, PresetError
from tfft.reading import read_examples
from tfft.splitting import Sources, SplitData, split_data
from tfft.tasks.base import tasks


@dataclasses.dataclass(frozen=True)
class Bench:
    """The baseline and the means to vary it.

    Attributes:
        table: The data: 50 rows of unlike length, 30 of them good.
        options: The options of the baseline.
        baseline: The run with these options.
        digest: Gives the SHA-256 of all weights.
        folder: An empty directory.
    """

    table: pd.DataFrame
    options: dict[str, Any]
    baseline: tfft.FineTunedModel
    digest: Callable[[Any], str]
    folder: Path

    def fit(self, **changed: Any) -> tfft.FineTunedModel:
        return tfft.fit(self.table, quiet=True, **{**self.options, **changed})

    def weights(self, model: tfft.FineTunedModel) -> str:
        return self.digest(model.keras_model)

    def split(self, source: Any = None, **changed: Any) -> SplitData:
        config = FitConfig(**{**self.options, **changed})
        sources = Sources(self.table if source is None else source, config.validation_data, config.test_data)
        return split_data(config, dataclasses.replace(sources, synthetic=config.synthetic_data), Console(quiet=True))

    def file(self, name: str, table: pd.DataFrame, encoding: str = "utf-8") -> str:
        table.to_csv(self.folder / name, index=False, encoding=encoding)
        return str(self.folder / name)


@pytest.fixture(scope="module")
def table(opinions: pd.DataFrame) -> pd.DataFrame:
    short = opinions.head(50)
    texts = [" and ".join([text] * (1 + place % 4)) for place, text in enumerate(short["text"])]
    return pd.DataFrame({"text": texts, "label": short["label"].tolist()})


@pytest.fixture(scope="module")
def baseline_options(tiny_preset: str) -> dict[str, Any]:
    return {
        "task": "text_classification",
        "preset": tiny_preset,
        "freeze": "backbone",
        "epochs": 1,
        "batch_size": 10,
        "learning_rate": 1.0,
        "warmup_fraction": 0.25,
        "validation_fraction": 0.0,
        "baselines": False,
    }


@pytest.fixture(scope="module")
def baseline(table: pd.DataFrame, baseline_options: dict[str, Any]) -> tfft.FineTunedModel:
    return tfft.fit(table, quiet=True, **baseline_options)


@pytest.fixture
def bench(
    table: pd.DataFrame, baseline_options: dict[str, Any], baseline: tfft.FineTunedModel, digest: Any, tmp_path: Path
) -> Bench:
    return Bench(table, baseline_options, baseline, digest, tmp_path)


#: Options whose change must show in the trained weights.
IN_THE_WEIGHTS = {
    "pooling": "first",
    "dropout": 0.5,
    "learning_rate": 0.5,
    "schedule": "cosine",
    "warmup_fraction": 0.5,
    "weight_decay": 0.2,
    "clip_norm": 0.05,
    "label_smoothing": 0.2,
    "class_weights": "balanced",
    "resample": "undersample",
    "augment": {"random_swap": 1.0},
    "seed": 1,
    "batching": "bucketed",
    "clip_value": 0.01,
    "gradient_noise": 0.1,
    "l2": 0.5,
    "optimizer": "sgd",
    "optimizer_options": {"beta_2": 0.5},
    "learning_rates": {"head": 0.3},
    "ema": 0.5,
    "focal_gamma": 2.0,
    "r_drop": 1.0,
    "micro_batch_size": 4,
    "precision": "mixed_bfloat16",
}
Check = Callable[[Bench], None]
#: Options whose change must show elsewhere.
ELSEWHERE: dict[str, Check] = {}


def shows_in(name: str) -> Callable[[Check], Check]:
    """Registers the check of an option."""

    def add(check: Check) -> Check:
        ELSEWHERE[name] = check
        return check

    return add


@shows_in("peft")
def _only_the_adapter_and_the_head_are_trained(bench: Bench) -> None:
    model = bench.fit(freeze="none", peft={"method": "lora", "rank": 2}, learning_rate=None)
    trained = {variable.name for variable in model.keras_model.trainable_variables}
    assert trained == {"lora_a", "lora_b", "kernel", "bias"}


@shows_in("train_layers")
def _the_layers_below_stay_as_they_are(bench: Bench) -> None:
    model = bench.fit(freeze="none", train_layers="last:1")
    trained = {variable.path.split("/")[0] for variable in model.keras_model.trainable_variables}
    assert trained == {"transformer_layer_1", "logits"}


@shows_in("quantize_base")
def _the_backbone_is_kept_in_few_bits(bench: Bench) -> None:
    model = bench.fit(freeze="none", peft="lora", quantize_base="int8")
    kernels = [variable for variable in model.keras_model.variables if "query/kernel" in variable.path]
    assert {variable.dtype for variable in kernels if not variable.path.endswith("scale")} == {"int8"}


@shows_in("tasks")
def _several_heads_take_the_place_of_one(bench: Bench) -> None:
    options = {name: value for name, value in bench.options.items() if name != "task"}
    table = bench.table.assign(again=bench.table["label"])
    two = [{"task": "text_classification", "name": name, "label_column": name} for name in ("label", "again")]
    model = tfft.fit(table, quiet=True, **{**options, "tasks": two})
    assert list(model.keras_model.output) == ["label", "again"]


@shows_in("data")
def _names_the_file_that_is_read(bench: Bench) -> None:
    with pytest.raises(DataError, match=r"absent\.csv"):
        tfft.fit(**bench.options, data=str(bench.folder / "absent.csv"))


@shows_in("task")
def _an_unknown_task_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="text_clasification"):
        bench.fit(task="text_clasification")


@shows_in("preset")
def _an_unknown_preset_is_refused(bench: Bench) -> None:
    with pytest.raises(PresetError, match="no_such_preset"):
        bench.fit(preset="no_such_preset")


@shows_in("pretrain_on")
def _names_the_file_that_a_first_run_reads(bench: Bench) -> None:
    with pytest.raises(DataError, match=r"absent\.txt"):
        bench.fit(pretrain_on=str(bench.folder / "absent.txt"))


@shows_in("pretrain_epochs")
def _a_first_run_goes_so_often_over_the_texts(bench: Bench) -> None:
    config = FitConfig(**bench.options, pretrain_on="texts.txt", pretrain_epochs=3)
    assert pretraining_config(config, "runs/a").epochs == 3


@shows_in("sentence_objective")
def _goes_to_the_first_run_and_is_refused_without_one(bench: Bench) -> None:
    config = FitConfig(**bench.options, pretrain_on="texts.txt", sentence_objective="next_sentence")
    assert pretraining_config(config, "runs/a").sentence_objective == "next_sentence"
    with pytest.raises(ConfigError, match=r"sentence_objective has no effect with task='text_classification'"):
        bench.fit(sentence_objective="next_sentence")


@shows_in("output_dir")
def _a_run_directory_is_written(bench: Bench) -> None:
    model = bench.fit(output_dir=str(bench.folder / "run"))
    loaded = tfft.load(bench.folder / "run", quiet=True)
    assert bench.weights(loaded) == bench.weights(model)


@shows_in("overwrite")
def _an_occupied_directory_is_refused_or_not(bench: Bench) -> None:
    bench.file("occupied.csv", bench.table)
    with pytest.raises(ArtifactError):
        bench.fit(output_dir=str(bench.folder))
    with pytest.raises(PresetError):  # it got past the check of the directory
        bench.fit(output_dir=str(bench.folder), overwrite=True, preset="no_such_preset")


@shows_in("text_column")
def _texts_come_from_the_column(bench: Bench) -> None:
    other = bench.table.assign(body=[f"body {row}" for row in range(50)])
    assert all(text.startswith("body") for text in bench.split(other, text_column="body").examples["train"].texts)
    assert set(bench.split(other).examples["train"].texts) <= set(bench.table["text"])


def _tagged(bench: Bench, table: dict[str, Any], **changed: Any) -> SplitData:
    parts = ["train", "train", "validation", "validation", "test", "test"]
    rows = pd.DataFrame({**{name: values * 3 for name, values in table.items()}, "part": parts})
    options = {"task": "token_classification", "split_column": "part", "quality": {"leakage": "off"}, **changed}
    return split_data(FitConfig(**options), Sources(rows), Console(quiet=True))


_TAGGED = {"tokens": [["St", "John"], ["I", "am"]], "tags": [["I-P", "I-P"], ["O", "O"]], "ner": [["O", "B-L"]] * 2}


@shows_in("tokens_column")
def _words_come_from_the_column(bench: Bench) -> None:
    other = {**_TAGGED, "words": [["a", "b"], ["c", "d"]]}
    assert set(_tagged(bench, other, tokens_column="words").examples["train"].texts) == {"a b", "c d"}


@shows_in("tags_column")
def _tags_come_from_the_column(bench: Bench) -> None:
    assert _tagged(bench, _TAGGED).labels == ["O", "B-P", "I-P"]
    assert _tagged(bench, _TAGGED, tags_column="ner").labels == ["O", "B-L", "I-L"]


@shows_in("spans_column")
def _spans_come_from_the_column(bench: Bench) -> None:
    table = {"text": ["St John", "I am"], "where": [[[3, 7, "X"]], []]}
    assert _tagged(bench, table, spans_column="where").labels == ["O", "B-X", "I-X"]


@shows_in("tag_scheme")
def _the_scheme_is_the_one_that_is_named(bench: Bench) -> None:
    assert _tagged(bench, _TAGGED, tag_scheme="plain").labels == ["O", "I-P"]


@shows_in("words")
def _texts_are_cut_as_is_said(bench: Bench) -> None:
    data = _tagged(bench, {"text": ["Rome."] * 2, "at": [[[0, 5, "X"]]] * 2}, spans_column="at", words="whitespace")
    assert data.examples["train"].columns["words"][0] == ["Rome."]
    with pytest.raises(DataError, match=r"cuts 'Rome\.b'"):
        _tagged(bench, {"text": ["a Rome.b"] * 2, "at": [[[2, 7, "X"]]] * 2}, spans_column="at", words="punctuation")


@shows_in("window_overlap")
def _windows_share_what_is_said(bench: Bench) -> None:
    from tfft.backbones.keras_hub import load_text_backbone
    from tfft.tasks.base import tasks

    backbone, task = load_text_backbone(bench.options["preset"]), tasks.get("token_classification")
    rows = {}
    for overlap in (0.0, 0.5):
        config = FitConfig(task="token_classification", window_overlap=overlap)
        data = _tagged(bench, {"tokens": [["film"] * 30] * 2, "tags": [["B-X"] * 30] * 2})
        encoding = task.encoding(backbone, config, data.learned, 12)
        rows[overlap] = encoding.encode(data.examples["test"], Console(quiet=True), what="test").windows[0]
    assert rows == {0.0: 3, 0.5: 5}


@shows_in("head")
def _the_head_is_the_one_that_is_named(bench: Bench) -> None:
    from tfft.tasks.base import tasks

    task = tasks.get("token_classification")
    assert [task.head(FitConfig(task="token_classification", head=name)) for name in (None, "softmax")] == [
        "crf",
        "softmax",
    ]


@shows_in("label_column")
def _labels_come_from_the_column(bench: Bench) -> None:
    other = bench.table.assign(stars=np.arange(50) % 2)
    assert bench.split(other, label_column="stars").labels == ["0", "1"]
    assert bench.split(other).labels == ["bad", "good"]


@shows_in("label_separator")
def _labels_are_what_stands_between(bench: Bench) -> None:
    table = bench.table.assign(label=["plot; cast, music", "plot"] * 25)
    options = {"task": "multi_label_classification", "label_separator": ";"}
    assert bench.split(table, **options).labels == ["cast, music", "plot"]
    assert bench.split(table, task=options["task"]).labels == ["music", "plot", "plot; cast"]


@shows_in("thresholds")
def _labels_are_given_from_it_on(bench: Bench) -> None:
    table = bench.table.assign(label=[[label] for label in bench.table["label"]])
    options = {**bench.options, "task": "multi_label_classification", "thresholds": 0.7}
    model = tfft.fit(table, quiet=True, **options)
    predictions = model.predict(table["text"].tolist())
    given = [{name for name, chance in item.probabilities.items() if chance >= 0.7} for item in predictions]
    assert [set(item.labels) for item in predictions] == given
    assert any(0.5 < chance < 0.7 for item in predictions for chance in item.probabilities.values())


@shows_in("regression_loss")
def _numbers_are_learned_by_it(bench: Bench) -> None:
    table = bench.table.assign(label=np.arange(50) % 7)
    options = {**bench.options, "task": "text_regression"}
    squared, absolute = (tfft.fit(table, quiet=True, **options, regression_loss=loss) for loss in ("mse", "mae"))
    assert bench.weights(squared) != bench.weights(absolute)


def pairs_table() -> pd.DataFrame:
    return tasks.get("pair_classification").sample_data()


def split_pairs(bench: Bench, table: pd.DataFrame, **options: Any) -> SplitData:
    return bench.split(table, task="pair_classification", **options)


@shows_in("first_column")
def _first_texts_come_from_the_column(bench: Bench) -> None:
    data = split_pairs(bench, pairs_table().rename(columns={"sentence1": "premise"}), first_column="premise")
    assert set(data.examples["train"].columns["first"]) <= set(pairs_table()["sentence1"])


@shows_in("second_column")
def _second_texts_come_from_the_column(bench: Bench) -> None:
    data = split_pairs(bench, pairs_table().rename(columns={"sentence2": "claim"}), second_column="claim")
    assert set(data.examples["train"].columns["second"]) <= set(pairs_table()["sentence2"])


@shows_in("similar_label")
def _pairs_of_the_label_are_the_similar_ones(bench: Bench) -> None:
    for label in ("same", "different"):
        options = {"pair_encoder": "bi", "pair_loss": "contrastive", "similar_label": label}
        assert split_pairs(bench, pairs_table(), **options).labels[1] == label


def pair_outputs(bench: Bench, **options: Any) -> tuple[int | None, ...]:
    pairs = {"task": "pair_classification", "preset": bench.options["preset"], "epochs": 1, "baselines": False}
    model = tfft.fit(pairs_table(), quiet=True, **pairs, **options).keras_model
    return len(model.inputs), *model.output.shape


@shows_in("pair_encoder")
def _both_texts_are_inputs_of_their_own(bench: Bench) -> None:
    assert pair_outputs(bench) == (3, None, 2)
    assert pair_outputs(bench, pair_encoder="bi") == (6, None, 2)


@shows_in("pair_loss")
def _the_outputs_are_what_it_compares(bench: Bench) -> None:
    assert pair_outputs(bench, pair_encoder="bi", pair_loss="contrastive") == (6, None, 2, 16)


@shows_in("anchor_column")
@shows_in("positive_column")
@shows_in("negative_column")
def _the_columns_of_triplets_are_read(bench: Bench) -> None:
    table = tasks.get("sentence_similarity").sample_data()
    expected = bench.split(table, task="sentence_similarity").examples["train"]
    for name in ("anchor", "positive", "negative"):
        renamed, option = table.rename(columns={name: "other"}), {f"{name}_column": "other"}
        found = bench.split(renamed, task="sentence_similarity", **option).examples["train"]
        assert (found.texts, found.columns) == (expected.texts, expected.columns)
        with pytest.raises(DataError, match="no column 'other'"):
            bench.split(table, task="sentence_similarity", **option)


@shows_in("encoding")
def _files_are_decoded_with_it(bench: Bench) -> None:
    path = bench.file("latin.csv", bench.table.assign(text=bench.table["text"] + " café"), encoding="latin-1")
    assert all(text.endswith("café") for text in bench.split(path, encoding="latin-1").examples["train"].texts)
    with pytest.raises(DataError, match="undecodable text"):
        bench.split(path)


@shows_in("quality")
def _policies_decide_about_findings(bench: Bench) -> None:
    holed = bench.table.copy()
    holed.loc[4, "text"] = " "
    assert bench.split(holed).record["dropped"]["train"] == {"blank text": [5]}
    with pytest.raises(DataError, match="row 5"):
        bench.split(holed, quality={"missing": "fail"})
    with pytest.raises(ConfigError, match="leakage"):
        bench.split(quality={"leakages": "drop"})


@shows_in("mask_personal_data")
def _addresses_are_masked_when_reading(bench: Bench) -> None:
    table = bench.table.assign(text=bench.table["text"] + " ann@example.com")
    texts = [text for split in bench.split(table, mask_personal_data=True).examples.values() for text in split.texts]
    assert all(text.endswith("<EMAIL_1>") for text in texts)
    assert all(text.endswith("ann@example.com") for text in bench.split(table).examples["train"].texts)


@shows_in("synthetic_data")
def _made_rows_are_trained_on_and_nowhere_else(bench: Bench) -> None:
    path = bench.file("made.csv", pd.DataFrame({"text": ["made up"] * 3, "label": ["bad"] * 3}))
    plain, more = bench.split(), bench.split(synthetic_data=path)
    assert list(more.examples["train"].texts) == [*plain.examples["train"].texts, *["made up"] * 3]
    assert list(more.examples["test"].texts) == list(plain.examples["test"].texts)


@shows_in("split")
def _rows_are_split_as_it_says(bench: Bench) -> None:
    hashed, ranked = (bench.split(split=split).record["rows"]["test"] for split in ("hash", "random"))
    assert len({str(rows) for rows in (hashed, ranked, bench.split().record["rows"]["test"])}) == 3


@shows_in("group_column")
def _groups_are_not_torn(bench: Bench) -> None:
    groups = np.arange(50) // 10
    test = bench.split(bench.table.assign(author=groups), group_column="author").record["rows"]["test"]
    assert len(test) == 10
    assert len({groups[row - 1] for row in test}) == 1


@shows_in("time_column")
def _the_latest_rows_are_the_test_split(bench: Bench) -> None:
    table = bench.table.assign(day=[f"2026-01-{1 + row % 28:02}" for row in range(50)])
    test = bench.split(table, time_column="day").record["rows"]["test"]
    assert {table["day"][row - 1] for row in test} == {f"2026-01-{day}" for day in range(24, 29)}


@shows_in("split_column")
def _the_column_says_the_split(bench: Bench) -> None:
    table = bench.table.assign(part=["dev" if row == 7 else "test" if row < 6 else "train" for row in range(50)])
    assert bench.split(table, split_column="part").record["rows"] == {"validation": [8], "test": [1, 2, 3, 4, 5, 6]}


@shows_in("streaming")
def _rows_are_on_disk(bench: Bench) -> None:
    assert bench.split(streaming=True, split="hash").examples["train"].streamed
    assert not bench.split(split="hash").examples["train"].streamed


@shows_in("cache_dir")
def _streamed_rows_are_kept_there(bench: Bench) -> None:
    data = bench.split(streaming=True, split="hash", cache_dir=str(bench.folder / "cache"))
    assert data.examples["train"].texts.store.directory == bench.folder / "cache"
    assert list((bench.folder / "cache").iterdir()) == []  # the files have no names


@shows_in("validation_data")
def _validation_rows_come_from_the_file(bench: Bench) -> None:
    path = bench.file("validation.csv", pd.DataFrame({"text": ["other", "rows"], "label": ["bad", "good"]}))
    assert bench.split(validation_data=path).examples["validation"].texts == ["other", "rows"]


@shows_in("test_data")
def _test_rows_come_from_the_file(bench: Bench) -> None:
    path = bench.file("test.csv", pd.DataFrame({"text": ["other", "rows"], "label": ["bad", "good"]}))
    assert bench.split(test_data=path).examples["test"].texts == ["other", "rows"]


@shows_in("validation_fraction")
def _the_validation_split_has_its_share(bench: Bench) -> None:
    sizes = [bench.split(validation_fraction=share).record["sizes"].get("validation", 0) for share in (0.0, 0.1, 0.4)]
    assert sizes == [0, 5, 20]


@shows_in("test_fraction")
def _the_test_split_has_its_share(bench: Bench) -> None:
    sizes = [
        bench.split(test_fraction=share, validation_fraction=0.2).record["sizes"].get("test", 0)
        for share in (0.0, 0.1, 0.4)
    ]
    assert sizes == [0, 5, 20]


@shows_in("seed")
def _the_seed_chooses_the_splits(bench: Bench) -> None:
    assert bench.split(seed=1).examples["test"].texts != bench.split().examples["test"].texts


@shows_in("num_buckets")
def _widths_are_as_many(bench: Bench) -> None:
    widths = [bench.fit(num_buckets=most, batching="bucketed").record.plan["widths"] for most in (8, 2)]
    assert [len(found) for found in widths] == [4, 2]


@shows_in("sequence_length")
def _rows_are_cut_to_it(bench: Bench) -> None:
    shorter = bench.fit(sequence_length=8)
    assert max(bench.baseline.record.plan["widths"]) > 8 == max(shorter.record.plan["widths"])
    assert bench.weights(shorter) != bench.weights(bench.baseline)


@shows_in("freeze")
def _the_backbone_changes(bench: Bench) -> None:
    def embeddings(model: tfft.FineTunedModel) -> np.ndarray:
        return next(np.asarray(item) for item in model.keras_model.weights if "token_embedding" in item.path)

    thawed = bench.fit(freeze="none")
    assert not np.array_equal(embeddings(thawed), embeddings(bench.baseline))


@shows_in("epochs")
def _the_history_is_as_long(bench: Bench) -> None:
    assert (len(bench.baseline.history["loss"]), len(bench.fit(epochs=3).history["loss"])) == (1, 3)


@shows_in("batch_size")
def _there_are_as_many_steps(bench: Bench) -> None:
    larger = bench.fit(batch_size=20)
    assert (bench.baseline.record.plan["steps"], larger.record.plan["steps"]) == (5, 3)
    assert bench.weights(larger) != bench.weights(bench.baseline)


@shows_in("monitor")
def _another_epoch_is_the_best(bench: Bench) -> None:
    def best(figures: list[float], pick: Callable[[list[float]], float]) -> int:
        return figures.index(pick(figures)) + 1

    model = bench.fit(monitor="val_accuracy", epochs=4, validation_fraction=0.1)
    by_loss, by_accuracy = best(model.history["val_loss"], min), best(model.history["val_accuracy"], max)
    assert by_loss != by_accuracy, "the run must tell the two figures apart"
    assert model.record.best_epoch == by_accuracy


@shows_in("patience")
def _training_stops_early(bench: Bench) -> None:
    model = bench.fit(patience=2, epochs=30, learning_rate=2.0, schedule="constant", validation_fraction=0.1)
    assert len(model.history["loss"]) == model.record.best_epoch + 2 < 30
    assert model.record.plan["steps"] == 4 * len(model.history["loss"])


@shows_in("baselines")
def _the_report_has_them(bench: Bench) -> None:
    assert not bench.baseline.report.baselines
    assert len(bench.fit(baselines=True).report.baselines) == 2


@shows_in("jit_compile")
def _the_training_step_is_compiled(bench: Bench) -> None:
    assert bench.baseline.record.plan["jit_compile"] is False
    compiled = bench.fit(jit_compile=True)
    assert compiled.record.plan["jit_compile"] is True
    assert compiled._built.head.jit_compile is True, "Keras was asked for XLA, and did not refuse"


@shows_in("layer_decay")
def _lower_layers_move_less(bench: Bench) -> None:
    def moved(model: tfft.FineTunedModel) -> float:
        before = tfft_backbone(bench.options["preset"])
        after = {item.path: np.asarray(item) for item in model.keras_model.weights}
        return float(np.abs(after["token_embedding/embeddings"] - before["token_embedding/embeddings"]).max())

    same, decayed = (bench.fit(freeze="none", learning_rate=1e-3, layer_decay=decay) for decay in (None, 0.1))
    assert moved(decayed) < 0.1 * moved(same)


@shows_in("unfreeze_epochs")
def _layers_wait_for_their_epoch(bench: Bench) -> None:
    model = bench.fit(freeze="none", learning_rate=1e-3, unfreeze_epochs=0.5)
    before = tfft_backbone(bench.options["preset"])
    after = {item.path: np.asarray(item) for item in model.keras_model.weights}
    kept = {path for path in before.keys() & after.keys() if np.array_equal(before[path], after[path])}
    assert "token_embedding/embeddings" in kept, "the embeddings' turn comes after 1.5 epochs"
    assert not any(path.startswith("transformer_layer_1/") and path.endswith("value/kernel") for path in kept)


@shows_in("swa_start")
def _the_ends_of_epochs_are_averaged(bench: Bench) -> None:
    last, mean = (bench.fit(epochs=3, swa_start=start) for start in (None, 0.3))
    assert bench.weights(last) != bench.weights(mean)
    assert last.history["loss"] == mean.history["loss"], "the average is beside the training"


@shows_in("packing")
def _rows_are_packed(bench: Bench) -> None:
    plain, packed = (bench.fit(freeze="none", dropout=0.0, packing=packing) for packing in (False, True))
    assert bench.weights(plain) != bench.weights(packed)


@shows_in("gradient_checkpointing")
def _blocks_are_recomputed(bench: Bench) -> None:
    class Look(keras.callbacks.Callback):
        found = False

        def on_train_begin(self, logs: Any = None) -> None:
            blocks = [layer for layer in self.model._flatten_layers() if type(layer).__name__ == "TransformerEncoder"]
            self.found = any("call" in vars(block) for block in blocks)

    for wanted in (True, False):
        look = Look()
        bench.fit(freeze="none", gradient_checkpointing=wanted, callbacks=[look])
        assert look.found is wanted


@shows_in("strategy")
def _the_run_says_which(bench: Bench) -> None:
    assert bench.baseline.record.plan["strategy"] == "one_device"
    assert bench.fit(strategy="mirrored").record.plan["strategy"] == "mirrored"


class Folders(keras.callbacks.Callback):
    """Notes the checkpoints there are after each step."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.seen: list[int] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # A checkpoint is written beside training: wait for what may be under way.
        time.sleep(0.3)
        self.seen.append(len(list(self.folder.glob("step-*"))))


def questions_of(bench: Bench, renamed: dict[str, str], **changed: Any) -> Any:
    table = tasks.get("question_answering").sample_data().rename(columns=renamed)
    found = bench.split(table, task="question_answering", **changed)
    return found.examples["train"]


SMALL = {"tokenizer": "words", "embedding_dim": 8, "hidden_dim": 8}


def pairs_of(bench: Bench, renamed: dict[str, str], **changed: Any) -> Any:
    table = tasks.get("seq2seq").sample_data().rename(columns=renamed)
    return bench.split(table, task="seq2seq", **changed).examples["train"]


@shows_in("source_column")
@shows_in("target_column")
def _the_columns_of_pairs_are_read(bench: Bench) -> None:
    expected = pairs_of(bench, {})
    for name, column in (("source", "src"), ("target", "trg")):
        option = {f"{name}_column": "other"}
        assert pairs_of(bench, {column: "other"}, **option).columns == expected.columns
        with pytest.raises(DataError, match="no column 'other'"):
            pairs_of(bench, {}, **option)


@shows_in("length_filter")
def _pairs_are_left_out(bench: Bench) -> None:
    table = tasks.get("seq2seq").sample_data()
    table.loc[:9, "trg"] += " by far"
    found = bench.split(table, task="seq2seq", length_filter={"most_target": 3}).examples
    assert sum(map(len, found.values())) == 50
    assert not any("by far" in text for split in found.values() for text in split.columns["target"])


@shows_in("encoder")
@shows_in("decoder")
@shows_in("decoding")
def _sizes_and_searches_are_as_said(bench: Bench) -> None:
    options = {"task": "seq2seq", "preset": "lstm_attention", "epochs": 1, "baselines": False, "quiet": True}
    sizes = {"encoder": SMALL, "decoder": SMALL, "decoding": {"beams": 2, "n_best": 2, "max_length": 3}}
    model = tfft.fit(tasks.get("seq2seq").sample_data(), **options, **sizes)
    shapes = {variable.path: tuple(variable.shape) for variable in model.keras_model.trainable_variables}
    assert {size for path, (*_, size) in shapes.items() if path.endswith("embeddings")} == {8}
    (found,) = model.predict(["the film was dull"])
    assert len(found.alternatives) == 1
    assert len(found.text.split()) <= 3


@shows_in("question_column")
@shows_in("context_column")
@shows_in("answers_column")
def _the_columns_of_questions_are_read(bench: Bench) -> None:
    expected = questions_of(bench, {})
    for name in ("question", "context", "answers"):
        option = {f"{name}_column": "other"}
        found = questions_of(bench, {name: "other"}, **option)
        assert (found.texts, found.columns) == (expected.texts, expected.columns)
        with pytest.raises(DataError, match="no column 'other'"):
            questions_of(bench, {}, **option)


@shows_in("answer_start_column")
def _answers_may_be_in_two_columns(bench: Bench) -> None:
    table = tasks.get("question_answering").sample_data()
    found = table["answers"].map(lambda row: row[0]["answer_start"] if row else None)
    texts = table["answers"].map(lambda row: row[0]["text"] if row else None)
    split = bench.split(
        table.assign(answers=texts, at=found), task="question_answering", answer_start_column="at"
    ).examples["train"]
    assert split.columns == questions_of(bench, {}).columns


@shows_in("max_answer_tokens")
def _the_longest_answer_is_kept_for_decoding(bench: Bench) -> None:
    table = tasks.get("question_answering").sample_data()
    found = bench.split(table, task="question_answering", max_answer_tokens=7)
    assert found.learned.settings["max_answer_tokens"] == 7


def relations_by_place() -> pd.DataFrame:
    """The sample data of relations with columns of places instead of markers."""
    table = tasks.get("relation_extraction").sample_data()
    places = {
        f"{name}_{end}": [
            len(re.sub(r"</?e\d>", "", text[: text.index(f"<{slash}e{number}>")])) for text in table["text"]
        ]
        for number, name in ((1, "head"), (2, "tail"))
        for end, slash in (("start", ""), ("end", "/"))
    }
    return table.assign(text=table["text"].str.replace(r"</?e\d>", "", regex=True), **places)


@shows_in("head_start_column")
@shows_in("head_end_column")
@shows_in("tail_start_column")
@shows_in("tail_end_column")
def _entities_are_where_the_columns_say(bench: Bench) -> None:
    options = {f"{name}_column": name for name in ("head_start", "head_end", "tail_start", "tail_end")}
    table, marked = relations_by_place(), tasks.get("relation_extraction").sample_data()["text"].tolist()

    def texts(source: pd.DataFrame, **changed: Any) -> Any:
        config = FitConfig(task="relation_extraction", **{**options, **changed})
        return read_examples(source, config, Console(quiet=True), labelled=True).examples.texts

    assert texts(table) == marked
    for name in ("head_start", "head_end", "tail_start", "tail_end"):
        other = {f"{name}_column": "other"}
        assert texts(table.rename(columns={name: "other"}), **other) == marked
        with pytest.raises(DataError, match="no column 'other'"):
            texts(table, **other)


@shows_in("negative_label")
def _the_label_that_is_no_relation_is_known_to_the_figures(bench: Bench) -> None:
    table = tasks.get("relation_extraction").sample_data()
    found = bench.split(table, task="relation_extraction", negative_label="no_relation")
    assert found.learned.settings == {"negative_label": "no_relation"}


def checkpoints_seen(bench: Bench, **changed: Any) -> list[int]:
    target = bench.folder / "run"
    watch = Folders(bench.folder / "run.checkpoints")
    bench.fit(output_dir=str(target), overwrite=True, callbacks=[watch], **changed)
    assert not watch.folder.exists(), "a finished run needs none"
    return watch.seen


@shows_in("checkpoint_steps")
def _checkpoints_are_written_by_steps(bench: Bench) -> None:
    assert checkpoints_seen(bench, checkpoint_steps=2) == [0, 0, 1, 1, 2]


@shows_in("checkpoint_minutes")
def _checkpoints_are_written_by_the_clock(bench: Bench) -> None:
    assert checkpoints_seen(bench, checkpoint_minutes=1e-6) == [0, 1, 2, 2, 2]
    assert checkpoints_seen(bench) == [0] * 5


@shows_in("keep_checkpoints")
def _so_many_are_kept(bench: Bench) -> None:
    assert checkpoints_seen(bench, checkpoint_steps=1, keep_checkpoints=1) == [0, 1, 1, 1, 1]


@shows_in("resume")
def _a_finished_run_is_loaded(bench: Bench) -> None:
    target = str(bench.folder / "run")
    model = bench.fit(output_dir=target)
    with pytest.raises(ArtifactError, match="not empty"):
        bench.fit(output_dir=target)
    assert bench.weights(bench.fit(output_dir=target, resume=True)) == bench.weights(model)


@shows_in("log_to")
def _figures_are_logged(bench: Bench) -> None:
    bench.fit(output_dir=str(bench.folder / "run"), log_to=["csv"])
    assert "loss" in (bench.folder / "run.logs" / "history.csv").read_text("utf-8")


def tfft_backbone(preset: str) -> dict[str, np.ndarray]:
    return {item.path: np.asarray(item) for item in keras_hub.models.Backbone.from_preset(preset).weights}


def test_every_option_is_checked() -> None:
    assert {*IN_THE_WEIGHTS, *ELSEWHERE} == {field.name for field in dataclasses.fields(FitConfig)}


def test_what_is_not_changed_changes_nothing(bench: Bench) -> None:
    assert bench.weights(bench.fit()) == bench.weights(bench.baseline)


@pytest.mark.parametrize(("name", "value"), IN_THE_WEIGHTS.items())
def test_changing_it_changes_the_weights(bench: Bench, name: str, value: Any) -> None:
    assert bench.weights(bench.fit(**{name: value})) != bench.weights(bench.baseline)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_changing_it_shows(bench: Bench, name: str) -> None:
    ELSEWHERE[name](bench)
