"""Looking at data before training on it: what is there, and what a run would use."""

from __future__ import annotations

import bisect
import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import RenderableType

from tfft.checking import TokenLengths, check_splits
from tfft.config import FitConfig, option_names
from tfft.console import Console, as_text
from tfft.core.errors import nearest
from tfft.data.cell_faults import CELL_CHECKS, Policy
from tfft.data.read import NumberedChunk, Reader, describe
from tfft.data.schema import TextExamples
from tfft.evaluation.tables import render
from tfft.metrics.base import Table
from tfft.quality.report import QualityReport
from tfft.splitting import Sources, read_and_split
from tfft.tasks.base import tasks

#: Distinct values that are counted in a column; beyond, it is not one of categories.
MOST_DISTINCT = 1000
#: Labels that are listed, the most frequent ones.
MOST_LABELS = 20
#: Characters of a cell that are shown.
CELL_WIDTH = 60
#: Upper ends of the classes in which cell lengths are counted; they grow by 1 %, which is how exact quantiles are.
_LENGTH_CLASSES = sorted({int(1.01**power) for power in range(2500)})


class ColumnSummary:
    """What a column holds, gathered chunk by chunk in bounded memory.

    Attributes:
        name: The column's name.
        rows: Cells seen.
        null: Cells that are null.
        blank: Cells that are empty or white space.
        kinds: Kind of cell to how often it occurs: "text", "number", "list" or an array's shape.
        counts: Value to how often it occurs; None once there are too many different ones.
        example: The first cell that is neither null nor blank, shortened.
    """

    def __init__(self, name: str) -> None:
        """Starts without cells."""
        self.name = name
        self.rows = self.null = self.blank = 0
        self.kinds: Counter[str] = Counter()
        self.counts: Counter[str] | None = Counter()
        self.example = ""
        self._lengths: Counter[int] = Counter()
        self._shortest: int | None = None
        self._longest = 0

    def add(self, values: list[Any]) -> None:
        """Adds cells."""
        self.rows += len(values)
        for value in values:
            if value is None:
                self.null += 1
            elif isinstance(value, str) and not value.strip():
                self.blank += 1
            else:
                self._add(value)

    def _add(self, value: Any) -> None:
        self.kinds[_kind(value)] += 1
        self.example = self.example or _shown(value)
        if not isinstance(value, (str, list)):
            self.counts = None
            return
        length = len(value)
        self._lengths[bisect.bisect_left(_LENGTH_CLASSES, length)] += 1
        self._shortest = length if self._shortest is None else min(self._shortest, length)
        self._longest = max(self._longest, length)
        if isinstance(value, list):
            self.counts = None
        elif self.counts is not None:
            self.counts[value.strip()] += 1
            if len(self.counts) > MOST_DISTINCT:
                self.counts = None

    @property
    def kind(self) -> str:
        """The kinds of cell, the most frequent first."""
        return ", ".join(kind for kind, _ in self.kinds.most_common()) or "empty"

    @property
    def distinct(self) -> str:
        """The number of different values."""
        if self.counts is not None:
            return f"{len(self.counts):,}"
        return f"> {MOST_DISTINCT:,}" if set(self.kinds) <= {"text", "number"} else "-"

    def lengths(self) -> dict[str, int] | None:
        """Returns shortest, median, 95th percentile and longest cell in characters, or in items for lists."""
        if self._shortest is None:
            return None
        ends = sorted(self._lengths)
        share = np.cumsum([self._lengths[end] for end in ends]) / sum(self._lengths.values())

        def quantile(wanted: float) -> int:
            return min(_LENGTH_CLASSES[ends[int(np.searchsorted(share, wanted))]], self._longest)

        return {"min": self._shortest, "median": quantile(0.5), "p95": quantile(0.95), "max": self._longest}

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as plain data."""
        return {
            "kinds": dict(self.kinds),
            "null": self.null,
            "blank": self.blank,
            "distinct": None if self.counts is None else len(self.counts),
            "lengths": self.lengths(),
            "example": self.example,
        }


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `tfft.inspect` returns.

    Attributes:
        source: Name of the source.
        rows: Number of rows.
        files: First and last row of each file, where there are several.
        columns: Name to summary, in the order of the source.
        first_rows: The first rows, cells shortened.
        text_column: The column that a run would take as text; None when there is none by that name.
        label_column: The column that a run would take as label; None when there is none by that name.
        notes: What would keep a run from using the data.
        quality: The findings of the checks; None when they were not asked for.
    """

    source: str
    rows: int
    files: list[dict[str, Any]]
    columns: dict[str, ColumnSummary]
    first_rows: list[dict[str, str]]
    text_column: str | None
    label_column: str | None
    notes: list[str]
    quality: QualityReport | None = None

    @property
    def labels(self) -> dict[str, int] | None:
        """Label to number of rows, the most frequent first; None when there is no label column, or too many values."""
        counts = None if self.label_column is None else self.columns[self.label_column].counts
        return None if counts is None else dict(counts.most_common())

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data for JSON."""
        return {
            "source": self.source,
            "rows": self.rows,
            "files": self.files,
            "columns": {name: column.to_dict() for name, column in self.columns.items()},
            "text_column": self.text_column,
            "label_column": self.label_column,
            "labels": self.labels,
            "first_rows": self.first_rows,
            "notes": self.notes,
            "quality": None if self.quality is None else self.quality.to_dict(),
        }

    def renderables(self) -> list[RenderableType]:
        """Returns the tables and notes."""
        shown: list[RenderableType] = [render(self._schema())]
        if self.files:
            files = [[part["file"], f"{part['rows'][0]:,}", f"{part['rows'][1]:,}"] for part in self.files]
            shown.append(render(Table("files", ["file", "first row", "last row"], files)))
        if self.labels is not None:
            counts = list(self.labels.items())
            total = sum(self.labels.values())
            rows = [[label, f"{count:,}", f"{count / total:.1%}"] for label, count in counts[:MOST_LABELS]]
            more = f", the {MOST_LABELS} most frequent of {len(counts):,}" if len(counts) > MOST_LABELS else ""
            shown.append(render(Table(f"labels ({self.label_column}){more}", ["label", "rows", "share"], rows)))
        names = list(self.columns)
        first = [[str(place), *(row[name] for name in names)] for place, row in enumerate(self.first_rows, 1)]
        shown.append(render(Table("first rows", ["row", *names], first), numbers=False))
        shown += self.notes
        return shown if self.quality is None else [*shown, *self.quality.renderables()]

    def _schema(self) -> Table:
        rows = []
        for name, column in self.columns.items():
            lengths = column.lengths()
            role = {self.text_column: "text", self.label_column: "label"}.get(name, "")
            span = "-" if lengths is None else " / ".join(f"{value:,}" for value in lengths.values())
            rows.append([name, role, column.kind, f"{column.null:,}", f"{column.blank:,}", column.distinct, span])
        heads = ["column", "used as", "kind", "null", "blank", "distinct", "length: min / median / p95 / max"]
        return Table(f"{self.source}: {self.rows:,} rows", heads, rows)

    def __str__(self) -> str:
        """Returns the tables as plain text."""
        return as_text(self.renderables())

    def _repr_html_(self) -> str:
        """Returns the tables for a notebook."""
        return f"<pre>{self}</pre>"


def inspect_source(source: Any, config: FitConfig, console: Console, *, rows: int) -> Inspection:
    """Reads a source once, in bounded memory, and summarises it.

    Args:
        source: Anything that `tfft.fit` takes as data.
        config: Names the columns and the encoding.
        console: Where progress is shown.
        rows: First rows to show.

    Returns:
        The summary.

    Raises:
        DataError: When the source cannot be read.
    """
    reader = Reader(source, None, encoding=config.encoding, console=console)
    columns: dict[str, ColumnSummary] = {}
    first_rows: list[dict[str, str]] = []
    total = 0
    for chunk in reader:
        count = len(next(iter(chunk.columns.values())))
        for name, values in chunk.columns.items():
            if name not in columns:
                columns[name] = ColumnSummary(name)
                columns[name].add([None] * total)
            columns[name].add(values)
        for name in columns.keys() - chunk.columns.keys():
            columns[name].add([None] * count)
        first_rows += _first(chunk, rows - len(first_rows))
        total += count
    wanted = tasks.get(str(config.task)).columns(config, labelled=True) or []
    roles = {getattr(config, name): name for name in option_names() if name.endswith("_column")}
    used = {roles[name]: _used(name, columns) for name in wanted}
    notes = [
        f"There is no column {getattr(config, role)!r}: {role}={nearest(getattr(config, role), columns) or '...'!r} "
        f"(--{role.replace('_', '-')}) names another."
        for role, name in used.items()
        if name is None
    ]
    first = [{name: row.get(name, "null") for name in columns} for row in first_rows]
    origin = reader.origin
    return Inspection(
        describe(source),
        total,
        origin.ranges(),
        columns,
        first,
        used.get("text_column"),
        used.get("label_column"),
        notes,
    )


def check_source(config: FitConfig, sources: Sources, console: Console) -> QualityReport:
    """Splits data as a run would and runs every check; findings are reported, whatever their policies.

    Args:
        config: The run's options. With a preset, lengths are those in tokens; else in words.
        sources: The data.
        console: Where progress is shown.

    Returns:
        The findings.

    Raises:
        DataError: When the data cannot be read or split.
    """
    cells: dict[str, Policy] = dict.fromkeys(CELL_CHECKS, "report")
    policies: dict[str, Policy] = {**(config.quality or {}), **cells}
    examples = read_and_split(dataclasses.replace(config, quality=policies), sources, console).examples
    lengths = None if config.preset is None else _token_lengths(examples, config, console)
    return check_splits(examples, config, console, lengths=lengths, only_report=True).report


def _token_lengths(examples: Mapping[str, TextExamples], config: FitConfig, console: Console) -> TokenLengths:
    from tfft.backbones.keras_hub import load_text_backbone
    from tfft.data.token_cache import encode_texts

    encoder = load_text_backbone(config.preset).encoder(config.sequence_length)
    caches = {name: encode_texts(split.texts, encoder, console, what=name) for name, split in examples.items()}
    return TokenLengths({name: cache.full_lengths for name, cache in caches.items()}, encoder.sequence_length)


def _used(name: str, columns: dict[str, ColumnSummary]) -> str | None:
    return name if name in columns else None


def _first(chunk: NumberedChunk, count: int) -> list[dict[str, str]]:
    if count <= 0:
        return []
    shown = {name: [_shown(value) for value in values[:count]] for name, values in chunk.columns.items()}
    size = len(next(iter(shown.values())))
    return [{name: values[place] for name, values in shown.items()} for place in range(size)]


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    if not isinstance(value, str):
        return f"array {'x'.join(map(str, value.shape))} {value.dtype}"
    try:
        float(value)
    except ValueError:
        return "text"
    return "number"


def _shown(value: Any) -> str:
    """Returns a cell on one line, shortened; what cannot be printed is escaped."""
    if value is None:
        return "null"
    if not isinstance(value, (str, list)):
        return _kind(value)
    text = value if isinstance(value, str) else " ".join("null" if item is None else str(item) for item in value)
    text = text[: CELL_WIDTH + 1].encode("utf-8", "backslashreplace").decode()
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 1]}…"
