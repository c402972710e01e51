"""history.csv, one row an epoch, and steps.csv, one row a logged step."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tfft.training.loggers.base import Kind, LoggedRun, RunLogger, cut_back, register_logger

_FILES: dict[Kind, str] = {"epoch": "history.csv", "step": "steps.csv"}


@register_logger("csv")
class CsvLogger(RunLogger):
    """Writes CSV files whose columns are those of their first row; numbers are written exactly."""

    def __init__(self, run: LoggedRun) -> None:
        """Creates the logger.

        Args:
            run: The run to log.
        """
        super().__init__(run)
        self._streams: dict[Kind, IO[str]] = {}
        self._columns: dict[Kind, list[str]] = {}
        self._told: set[str] = set()

    def open(self, resumed: Any) -> None:
        """Opens both files, cut back to where the run was saved.

        Args:
            resumed: What `position` gave; None to begin anew.
        """
        self.run.folder.mkdir(parents=True, exist_ok=True)
        for kind, name in _FILES.items():
            path = self.run.folder / name
            size, columns = (0, []) if resumed is None else resumed[kind]
            if resumed is not None:
                cut_back(path, size, self.run.console)
                _drop_half_a_line(path)
            elif path.exists():
                self.run.console.say(f"{path}: the log of an earlier run is replaced")
            self._streams[kind] = path.open("w" if resumed is None else "a", newline="", encoding="utf-8")
            self._columns[kind] = columns

    def position(self) -> dict[str, Any]:
        """Returns the size of each file in bytes, and its columns."""
        return {kind: (stream.tell(), self._columns[kind]) for kind, stream in self._streams.items()}

    def write(self, kind: Kind, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Appends a row.

        Args:
            kind: Whether the figures are of a step or of an epoch.
            step: Optimizer steps taken.
            epoch: Number of the epoch, from 1.
            figures: Name to value.
        """
        row = {"epoch": epoch, "step": step, **figures}
        stream = self._streams[kind]
        fresh = not self._columns[kind] or stream.tell() == 0
        if fresh:
            self._columns[kind] = list(row)
        new = set(row) - set(self._columns[kind]) - self._told
        if new:
            self._told |= new
            self.run.console.say(f"{_FILES[kind]} has no column for {', '.join(sorted(new))}: its first row had none")
        writer = csv.DictWriter(stream, self._columns[kind], extrasaction="ignore", lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
        stream.flush()

    def close(self, *, failed: bool) -> None:
        """Closes the files.

        Args:
            failed: Makes no difference.
        """
        for stream in self._streams.values():
            stream.close()


def _drop_half_a_line(path: Path) -> None:
    """Ends a file that a crash of the machine cut short with its last whole line."""
    content = path.read_bytes() if path.is_file() else b""
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
