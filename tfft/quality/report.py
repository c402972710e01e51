"""Runs the checks, applies what the user wants done about each, and says what was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tfft.console import Console, as_text
from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.quality.base import (
    NO_POSITIONS,
    POLICIES,
    Corpus,
    Detector,
    Finding,
    Policy,
    detectors,
    share,
)

_TOO_MANY = "there are too many rows"


@dataclasses.dataclass(frozen=True, eq=False)
class CheckResult:
    """What one check found and what is done about it.

    Attributes:
        name: Name of the check.
        policy: What is done.
        finding: What was found.
        dropped: Positions that this check leaves out, apart from those that an earlier check does, int64.
    """

    name: str
    policy: Policy
    finding: Finding
    dropped: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class QualityReport:
    """What is wrong with the data.

    Attributes:
        rows: Number of rows that were checked.
        policies: The policy of every check.
        results: What each check found, in alphabetical order; checks that found nothing are left out.
        skipped: Name of each check that did not run, with the reason.
    """

    rows: int
    policies: Mapping[str, Policy]
    results: tuple[CheckResult, ...]
    skipped: Mapping[str, str]

    @property
    def to_drop(self) -> dict[int, str]:
        """Position of each row to leave out, ascending, to the name of the check that says so."""
        return dict(sorted((at, result.name) for result in self.results for at in result.dropped.tolist()))

    def __getitem__(self, name: str) -> Finding | None:
        """Returns what a check found, None when nothing."""
        return next((result.finding for result in self.results if result.name == name), None)

    def lines(self) -> list[str]:
        """Returns one plain line for each finding that concerns rows, for the log of a run."""
        return [
            f"{result.name}: {result.finding.summary}"
            + (f"; dropped {len(result.dropped):,}" * bool(len(result.dropped)))
            for result in self.results
            if len(result.finding.positions)
        ]

    def renderables(self) -> list[RenderableType]:
        """Returns the report as a rich table."""
        table = Table(
            title=Text(f"data quality, {self.rows:,} rows"), title_justify="left", title_style="bold", show_lines=True
        )
        for column, justify in {"check": "left", "policy": "left", "rows": "right", "share": "right"}.items():
            table.add_column(Text(column), justify=cast(Any, justify), no_wrap=True)
        table.add_column(Text("found"), overflow="fold")
        for result in self.results:
            count = len(result.finding.positions)
            cells = [f"{count:,}", share(count, self.rows)] if count else ["-", "-"]
            table.add_row(*map(Text, [result.name, result.policy, *cells, result.finding.summary]))
        for name, reason in self.skipped.items():
            table.add_row(*map(Text, [name, "-", "-", "-", f"not run: {reason}"]))
        running = {name for name, policy in self.policies.items() if policy != "off"}
        clean = sorted(running - {result.name for result in self.results} - set(self.skipped))
        return [table, f"nothing found: {', '.join(clean)}"] if clean else [table]

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain data for JSON, without any text of the data."""
        return {
            "rows": self.rows,
            "checks": {
                result.name: {
                    "policy": result.policy,
                    "rows": len(result.finding.positions),
                    "dropped": len(result.dropped),
                    "summary": result.finding.summary,
                    "details": result.finding.details,
                }
                for result in self.results
            },
            "skipped": dict(self.skipped),
        }

    def __str__(self) -> str:
        """Returns the table as plain text."""
        return as_text(self.renderables())

    def _repr_html_(self) -> str:
        """Returns the table for a notebook."""
        return f"<pre>{self}</pre>"


def default_policies() -> dict[str, Policy]:
    """Returns what is done about each finding when the user does not say."""
    return {name: detectors.get(name).default for name in detectors}


def chosen_policies(policies: Mapping[str, Any]) -> dict[str, Policy]:
    """Adds the defaults to what the user chose.

    Args:
        policies: Name of a check to policy; False means "off", since that is how YAML reads the word off.

    Returns:
        The policy of every check.

    Raises:
        ConfigError: With one line for each unknown check, unknown policy and policy that a check does not have.
    """
    chosen = default_policies()
    problems = []
    for name, policy in policies.items():
        wanted = "off" if policy is False else policy
        if name not in chosen:
            problems.append(unknown_name("data check", str(name), sorted(chosen)))
        elif wanted not in POLICIES:
            problems.append(f"quality of {name}: {unknown_name('policy', str(policy), POLICIES)}")
        elif wanted == "drop" and not detectors.get(name).can_drop:
            problems.append(f"quality of {name}: leaving rows out does not help against it; use report, fail or off.")
        else:
            chosen[name] = wanted
    if problems:
        raise ConfigError("\n".join(problems))
    return chosen


def check(corpus: Corpus, policies: Mapping[str, Any], console: Console, *, only_report: bool = False) -> QualityReport:
    """Runs every check that is not off.

    Checks whose policy is "fail" run first, so that a run ends early. Those that leave one row of each set run last, so
    that the row that stays is one that no other check leaves out.

    Args:
        corpus: Texts with what is known of them.
        policies: Name of a check to policy; the others have their defaults.
        console: Where progress and checks that take too long are said.
        only_report: Whether to look only: nothing fails and no row is dropped, whatever the policies.

    Returns:
        The findings.

    Raises:
        ConfigError: When a name or a policy is unknown.
        DataError: When a check whose policy is "fail" found something.
    """
    chosen = chosen_policies(policies)
    running = [name for name, policy in chosen.items() if policy != "off"]
    running.sort(key=lambda name: (chosen[name] != "fail", detectors.get(name).keeps_one, name))
    results: dict[str, CheckResult] = {}
    skipped: dict[str, str] = {}
    gone = np.zeros(len(corpus), dtype=bool)
    for name in running:
        if not only_report and chosen[name] != "fail":
            _fail(corpus, results)
        reason = _reason_to_skip(detectors.get(name), corpus)
        finding = None if reason else detectors.get(name).find(corpus, console)
        if reason:
            skipped[name] = reason
        if finding is not None:
            dropped = finding.to_drop(gone) if chosen[name] == "drop" and not only_report else NO_POSITIONS
            results[name] = CheckResult(name, chosen[name], finding, dropped[~gone[dropped]])
            gone[dropped] = True
    if not only_report:
        _fail(corpus, results)
    for name, reason in skipped.items():
        if reason.startswith(_TOO_MANY):
            console.say(f"{corpus.where}: {name} was not checked: {reason}")
    ordered = tuple(results[name] for name in sorted(results))
    return QualityReport(len(corpus), chosen, ordered, dict(sorted(skipped.items())))


def _reason_to_skip(detector: Detector, corpus: Corpus) -> str | None:
    if len(corpus) == 0:
        return "there are no rows"
    if detector.needs_labels and not corpus.labels:
        return "there are no labels"
    if detector.needs_splits and corpus.splits is None:
        return "there are no splits"
    if detector.most_rows is not None and len(corpus) > detector.most_rows:
        return f"{_TOO_MANY}; it would take too long for more than {detector.most_rows:,}"
    return None


def _fail(corpus: Corpus, results: Mapping[str, CheckResult]) -> None:
    """Raises DataError for all findings so far that are to end the run."""
    problems = []
    for name, result in results.items():
        if result.policy == "fail" and len(result.finding.positions):
            drop = f"quality={{{name!r}: 'drop'}} (--quality \"{{{name}: drop}}\") to leave rows out, or "
            remedy = f"Correct the data, or pass {drop if detectors.get(name).can_drop else ''}"
            problems.append(
                f"{corpus.where}: {name}: {result.finding.summary}. {remedy}'report' to go on nevertheless."
            )
    if problems:
        raise DataError("\n".join(problems))
