"""The options of a fine-tuning run: one frozen dataclass is the only source of every default."""

from __future__ import annotations

import dataclasses
import functools
import os
import textwrap
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from tfft.core.errors import ConfigError, unknown_name

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Name = Annotated[str, Field(min_length=1)]

#: Ways to split by a column, and the option that names it.
SPLIT_COLUMNS = {"grouped": "group_column", "time": "time_column", "predefined": "split_column"}
#: Longest piece of a wrong value that a message repeats.
MOST_CHARACTERS = 80


def _option(default: Any, description: str) -> Any:
    """Declares an option with its default and its help text (unit and meaning)."""
    return dataclasses.field(default=default, metadata={"help": description})


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Everything that decides a fine-tuning run, apart from the data itself.

    The same fields are the keyword arguments of `tfft.fit`, the options of `tfft fit` and the keys of a config file.

    Example:
        >>> FitConfig(task="text_classification", epochs=2).batch_size
        32
    """

    data: Name | None = _option(
        None, "Training data: a file, a pattern, a folder, tfds:name. In-memory data is described here, not stored."
    )
    task: Name | None = _option(None, "What to learn, for instance text_classification. Required.")
    preset: Name | None = _option(
        None,
        "Pretrained backbone: a KerasHub preset or handle, a directory, an earlier run, or a name that tfft knows.",
    )
    output_dir: Name | None = _option(None, "Run directory to create. None keeps the model in memory only.")
    overwrite: bool = _option(False, "Replace output_dir when it exists; the old one stays until the new one is whole.")

    text_column: Name = _option("text", "Column that holds the text.")
    label_column: Name = _option("label", "Column that holds the label.")
    encoding: Name = _option("utf-8", "Character encoding of text files.")
    quality: dict[str, Literal["report", "drop", "fail", "off"]] | None = _option(
        None, "Policy of single data checks, by name. None: leakage and undecodable bytes fail, the rest is reported."
    )
    mask_personal_data: bool = _option(
        False,
        "Replace e-mail addresses, phone, card and account numbers and IP addresses by placeholders when reading.",
    )

    validation_data: Name | None = _option(None, "Validation split as data of its own, instead of a fraction.")
    test_data: Name | None = _option(None, "Test split as data of its own, instead of a fraction.")
    synthetic_data: Name | None = _option(None, "More training rows, for instance made ones; never in another split.")
    validation_fraction: Fraction = _option(0.1, "Share of the rows for validation.")
    test_fraction: Fraction = _option(0.1, "Share of the rows for the test split.")
    split: Literal["auto", "stratified", "random", "grouped", "time", "hash", "predefined"] = _option(
        "auto",
        "How rows are split. auto: by the group, time or split column if one is named, by hash when streamed, else "
        "stratified by label.",
    )
    group_column: Name | None = _option(None, "Column whose values are never in two splits, such as an author.")
    time_column: Name | None = _option(None, "Column of times: the latest rows are the test split.")
    split_column: Name | None = _option(None, "Column that says train, validation or test.")
    streaming: Literal["auto"] | bool = _option(
        "auto", "Keep rows and tokens on disk instead of in memory. auto: when the files exceed 1 GiB."
    )
    cache_dir: Name | None = _option(None, "Where streamed rows are kept during a run. None: the temporary directory.")

    sequence_length: Annotated[int, Field(ge=3)] | None = _option(
        None, "Longest row in tokens; longer ones are truncated and counted. None: what the backbone takes, or 512."
    )
    num_buckets: Annotated[int, Field(ge=1, le=64)] = _option(8, "Most widths (tokens) that batches are padded to.")

    freeze: Literal["none", "backbone"] = _option(
        "none", "Layers that are not trained. backbone: train the head alone, on features computed once."
    )
    pooling: Literal["mean", "first"] = _option(
        "mean", "From token features to one vector: masked mean, or first token."
    )
    dropout: Fraction = _option(0.1, "Dropout rate before the head's output layer.")

    epochs: Annotated[int, Field(ge=1)] = _option(3, "Passes over the training split.")
    batch_size: Annotated[int, Field(ge=1)] = _option(32, "Rows per optimizer step.")
    learning_rate: Annotated[float, Field(gt=0.0)] | None = _option(
        None, "Peak learning rate. None: 5e-5, or 1e-3 when the backbone is frozen."
    )
    schedule: Literal["linear", "cosine", "constant"] = _option("linear", "Shape of the decay after the warm-up.")
    warmup_fraction: Fraction = _option(
        0.1, "Share of all steps in which the learning rate rises linearly to its peak."
    )
    weight_decay: Annotated[float, Field(ge=0.0)] = _option(
        0.01, "Decoupled weight decay (AdamW); never on biases and normalisation."
    )
    clip_norm: Annotated[float, Field(gt=0.0)] | None = _option(1.0, "Largest global gradient norm. None: no clipping.")
    resample: Literal["none", "oversample", "undersample"] = _option(
        "none", "Balance the classes in each epoch: repeat rows of rare ones, or leave out rows of frequent ones."
    )
    augment: dict[str, Annotated[float, Field(gt=0.0, le=1.0)] | dict[str, Any]] | None = _option(
        None, "Augmentations of training rows, in order: name to probability, or to the augmentation's options."
    )
    label_smoothing: Fraction = _option(0.0, "Share of the target probability that is spread over all classes.")
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0.0)]] | None = _option(
        None, "Weight of each class in the training loss: balanced, or label to weight."
    )
    monitor: Literal["val_loss", "val_accuracy", "val_macro_f1"] = _option(
        "val_loss", "Validation figure that chooses the epoch whose weights are kept."
    )
    patience: Annotated[int, Field(ge=1)] | None = _option(
        None, "Stop after so many epochs without a better monitor. None: train all epochs."
    )

    baselines: bool = _option(True, "Compare with majority class and TF-IDF + logistic regression in the report.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = _option(0, "Fixes splits, data order, initialisation and dropout.")
    jit_compile: Literal["auto"] | bool = _option("auto", "Compile the training step with XLA. auto: on a GPU only.")

    def __post_init__(self) -> None:
        """Validates every field and every combination, and reports all mistakes at once.

        Raises:
            ConfigError: With one line for each mistake.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, field.name, os.fspath(value))
        if isinstance(self.class_weights, dict):  # YAML reads the label 1 as a number
            object.__setattr__(
                self, "class_weights", {str(label): weight for label, weight in self.class_weights.items()}
            )
        quality: Any = self.quality
        if isinstance(quality, dict):  # YAML reads the word off as false
            policies = {name: "off" if policy is False else policy for name, policy in quality.items()}
            object.__setattr__(self, "quality", policies)
        wrong = _type_problems({name: getattr(self, name) for name in option_names()})
        problems = [*wrong.values(), *self._contradictions(set(wrong))]
        if problems:
            raise ConfigError("\n".join(problems))

    def _contradictions(self, wrong: set[str]) -> list[str]:
        """Checks the rules between options, as far as the options they look at are of the right type."""
        rules: list[tuple[set[str], Callable[[], bool], str]] = [
            (
                {"task"},
                lambda: self.task is None,
                "The option task is missing; pass for instance task='text_classification'.",
            ),
            (
                {"text_column", "label_column"},
                lambda: self.text_column == self.label_column,
                f"text_column and label_column are both {self.text_column!r}; they must differ.",
            ),
            (
                {"validation_fraction", "test_fraction", "validation_data", "test_data"},
                lambda: self.validation_share + self.test_share >= 1.0,
                "validation_fraction + test_fraction must be below 1, or nothing is left to train on.",
            ),
            (
                {"patience", "validation_fraction", "validation_data"},
                lambda: self.patience is not None and not self.has_validation,
                "patience needs a validation split; set validation_fraction or validation_data.",
            ),
            (
                {"monitor", "validation_fraction", "validation_data"},
                lambda: self.monitor != "val_loss" and not self.has_validation,
                f"monitor={self.monitor!r} needs a validation split; set validation_fraction or validation_data.",
            ),
            (
                {"validation_fraction", "test_fraction", "validation_data", "test_data"},
                lambda: not self.has_validation and self.test_data is None and not self.test_fraction,
                "Neither a validation nor a test split is left; set one of the fractions above 0.",
            ),
            *self._split_rules(),
            (
                {"overwrite", "output_dir"},
                lambda: self.overwrite and self.output_dir is None,
                "overwrite needs output_dir.",
            ),
        ]
        return [message for fields, broken, message in rules if not fields & wrong and broken()]

    def _split_rules(self) -> list[tuple[set[str], Callable[[], bool], str]]:
        named = [name for name in SPLIT_COLUMNS.values() if getattr(self, name) is not None]
        needed = SPLIT_COLUMNS.get(self.split) if isinstance(self.split, str) else None
        columns = {"split", *SPLIT_COLUMNS.values()}
        return [
            (columns, lambda: len(named) > 1, f"{' and '.join(named)} each decide the split; name one."),
            (
                columns,
                lambda: needed is not None and getattr(self, needed) is None,
                f"split={self.split!r} needs {needed}.",
            ),
            (
                columns,
                lambda: self.split != "auto" and any(name != needed for name in named),
                f"split={self.split!r} does not use {' and '.join(named)}; leave split on 'auto', or the column out.",
            ),
            (
                {*columns, "text_column", "label_column"},
                lambda: self.key_column in (self.text_column, self.label_column),
                f"The split column {self.key_column!r} is the text or label column; it must be another.",
            ),
            (
                {"split", "streaming"},
                lambda: self.streaming is True and self.split in ("stratified", "random"),
                f"split={self.split!r} needs all rows in memory; streamed ones are split by hash, group, time, column.",
            ),
            (
                {"cache_dir", "streaming", "split"},
                lambda: self.cache_dir is not None and not self._may_stream,
                "cache_dir is for streamed rows, but streaming is off.",
            ),
            (
                {"synthetic_data", "streaming"},
                lambda: self.synthetic_data is not None and self.streaming is True,
                "synthetic_data cannot be streamed; set streaming=False, or add its rows to the data.",
            ),
            (
                {*columns, "validation_data", "test_data"},
                lambda: None not in (self.validation_data, self.test_data) and (bool(named) or self.split != "auto"),
                f"validation_data and test_data are given, so that {named[0] if named else 'split'} has no effect; "
                "leave it out.",
            ),
            (
                {"resample", "class_weights"},
                lambda: self.resample != "none" and self.class_weights == "balanced",
                "resample and class_weights='balanced' both balance the classes; choose one.",
            ),
        ]

    @property
    def _may_stream(self) -> bool:
        if isinstance(self.streaming, bool):
            return self.streaming
        return self.split not in ("stratified", "random")

    @property
    def key_column(self) -> str | None:
        """The column that decides the split of a row; None when none does."""
        return self.group_column or self.time_column or self.split_column

    @property
    def split_method(self) -> str:
        """How rows in memory are split, with "auto" resolved."""
        if self.split != "auto":
            return self.split
        named = [method for method, name in SPLIT_COLUMNS.items() if getattr(self, name) is not None]
        return named[0] if named else "stratified"

    @property
    def validation_share(self) -> float:
        """The share of the rows that goes to validation: none when validation has a file of its own."""
        return 0.0 if self.validation_data is not None else self.validation_fraction

    @property
    def test_share(self) -> float:
        """The share of the rows that goes to the test split: none when it has a file of its own."""
        return 0.0 if self.test_data is not None else self.test_fraction

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation split."""
        return self.validation_data is not None or self.validation_fraction > 0 or self.split_method == "predefined"

    @property
    def peak_learning_rate(self) -> float:
        """The peak learning rate, with the default that fits `freeze`."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-3 if self.freeze == "backbone" else 5e-5

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> FitConfig:
        """Builds a config from names and values, as a config file or keyword arguments give them.

        Args:
            options: Field names and values; integers stand for floats, as YAML users expect.

        Returns:
            The validated config.

        Raises:
            ConfigError: With one line for each unknown name and each bad value.
        """
        names = option_names()
        known = {name: value for name, value in options.items() if name in names}
        problems = [unknown_name("option", str(name), names, most=40) for name in options if name not in names]
        try:
            config = cls(**known)
        except ConfigError as error:
            raise ConfigError("\n".join([*problems, str(error)])) from None
        if problems:
            raise ConfigError("\n".join(problems))
        return config

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data."""
        return dataclasses.asdict(self)


def option_names() -> list[str]:
    """Returns the names of all options."""
    return [field.name for field in dataclasses.fields(FitConfig)]


def _type_problems(values: Mapping[str, Any]) -> dict[str, str]:
    problems = {}
    for name, adapter in option_types().items():
        try:
            adapter.validate_python(values[name])
        except ValidationError as error:
            # A union reports one error for each member: the value matched none of them.
            reasons = dict.fromkeys(detail["msg"].removeprefix("Input should be ") for detail in error.errors())
            received = textwrap.shorten(repr(values[name]), MOST_CHARACTERS, placeholder=" ...")
            problems[name] = f"The option {name} should be {' or '.join(reasons)}; received {received}."
    return problems


@functools.cache
def option_types() -> dict[str, TypeAdapter[Any]]:
    """Returns what checks the type of each option."""
    hints = typing.get_type_hints(FitConfig, include_extras=True)
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    return {name: TypeAdapter(hints[name], config=strict) for name in option_names()}
