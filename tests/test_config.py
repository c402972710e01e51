"""The options: strict types, all mistakes at once, and the same values from Python, YAML and a shell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tfft.config import FitConfig, option_names
from tfft.config_text import parse_option, read_config_file
from tfft.core.errors import ConfigError

#: Values other than the default, which go together.
OTHER: dict[str, Any] = {
    "data": "reviews.csv",
    "task": "text_classification",
    "preset": "bert_tiny_en_uncased",
    "pretrain_on": "corpus.txt",
    "pretrain_epochs": 2,
    "sentence_objective": "sentence_order",
    "output_dir": "runs/a",
    "overwrite": True,
    "text_column": "review",
    "label_column": "stars",
    "label_separator": ";",
    "tokens_column": "words",
    "tags_column": "ner",
    "spans_column": "entities",
    "tag_scheme": "bioes",
    "words": "characters",
    "window_overlap": 0.5,
    "source_column": "english",
    "target_column": "spanish",
    "length_filter": {"most_source": 25, "most_ratio": 2.5},
    "decoder": {"hidden_dim": 64, "embedding_dim": 64},
    "decoding": {"beams": 6, "n_best": 2},
    "question_column": "asked",
    "context_column": "passage",
    "answers_column": "answer_text",
    "answer_start_column": "answer_start",
    "max_answer_tokens": 12,
    "head_start_column": "subj_start",
    "head_end_column": "subj_end",
    "tail_start_column": "obj_start",
    "tail_end_column": "obj_end",
    "negative_label": "no_relation",
    "head": "softmax",
    "first_column": "premise",
    "second_column": "hypothesis",
    "similar_label": "entailment",
    "pair_encoder": "bi",
    "pair_loss": "contrastive",
    "anchor_column": "query",
    "positive_column": "hit",
    "negative_column": "miss",
    "encoding": "latin-1",
    "quality": {"leakage": "report", "missing": "drop", "near_duplicates": "off"},
    "mask_personal_data": True,
    "validation_data": "validation.csv",
    "test_fraction": 0.25,
    "split": "grouped",
    "group_column": "author",
    "streaming": True,
    "cache_dir": "cache",
    "sequence_length": 64,
    "num_buckets": 3,
    "freeze": "backbone",
    "pooling": "first",
    "dropout": 0.0,
    "epochs": 7,
    "batch_size": 5,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup_fraction": 0.5,
    "weight_decay": 0.0,
    "clip_norm": None,
    "resample": "oversample",
    "augment": {"random_swap": 0.3, "span_masking": {"probability": 0.2, "rate": 0.1}},
    "label_smoothing": 0.2,
    "class_weights": {"pos": 2.0, "neg": 1.0},
    "monitor": "val_macro_f1",
    "patience": 2,
    "baselines": False,
    "seed": 42,
    "jit_compile": True,
    "strategy": "mirrored",
    "precision": "mixed_bfloat16",
    "micro_batch_size": 2,
    "batching": "bucketed",
    "clip_value": 0.5,
    "gradient_noise": 0.01,
    "l2": 0.001,
    "optimizer": "sgd",
    "optimizer_options": {"momentum": 0.9, "nesterov": True},
    "learning_rates": {"head": 1e-2},
    "ema": 0.99,
    "regression_loss": "huber",
    "thresholds": 0.25,
    "focal_gamma": 2.0,
    "r_drop": 0.0,
    "resume": True,
    "checkpoint_steps": 100,
    "checkpoint_minutes": None,
    "keep_checkpoints": 3,
    "log_to": ["csv", "tensorboard"],
}
#: The options that contradict one of those.
ELSE: list[dict[str, Any]] = [
    {
        "task": "text_classification",
        "test_data": "test.csv",
        "validation_fraction": 0.25,
        "synthetic_data": "made.csv",
        "time_column": "when",
        "split": "time",
    },
    {"task": "text_classification", "split_column": "part", "split": "predefined", "streaming": False},
    {"task": "text_classification", "peft": {"method": "lora", "rank": 4}, "quantize_base": "int8"},
    {"task": "text_classification", "train_layers": "last:2"},
    {
        "task": "text_classification",
        "layer_decay": 0.9,
        "unfreeze_epochs": 0.5,
        "swa_start": 0.5,
        "r_drop": 1.0,
        "gradient_checkpointing": True,
        "packing": True,
    },
    {"task": "seq2seq", "preset": "lstm_attention", "encoder": {"layers": 2}},
    {"task": "multi_task", "tasks": ["text_classification", {"task": "token_classification", "weight": 0.5}]},
]
EVERYTHING = [OTHER, *ELSE]
EVERYTHING_NAMES = ["other", "test data", "split column", "peft", "train_layers", "layers", "encoder", "tasks"]


def problems(**options: Any) -> list[str]:
    """Returns the lines of the error that the options give."""
    with pytest.raises(ConfigError) as caught:
        FitConfig.from_mapping(options)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ema": 0.9, "swa_start": 0.5}, "ema and swa_start"),
        ({"pretrain_epochs": 2}, "pretrain_epochs"),
        ({"pretrain_on": "a.txt", "preset": "bilstm"}, "pretrain_on"),
        ({"freeze": "backbone", "layer_decay": 0.9}, "layer_decay"),
        ({"peft": "head", "layer_decay": 0.9}, "layer_decay"),
        ({"peft": "lora", "freeze": "backbone"}, "peft, train_layers and freeze"),
        ({"peft": "lora", "train_layers": "last:2"}, "peft, train_layers and freeze"),
        ({"peft": {"rank": 4}}, "names no method"),
        ({"quantize_base": "int8"}, "quantize_base"),
        ({"quantize_base": "int8", "train_layers": "last:2"}, "quantize_base"),
        ({"freeze": "backbone", "unfreeze_epochs": 1.0}, "unfreeze_epochs"),
        ({"freeze": "backbone", "gradient_checkpointing": True}, "gradient_checkpointing"),
        ({"freeze": "backbone", "r_drop": 1.0, "dropout": 0.0}, "r_drop"),
        ({"freeze": "backbone", "packing": True}, "packing"),
        ({"packing": True, "batching": "sorted"}, "batching='sorted'"),
        ({"packing": True, "augment": {"random_swap": 0.5}}, "packing"),
        ({"packing": True, "micro_batch_size": 4}, "micro_batch_size"),
        ({"micro_batch_size": 64}, "batch_size=32"),
        ({"resume": True}, "resume needs output_dir"),
        ({"checkpoint_steps": 5}, "checkpoint_steps needs output_dir"),
        ({"log_to": ["csv"]}, "log_to needs output_dir"),
    ],
)
def test_options_of_the_engine_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    (line,) = problems(task="text_classification", **options)
    assert words in line


def test_unknown_names_and_bad_values_are_reported_at_once() -> None:
    found = problems(task=3, epochs="3", batch_size=0, freeze="head", epoch=2, lerning_rate=1.0)
    assert len(found) == 6
    for line, (start, *rest) in zip(
        sorted(found),
        [
            ("The option batch_size should be", "received 0."),
            ("The option epochs should be", "integer", "received '3'."),
            ("The option freeze should be", "'none' or 'backbone'", "received 'head'."),
            ("The option task should be", "string", "received 3."),
            ("Unknown option 'epoch'.", "Did you mean 'epochs'?"),
            ("Unknown option 'lerning_rate'.", "Did you mean 'learning_rate'?"),
        ],
        strict=True,
    ):
        assert line.startswith(start)
        assert all(part in line for part in rest), line


def test_all_contradictions_are_reported_at_once_with_unknown_names() -> None:
    found = problems(
        text_column="a", label_column="a", validation_fraction=0.6, test_fraction=0.4, overwrite=True, sede=1
    )
    words = ["task is missing", "must differ", "must be below 1", "overwrite needs output_dir", "Did you mean 'seed'?"]
    assert len(found) == len(words)
    assert all(any(word in line for line in found) for word in words)


def test_contradictions_are_reported_together_with_wrong_types() -> None:
    found = problems(epochs="3", text_column="a", label_column="a")
    assert len(found) == 3
    assert all(any(word in line for line in found) for word in ("epochs", "task is missing", "must differ"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patience": 2, "validation_fraction": 0.0}, "patience needs a validation split"),
        ({"test_fraction": 0.0, "validation_fraction": 0.0}, "Neither a validation nor a test split"),
        ({"overwrite": True}, "overwrite needs output_dir"),
        ({"text_column": "label"}, "text_column and label_column are both 'label'"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "nothing is left to train on"),
        ({"split": "grouped"}, "split='grouped' needs group_column."),
        ({"split": "time"}, "split='time' needs time_column."),
        ({"split": "predefined"}, "split='predefined' needs split_column."),
        ({"group_column": "a", "time_column": "b"}, "group_column and time_column each decide the split"),
        ({"time_column": "a", "split_column": "b"}, "time_column and split_column each decide the split"),
        ({"split": "stratified", "group_column": "a"}, "split='stratified' does not use group_column"),
        ({"split": "random", "time_column": "a"}, "split='random' does not use time_column"),
        ({"split": "hash", "split_column": "a"}, "split='hash' does not use split_column"),
        ({"group_column": "text"}, "split column 'text' is the text or label column"),
        ({"time_column": "label"}, "split column 'label' is the text or label column"),
        ({"streaming": True, "split": "stratified"}, "split='stratified' needs all rows in memory"),
        ({"streaming": True, "split": "random"}, "split='random' needs all rows in memory"),
        ({"streaming": True, "synthetic_data": "made.csv"}, "synthetic_data"),
        ({"streaming": False, "cache_dir": "cache"}, "cache_dir is for streamed rows"),
        ({"split": "stratified", "cache_dir": "cache"}, "cache_dir is for streamed rows"),
        ({"resample": "oversample", "class_weights": "balanced"}, "resample and class_weights='balanced' both"),
        ({"resample": "undersample", "class_weights": "balanced"}, "resample and class_weights='balanced' both"),
    ],
)
def test_contradiction_is_named(options: dict[str, Any], words: str) -> None:
    (line,) = problems(task="text_classification", **options)
    assert words in line


@pytest.mark.parametrize("options", [{"group_column": "a"}, {"time_column": "a"}, {"split": "hash"}])
def test_a_way_to_split_what_is_split_already_is_refused(options: dict[str, Any]) -> None:
    (line,) = problems(task="t", validation_data="validation.csv", test_data="test.csv", **options)
    assert all(name in line for name in ("validation_data", "test_data", *options))


@pytest.mark.parametrize(
    "options",
    [
        {"split": "grouped", "group_column": "a"},
        {"streaming": True},
        {"streaming": True, "split": "hash", "cache_dir": "cache"},
        {"streaming": True, "time_column": "a"},
        {"streaming": "auto", "split": "stratified"},
        {"cache_dir": "cache"},
        {"resample": "oversample", "class_weights": {"pos": 2.0}},
        {"synthetic_data": "made.csv", "split": "stratified"},
        {"group_column": "a", "test_data": "test.csv"},
        {"quality": {}, "augment": {}},
    ],
)
def test_options_that_go_together_are_taken(options: dict[str, Any]) -> None:
    config = FitConfig.from_mapping({"task": "t", **options})
    assert {name: getattr(config, name) for name in options} == options


@pytest.mark.parametrize("options", [{}, {"patience": 2}, {"monitor": "val_accuracy"}])
def test_a_split_column_may_hold_all_the_splits_so_that_no_fraction_is_needed(options: dict[str, Any]) -> None:
    fractions = {"validation_fraction": 0.0, "test_fraction": 0.0}
    assert FitConfig.from_mapping({"task": "t", "split_column": "part", **fractions, **options}).key_column == "part"


@pytest.mark.parametrize(
    ("options", "method", "column"),
    [
        ({}, "stratified", None),
        ({"split": "random"}, "random", None),
        ({"split": "hash"}, "hash", None),
        ({"group_column": "a"}, "grouped", "a"),
        ({"time_column": "b"}, "time", "b"),
        ({"split_column": "c"}, "predefined", "c"),
        ({"split": "time", "time_column": "b"}, "time", "b"),
    ],
)
def test_the_column_that_is_named_decides_how_rows_are_split(
    options: dict[str, Any], method: str, column: str | None
) -> None:
    config = FitConfig.from_mapping({"task": "t", **options})
    assert (config.split_method, config.key_column) == (method, column)


@pytest.mark.parametrize("file", ["validation_data", "test_data"])
def test_a_file_stands_for_the_fraction_of_its_split(file: str) -> None:
    options = {"validation_fraction": 0.0, "test_fraction": 0.0, file: "held_out.csv"}
    assert FitConfig.from_mapping({"task": "t", **options}).has_validation == (file == "validation_data")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "3"),
        ("epochs", True),
        ("epochs", 2.0),
        ("epochs", None),
        ("learning_rate", "1e-4"),
        ("learning_rate", True),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("validation_fraction", 1.0),
        ("dropout", -0.1),
        ("baselines", 1),
        ("baselines", "true"),
        ("text_column", 1),
        ("freeze", "Backbone"),
        ("regression_loss", "rmse"),
        ("thresholds", "best"),
        ("thresholds", 1.0),
        ("thresholds", True),
        ("label_separator", ""),
        ("class_weights", "equal"),
        ("class_weights", {"pos": -1.0}),
        ("class_weights", {"pos": float("inf")}),
        ("jit_compile", "on"),
        ("jit_compile", 1),
        ("sequence_length", 2),
        ("seed", -1),
        ("seed", 2**31),
        ("quality", "drop"),
        ("quality", {"leakage": "ignore"}),
        ("quality", {"leakage": None}),
        ("mask_personal_data", "yes"),
        ("synthetic_data", ["a.csv"]),
        ("split", "Grouped"),
        ("group_column", 3),
        ("time_column", ""),
        ("split_column", ["a"]),
        ("streaming", 1),
        ("streaming", "yes"),
        ("cache_dir", ""),
        ("resample", True),
        ("augment", "random_swap"),
        ("augment", ["random_swap"]),
        ("augment", {"random_swap": 0.0}),
        ("augment", {"random_swap": 1.5}),
        ("augment", {"random_swap": True}),
        ("augment", {"random_swap": "0.5"}),
        ("augment", {"random_swap": float("nan")}),
    ],
)
def test_value_of_the_wrong_type_or_range_is_refused_and_shown(name: str, value: Any) -> None:
    (line,) = problems(**{"task": "text_classification", name: value})
    assert line.startswith(f"The option {name} should be ")
    assert line.endswith(f"; received {value!r}.")


@pytest.mark.parametrize("value", [pd.DataFrame({"text": ["a", "b"]}), (letter for letter in "ab")])
def test_any_object_in_the_wrong_place_gives_one_line(value: object) -> None:
    (line,) = problems(task="text_classification", validation_data=value)
    assert line.startswith("The option validation_data should be ")


def test_integers_stand_for_floats() -> None:
    config = FitConfig(task="t", learning_rate=1, class_weights={"pos": 2}, validation_fraction=0)
    assert (config.learning_rate, config.class_weights, config.has_validation) == (1, {"pos": 2}, False)


def test_paths_and_numeric_labels_become_text() -> None:
    config = FitConfig(task="t", output_dir=Path("runs/a"), class_weights={0: 1.0, 1: 2.5})  # type: ignore[arg-type, dict-item]
    assert config.output_dir == str(Path("runs/a"))
    assert config.class_weights == {"0": 1.0, "1": 2.5}
    assert FitConfig(task="t", class_weights=parse_option("class_weights", "{0: 1, 1: 2.5}")) == FitConfig(
        task="t", class_weights=config.class_weights
    )


def test_every_option_has_another_value_here_than_its_default() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(FitConfig)}
    changed = {name for options in EVERYTHING for name, value in options.items() if value != defaults[name]}
    assert sorted(changed) == sorted(option_names())


@pytest.mark.parametrize("options", EVERYTHING, ids=EVERYTHING_NAMES)
def test_every_option_survives_a_round_trip_through_plain_data(options: dict[str, Any]) -> None:
    config = FitConfig.from_mapping(options)
    plain = config.to_dict()
    assert {name: plain[name] for name in options} == options
    assert sorted(plain) == sorted(option_names())
    assert FitConfig.from_mapping(plain) == config != FitConfig(task="text_classification")


def test_plain_data_is_a_copy() -> None:
    config = FitConfig.from_mapping(OTHER)
    plain = config.to_dict()
    plain["class_weights"]["pos"] = 99.0
    plain["quality"]["leakage"] = "off"
    plain["augment"]["span_masking"]["rate"] = 1.0
    assert config.class_weights == {"pos": 2.0, "neg": 1.0}
    assert config.quality == {"leakage": "report", "missing": "drop", "near_duplicates": "off"}
    assert config.augment == {"random_swap": 0.3, "span_masking": {"probability": 0.2, "rate": 0.1}}


@pytest.mark.parametrize("options", EVERYTHING, ids=EVERYTHING_NAMES)
def test_every_option_survives_a_config_file(tmp_path: Path, options: dict[str, Any]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(options, sort_keys=False), "utf-8")
    read = read_config_file(str(file))
    assert read == options
    assert FitConfig.from_mapping(read) == FitConfig.from_mapping(options)


def test_augmentations_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("task: t\naugment:\n  span_masking: 0.1\n  random_swap: 1\n  gain: {probability: 0.5}\n", "utf-8")
    augment = FitConfig.from_mapping(read_config_file(str(file))).to_dict()["augment"]
    assert list(augment.items()) == [("span_masking", 0.1), ("random_swap", 1), ("gain", {"probability": 0.5})]


def test_config_is_frozen() -> None:
    config = FitConfig(task="t")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        FitConfig("data.csv")  # type: ignore[call-arg]


def test_every_option_explains_itself() -> None:
    helps = [field.metadata["help"] for field in dataclasses.fields(FitConfig)]
    assert all(text.endswith(".") and len(text) > 20 for text in helps)
    assert len(set(helps)) == len(helps)


@pytest.mark.parametrize(
    ("options", "rate"),
    [({}, 5e-5), ({"freeze": "backbone"}, 1e-3), ({"freeze": "backbone", "learning_rate": 0.5}, 0.5)],
)
def test_peak_learning_rate_depends_on_what_is_frozen(options: dict[str, Any], rate: float) -> None:
    assert FitConfig(task="t", **options).peak_learning_rate == rate


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "2", 2),
        ("learning_rate", "1e-4", 1e-4),
        ("learning_rate", "3", 3.0),
        ("learning_rate", "null", None),
        ("class_weights", "{pos: 2, neg: 1e-1}", {"pos": 2, "neg": 0.1}),
        ("class_weights", "balanced", "balanced"),
        ("jit_compile", "true", True),
        ("jit_compile", "false", False),
        ("jit_compile", "auto", "auto"),
        ("baselines", "no", False),
        ("preset", "null", None),
        ("preset", "hf://google/bert", "hf://google/bert"),
        ("text_column", "1", "1"),
        ("text_column", "1e5", "1e5"),
        ("text_column", "yes", "yes"),
        ("text_column", "null", "null"),
        ("text_column", "a: b", "a: b"),
        ("text_column", "[a", "[a"),
        ("text_column", "review #1", "review #1"),
        ("output_dir", "#1", "#1"),
        ("output_dir", "2024-01-02", "2024-01-02"),
        ("output_dir", "2024-13-45", "2024-13-45"),
        ("quality", "{missing: drop, leakage: report}", {"missing": "drop", "leakage": "report"}),
        ("augment", "{random_swap: 0.3}", {"random_swap": 0.3}),
        ("augment", "{random_swap: 1, span_masking: {rate: 1e-1}}", {"random_swap": 1, "span_masking": {"rate": 0.1}}),
        ("mask_personal_data", "true", True),
        ("streaming", "auto", "auto"),
        ("streaming", "yes", True),
        ("split", "hash", "hash"),
        ("resample", "none", "none"),
        ("group_column", "no", "no"),
        ("time_column", "2024", "2024"),
        ("cache_dir", "null", None),
        ("synthetic_data", "made*.csv", "made*.csv"),
    ],
)
def test_shell_text_becomes_the_value_that_fits_the_option(name: str, text: str, value: Any) -> None:
    found = parse_option(name, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["three", "2.5", "0x_", "{a: b}"])
def test_shell_text_that_fits_nothing_is_refused_by_the_config(text: str) -> None:
    (line,) = problems(task="t", epochs=parse_option("epochs", text))
    assert line.startswith("The option epochs should be a valid integer; received ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"epochs: [1", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"output_dir: 2024-13-45", "is not valid YAML"),
        (b"- epochs\n- 3\n", "holds no mapping"),
        (b"", "holds no mapping"),
        (b"just text", "holds no mapping"),
    ],
)
def test_config_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_config_file(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file"):
        read_config_file(str(tmp_path / "none.yaml"))


def test_config_file_is_read_as_people_write_it(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("\ufefflearning_rate: 1e-4\nweight_decay: 1.5E-2\nencoding: 1e-4x\n1: x\n", "utf-8")
    assert read_config_file(str(file)) == {
        "learning_rate": 0.0001,
        "weight_decay": 0.015,
        "encoding": "1e-4x",
        "1": "x",
    }


def test_off_is_a_word_in_a_config_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("task: t\nquality:\n  leakage: off\n  missing: drop\n", "utf-8")
    assert FitConfig.from_mapping(read_config_file(str(file))).quality == {"leakage": "off", "missing": "drop"}


def test_off_is_a_word_in_a_shell() -> None:
    config = FitConfig.from_mapping({"task": "t", "quality": parse_option("quality", "{leakage: off}")})
    assert config.quality == {"leakage": "off"}


def test_a_monitor_needs_a_validation_split() -> None:
    with pytest.raises(ConfigError, match="monitor='val_accuracy' needs a validation split"):
        FitConfig(task="text_classification", monitor="val_accuracy", validation_fraction=0.0)
