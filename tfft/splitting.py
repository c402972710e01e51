"""Reading, splitting and checking the data of a run; no TensorFlow, so that bad data is answered at once."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tfft.checking import check_splits
from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError
from tfft.core.learned import Learned
from tfft.data.schema import TextExamples
from tfft.data.splits import (
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Shares,
    grouped_split,
    hash_split,
    k_folds,
    predefined_split,
    stratified_split,
    time_split,
)
from tfft.quality.masking import Masker
from tfft.quality.near_duplicates import near_duplicate_groups
from tfft.quality.normal_form import normal_form
from tfft.reading import ReadData, read_examples
from tfft.tasks.base import Targets, tasks

T = TypeVar("T")

_SYNTHETIC = "synthetic"
#: Above so many rows, near duplicates are not looked for in order to keep them in one split.
MOST_ROWS_COMPARED = 1_000_000


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where the data of a run comes from: paths, objects in memory, callables.

    Attributes:
        train: The training data, of which shares become validation and test where these have no data of their own.
        validation: Validation split; None for a share.
        test: Test split; None for a share.
        synthetic: More training rows; None for none.
    """

    train: Any
    validation: Any = None
    test: Any = None
    synthetic: Any = None


@dataclasses.dataclass(frozen=True)
class SplitData:
    """The splits of a run.

    Attributes:
        examples: Name of the split to its examples: "train", and "validation" and "test" as far as there are.
        targets: Name of the split to what the loss compares with.
        weights: Weight of each training row in the loss, float32 of shape `(rows,)`.
        learned: The label vocabulary, and what else the task learned of the training rows.
        record: Fingerprints, sizes, dropped rows and findings, as plain data.
    """

    examples: Mapping[str, TextExamples]
    targets: Mapping[str, Targets]
    weights: np.ndarray
    learned: Learned
    record: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """The label vocabulary."""
        return self.learned.labels

    @property
    def report_split(self) -> str:
        """The split that the report is made on."""
        return TEST if TEST in self.examples else VALIDATION

    @property
    def streamed(self) -> bool:
        """Whether the training rows are on disk."""
        return self.examples[TRAIN].streamed

    @property
    def report_title(self) -> str:
        """The name of that split as the report shows it."""
        if self.report_split == TEST:
            return TEST
        return "validation (no test split; it also chose the epoch, so the figures are optimistic)"


def split_data(config: FitConfig, sources: Sources, console: Console) -> SplitData:
    """Reads all data of a run, splits and checks it.

    Args:
        config: The run's options.
        sources: The data.
        console: Where progress, findings, dropped rows and split sizes are said.

    Returns:
        The splits.

    Raises:
        DataError: When the data cannot be read or used, or a check whose policy is "fail" finds something.
        ConfigError: When an option does not fit the data.
    """
    read = read_and_split(config, sources, console)
    return _checked(read, config, console)


@dataclasses.dataclass(frozen=True)
class ReadSplits:
    """Splits before they are checked.

    Attributes:
        examples: Name of the split to its examples; made rows are at the end of "train".
        sources: Name of the source to what identifies it, as plain data.
        dropped: Name of the source to reason to row numbers left out while reading.
    """

    examples: dict[str, TextExamples]
    sources: dict[str, Any]
    dropped: dict[str, dict[str, list[int]]]


def read_and_split(config: FitConfig, sources: Sources, console: Console) -> ReadSplits:
    """Reads all data of a run and splits it.

    Args:
        config: The run's options.
        sources: The data.
        console: Where progress and dropped rows are said.

    Returns:
        The splits, not checked yet.

    Raises:
        DataError: When the data cannot be read or split.
        ConfigError: When an option does not fit the data.
    """
    data = _read_all(config, sources, console)
    whole = data[TRAIN].examples
    if config.split_method in ("stratified", "random") and not whole.streamed:
        whole = _with_duplicates(whole, config, console)
    parts = _split(whole, config, console)
    twice = [name for name in (VALIDATION, TEST) if name in data and len(parts[name])]
    if twice:
        raise DataError(
            f"{config.split_column} names {len(parts[twice[0]]):,} {twice[0]} rows, and {twice[0]}_data is given too; "
            f"these rows would be lost. Leave {twice[0]}_data out, or these rows."
        )
    examples = {name: whole.take(parts[name]) for name in SPLITS if len(parts[name])}
    examples |= {name: data[name].examples for name in (VALIDATION, TEST) if name in data}
    if not {VALIDATION, TEST} & set(examples):
        raise DataError(
            "Neither a validation nor a test split is left; set one of the fractions above 0, or pass test_data."
        )
    if VALIDATION not in examples and (config.patience is not None or config.monitor != "val_loss"):
        raise ConfigError("patience and monitor need a validation split; the split column names no such rows.")
    if _SYNTHETIC in data:
        if whole.streamed or data[_SYNTHETIC].examples.streamed:
            raise ConfigError("synthetic_data cannot be streamed; set streaming=False, or add its rows to the data.")
        examples[TRAIN] = examples[TRAIN].joined(data[_SYNTHETIC].examples)
    return _read_splits(data, examples)


def _read_splits(data: Mapping[str, ReadData], examples: dict[str, TextExamples]) -> ReadSplits:
    return ReadSplits(
        examples,
        {name: read.fingerprint for name, read in data.items()},
        {name: read.examples.dropped for name, read in data.items()},
    )


def fold_data(config: FitConfig, sources: Sources, folds: int, console: Console) -> Iterator[SplitData]:
    """Reads data once and gives as many splits of it: each fold is the test split once.

    Validation is a share of the rows outside the fold.

    Args:
        config: The run's options; its test options are not used.
        sources: The data; validation may have its own.
        folds: Number of folds.
        console: Where progress and findings are said.

    Yields:
        The splits, fold by fold.

    Raises:
        DataError: When the data cannot be used.
    """
    data = _read_all(config, sources, console)
    whole = data[TRAIN].examples
    if whole.streamed:
        raise ConfigError("Cross-validation is for small data; streamed data is split by hash. Use streaming=False.")
    whole = whole if len(whole.keys) else _with_duplicates(whole, config, console)
    shares = Shares(config.validation_share, 0.0)

    def divide(groups: np.ndarray) -> list[np.ndarray]:
        return k_folds(whole.texts, _strata(whole), folds, seed=config.seed, groups=groups, keys=whole.keys)

    for rows in _keeping_duplicates(whole, divide, console):
        rest = np.setdiff1d(np.arange(len(whole)), rows)
        outside = whole.take(rest)
        if len(whole.keys):
            parts = grouped_split(outside.keys, shares, seed=config.seed)
        else:
            parts = _by_label(outside, _strata(outside), shares, config, console)
        examples = {name: outside.take(own) for name, own in parts.items() if len(own)}
        if VALIDATION in data:
            examples[VALIDATION] = data[VALIDATION].examples
        yield _checked(_read_splits(data, {**examples, TEST: whole.take(rows)}), config, console)


def _read_all(config: FitConfig, sources: Sources, console: Console) -> dict[str, ReadData]:
    """Reads every source; made rows are put after the training data only once that is split."""
    masker = Masker() if config.mask_personal_data else None
    clean = None if masker is None else masker.mask
    data: dict[str, ReadData] = {}
    for field in dataclasses.fields(sources):
        source = getattr(sources, field.name)
        if source is not None:
            keyed = field.name == TRAIN
            data[field.name] = read_examples(source, config, console, labelled=True, keyed=keyed, clean=clean)
    if masker is not None:
        found = ", ".join(f"{count:,} {kind}" for kind, count in masker.counts.items()) or "nothing"
        console.say(f"personal data masked: {found}")
    return data


def _split(whole: TextExamples, config: FitConfig, console: Console) -> dict[str, np.ndarray]:
    """Returns row positions by split."""
    shares = Shares(config.validation_share, config.test_share)
    method = config.split_method
    if whole.streamed and config.split == "auto" and method == "stratified":
        method = "hash"
        console.say(
            "streamed: a keyed hash of each row decides its split, so that a row keeps it when data is added; shares "
            "are met on average only and labels are not stratified"
        )

    def name_row(position: int) -> str:
        return f"{whole.where}, {whole.name_rows(np.array([position]))}"

    if method == "grouped":
        return grouped_split(whole.keys, shares, seed=config.seed)
    if method == "time":
        return time_split(whole.keys, shares, name_row)
    if method == "hash":
        return hash_split(whole.texts, shares, seed=config.seed, form=normal_form)
    if method == "predefined":
        return _with_shares(whole, predefined_split(whole.keys, name_row), shares, config, console)
    strata = _strata(whole) if method == "stratified" else [""] * len(whole)
    return _by_label(whole, strata, shares, config, console)


def _strata(whole: TextExamples) -> Sequence[str]:
    """Returns the labels that splits are stratified by; all the same where rows have not one label each."""
    return whole.labels if len(whole.labels) else [""] * len(whole)


def _by_label(
    whole: TextExamples, strata: Sequence[str], shares: Shares, config: FitConfig, console: Console
) -> dict[str, np.ndarray]:
    def divide(groups: np.ndarray) -> dict[str, np.ndarray]:
        return stratified_split(whole.texts, strata, shares, seed=config.seed, groups=groups)

    return _keeping_duplicates(whole, divide, console)


def _keeping_duplicates(whole: TextExamples, divide: Callable[[np.ndarray], T], console: Console) -> T:
    """Divides rows so that near duplicates stay together, or equal texts where near duplicates leave too few sets."""
    if whole.duplicates is not None:
        with contextlib.suppress(DataError):
            return divide(whole.duplicates)
    equal = np.unique([normal_form(text) for text in whole.texts], return_inverse=True)[1].astype(np.int64)
    parts = divide(equal)
    if whole.duplicates is not None:
        console.say(
            f"{whole.where}: so many rows are near duplicates of each other that whole sets fill no split: only "
            "equal texts are kept in one split"
        )
    return parts


def _with_shares(
    whole: TextExamples, parts: dict[str, np.ndarray], shares: Shares, config: FitConfig, console: Console
) -> dict[str, np.ndarray]:
    """Takes the splits that no row names from the training rows."""
    lacking = Shares(
        validation=0.0 if len(parts[VALIDATION]) else shares.validation, test=0.0 if len(parts[TEST]) else shares.test
    )
    if not lacking.wanted:
        return parts
    console.say(f"{config.split_column} names no {' and no '.join(lacking.wanted)} rows: taken from the training rows")
    own = whole.take(parts[TRAIN])
    if own.streamed:
        taken = hash_split(own.texts, lacking, seed=config.seed, form=normal_form)
    else:
        taken = _by_label(own, _strata(own), lacking, config, console)
    return {name: np.union1d(rows, parts[TRAIN][taken[name]]) if name != TRAIN else parts[TRAIN][taken[TRAIN]]
            for name, rows in parts.items()}  # fmt: skip


def _with_duplicates(whole: TextExamples, config: FitConfig, console: Console) -> TextExamples:
    """Finds the set of near duplicates of each row, so that none straddles two splits."""
    if (config.quality or {}).get("near_duplicates") == "off":
        return whole  # equal texts stay together
    if len(whole) > MOST_ROWS_COMPARED:
        console.say(
            f"{whole.where}: more than {MOST_ROWS_COMPARED:,} rows: equal texts are kept in one split, near duplicates "
            "are not looked for"
        )
        return whole
    return dataclasses.replace(whole, duplicates=near_duplicate_groups(whole.texts, console))


def _checked(read: ReadSplits, config: FitConfig, console: Console) -> SplitData:
    """Checks the splits, drops what the policies say, and numbers the labels."""
    task = tasks.get(str(config.task))
    # What is wrong with the labels is said before the checks take their time.
    task.learned(read.examples[TRAIN], config, Console(quiet=True))
    checked = check_splits(read.examples, config, console)
    examples = checked.examples
    learned = task.learned(examples[TRAIN], config, console)
    examples = {name: task.shaped(split, learned) for name, split in examples.items()}
    targets = {name: task.targets(split, learned) for name, split in examples.items()}
    sizes = {name: len(split) for name, split in examples.items()}
    console.say("splits: " + ", ".join(f"{name} {size:,} rows" for name, size in sizes.items()))
    record = {
        "sources": read.sources,
        "dropped": read.dropped,
        "dropped_by_checks": checked.dropped,
        "findings": checked.report.to_dict(),
        "sizes": sizes,
        "rows": _row_numbers(examples),
    }
    weights = task.sample_weights(targets[TRAIN], learned, config)
    return SplitData(examples, targets, weights, learned, record)


def without_rows(data: SplitData, positions: Mapping[str, np.ndarray], reason: str, config: FitConfig) -> SplitData:
    """Returns the splits without some of their rows, which are counted in the record.

    Args:
        data: The splits.
        positions: Split to positions of the rows to leave out, int64.
        reason: Why, for the record.
        config: The run's options.

    Returns:
        The splits; the label vocabulary stays.

    Raises:
        DataError: When nothing is left of a split.
    """
    task = tasks.get(str(config.task))
    examples = {name: _without(split, positions.get(name), name, reason) for name, split in data.examples.items()}
    targets = {name: task.targets(split, data.learned) for name, split in examples.items()}
    dropped = {name: dict(reasons) for name, reasons in data.record["dropped_by_checks"].items()}
    for name, places in positions.items():
        dropped.setdefault(name, {})[reason] = data.examples[name].rows[places].tolist()
    record = {
        **data.record,
        "dropped_by_checks": dropped,
        "sizes": {name: len(split) for name, split in examples.items()},
        "rows": _row_numbers(examples),
    }
    weights = task.sample_weights(targets[TRAIN], data.learned, config)
    return dataclasses.replace(data, examples=examples, targets=targets, weights=weights, record=record)


def _row_numbers(examples: Mapping[str, TextExamples]) -> dict[str, list[int]]:
    """Returns the rows of validation and test; of streamed data the hash tells, and the list could be huge."""
    return {name: split.rows.tolist() for name, split in examples.items() if name != TRAIN and not split.streamed}


def _without(split: TextExamples, positions: np.ndarray | None, name: str, reason: str) -> TextExamples:
    if positions is None or not len(positions):
        return split
    kept = np.setdiff1d(np.arange(len(split)), positions)
    if not len(kept):
        raise DataError(f"{split.where}: no row of the {name} split is left after dropping those {reason}.")
    return split.take(kept)
