"""Running the data checks over the splits of a run, and dropping what their policies say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, name_list
from tfft.data.cell_faults import CELL_CHECKS, Policy
from tfft.data.schema import TextExamples
from tfft.data.splits import SPLITS
from tfft.quality.base import Corpus
from tfft.quality.report import QualityReport, check

#: Streamed rows that are checked, chosen by the seed; what is checked is in memory.
STREAMED_SAMPLE = 20_000


@dataclasses.dataclass(frozen=True)
class TokenLengths:
    """How long rows are for a backbone.

    Attributes:
        lengths: Split to the length of each row in tokens before truncation, int32 of shape `(rows,)`.
        sequence_length: Longest row in tokens; what is longer is truncated.
    """

    lengths: Mapping[str, np.ndarray]
    sequence_length: int


@dataclasses.dataclass(frozen=True)
class CheckedSplits:
    """The splits after the checks.

    Attributes:
        examples: Name of the split to its examples, without what was dropped.
        report: The findings.
        dropped: Split to reason to row numbers.
    """

    examples: dict[str, TextExamples]
    report: QualityReport
    dropped: dict[str, dict[str, list[int]]]


def check_splits(
    examples: Mapping[str, TextExamples],
    config: FitConfig,
    console: Console,
    *,
    lengths: TokenLengths | None = None,
    only_report: bool = False,
) -> CheckedSplits:
    """Checks all splits together.

    Args:
        examples: Name of the split to its examples.
        config: Its `quality` sets policies.
        console: Where progress and findings are said.
        lengths: Lengths in tokens; None to count words. Not used for a sample of streamed rows.
        only_report: Report every finding, whatever the policies, except for checks that are off.

    Returns:
        The splits and the findings.

    Raises:
        DataError: When a check whose policy is "fail" finds something, or nothing is left of a split.
        ConfigError: When a policy does not go with a check.
    """
    policies: dict[str, Policy] = {
        name: policy for name, policy in (config.quality or {}).items() if name not in CELL_CHECKS
    }
    names = [name for name in SPLITS if name in examples]
    checked = _sampled(examples, names, policies, config, console)
    starts = np.cumsum([0, *(len(checked[name]) for name in names)])

    def name_rows(positions: np.ndarray) -> str:
        found = []
        for name, start, end in zip(names, starts[:-1], starts[1:], strict=True):
            own = positions[(positions >= start) & (positions < end)]
            if len(own):
                found.append(f"{name} {checked[name].name_rows(own - start)}")
        return "; ".join(found)

    whole = lengths is not None and all(len(checked[name]) == len(lengths.lengths[name]) for name in names)
    corpus = Corpus(
        texts=[text for name in names for text in checked[name].texts],
        labels=[label for name in names for label in checked[name].labels],
        name_rows=name_rows,
        splits=np.repeat(np.array(names, dtype=object), np.diff(starts)),
        seed=config.seed,
        where=str(checked[names[0]].where),
        token_lengths=np.concatenate([lengths.lengths[name] for name in names]) if lengths and whole else None,
        sequence_length=lengths.sequence_length if lengths and whole else None,
        known_groups=_known_groups([checked[name] for name in names]),
    )
    report = check(corpus, policies, console, only_report=only_report)
    for line in () if only_report else report.lines():
        console.say(f"{corpus.where}: {line}")
    kept, dropped = dict(examples), {}
    for name, start, end in zip(names, starts[:-1], starts[1:], strict=True):
        own = {place - start: reason for place, reason in report.to_drop.items() if start <= place < end}
        if own:
            kept[name], dropped[name] = _without(examples[name], own, name)
    return CheckedSplits(kept, report, dropped)


def _known_groups(splits: Sequence[TextExamples]) -> np.ndarray | None:
    """Returns the sets of near duplicates of all rows, when they were found before splitting one source."""
    found = [split.duplicates for split in splits if split.duplicates is not None]
    same_source = all(split.where == splits[0].where for split in splits)
    return np.concatenate(found) if same_source and len(found) == len(splits) else None


def _sampled(
    examples: Mapping[str, TextExamples],
    names: list[str],
    policies: Mapping[str, Policy],
    config: FitConfig,
    console: Console,
) -> dict[str, TextExamples]:
    """Returns the splits, or a sample of those that are streamed."""
    total = sum(len(examples[name]) for name in names)
    if total <= STREAMED_SAMPLE or not any(examples[name].streamed for name in names):
        return {name: examples[name] for name in names}
    dropping = [name for name, policy in policies.items() if policy == "drop"]
    if dropping:
        raise ConfigError(
            f"quality: {name_list(dropping)} cannot drop rows of streamed data, of which {STREAMED_SAMPLE:,} are "
            "checked. Use report or fail, or streaming=False."
        )
    console.say(f"streamed: {STREAMED_SAMPLE:,} of {total:,} rows, chosen by the seed, are checked")
    random = np.random.default_rng(config.seed)
    sampled = {}
    for name in names:
        rows = len(examples[name])
        size = max(1, round(STREAMED_SAMPLE * rows / total))
        sampled[name] = examples[name].take(np.sort(random.choice(rows, min(size, rows), replace=False)))
    return sampled


def _without(split: TextExamples, reasons: Mapping[int, str], name: str) -> tuple[TextExamples, dict[str, list[int]]]:
    dropped: dict[str, list[int]] = {}
    for place in sorted(reasons):
        dropped.setdefault(reasons[place], []).append(int(split.rows[place]))
    kept = np.setdiff1d(np.arange(len(split)), np.array(list(reasons), dtype=np.int64))
    if not len(kept):
        raise DataError(f"{split.where}: the checks would drop every row of the {name} split. Use policy 'report'.")
    return split.take(kept), dropped
