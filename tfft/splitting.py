"""Reading, checking and splitting the data of a run; no TensorFlow, so that bad data is answered at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfft.config import FitConfig
from tfft.console import Console
from tfft.data.read import describe, fingerprint, read_table
from tfft.data.schema import TextExamples
from tfft.data.splits import TEST, TRAIN, VALIDATION, stratified_split
from tfft.tasks.base import tasks


@dataclasses.dataclass(frozen=True)
class SplitData:
    """The splits of a run.

    Attributes:
        examples: Name of the split to its examples: "train", and "validation" and "test" as far as there are.
        targets: Name of the split to what the loss compares with.
        weights: Weight of each training row in the loss, float32 of shape `(rows,)`.
        labels: The label vocabulary.
        record: Fingerprints, sizes and dropped rows, as plain data.
    """

    examples: Mapping[str, TextExamples]
    targets: Mapping[str, np.ndarray]
    weights: np.ndarray
    labels: list[str]
    record: dict[str, Any]

    @property
    def report_split(self) -> str:
        """The split that the report is made on."""
        return TEST if TEST in self.examples else VALIDATION

    @property
    def report_title(self) -> str:
        """The name of that split as the report shows it."""
        if self.report_split == TEST:
            return TEST
        return "validation (no test split; it also chose the epoch, so the figures are optimistic)"


def split_data(config: FitConfig, source: Any, console: Console) -> SplitData:
    """Reads all data of a run and splits it.

    Validation and test come from their own files where given, else from a stratified share of the training data.

    Args:
        config: The run's options.
        source: The training data.
        console: Where progress, dropped rows and split sizes are said.

    Returns:
        The splits.

    Raises:
        DataError: When the data cannot be read or used.
        ConfigError: When class_weights names a label that does not exist.
    """
    task = tasks.get(str(config.task))
    fingerprints: dict[str, Any] = {}
    dropped: dict[str, dict[str, list[int]]] = {}

    def read(name: str, what: Any) -> TextExamples:
        table = read_table(what, task.columns(config, labelled=True), encoding=config.encoding, console=console)
        fingerprints[name] = fingerprint(what, table)
        examples = task.examples(table, config, labelled=True, where=describe(what), console=console)
        dropped[name] = examples.dropped
        return examples

    whole = read(TRAIN, source)
    given = {VALIDATION: config.validation_data, TEST: config.test_data}
    parts = stratified_split(
        whole.texts,
        whole.labels,
        validation_fraction=config.validation_share,
        test_fraction=config.test_share,
        seed=config.seed,
    )
    examples = {TRAIN: whole.take(parts[TRAIN])}
    for name, path in given.items():
        if path is not None:
            examples[name] = read(name, path)
        elif len(parts[name]):
            examples[name] = whole.take(parts[name])
    labels = task.vocabulary(examples[TRAIN])
    targets = {name: task.targets(split, labels) for name, split in examples.items()}
    sizes = {name: len(split) for name, split in examples.items()}
    console.say("splits: " + ", ".join(f"{name} {size:,} rows" for name, size in sizes.items()))
    rows = {name: split.rows.tolist() for name, split in examples.items() if name != TRAIN}
    record = {"sources": fingerprints, "dropped": dropped, "sizes": sizes, "rows": rows}
    weights = task.sample_weights(targets[TRAIN], labels, config)
    return SplitData(examples, targets, weights, labels, record)
