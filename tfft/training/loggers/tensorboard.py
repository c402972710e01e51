"""Event files for TensorBoard, written without the package `tensorboard`, which TensorFlow does not install."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfft.training.loggers.base import Kind, LoggedRun, RunLogger, cut_back, register_logger

_PATTERN = "events.out.tfevents.*"
#: Figures of both go by the same name, so that TensorBoard draws them in one chart.
_SPLITS = {"train/": "train", "step/": "train", "val/": "validation"}


@register_logger("tensorboard")
class TensorBoardLogger(RunLogger):
    """Writes `train` and `validation` runs below `<folder>/tensorboard`.

    A resumed run cuts the files back to where it was saved and goes on in files of its own, as TensorBoard expects.
    """

    def __init__(self, run: LoggedRun) -> None:
        """Creates the logger.

        Args:
            run: The run to log.
        """
        super().__init__(run)
        self._root = run.folder / "tensorboard"
        self._writers: dict[str, tuple[Path, Any]] = {}
        self._before: dict[str, int] = {}

    def open(self, resumed: Any) -> None:
        """Opens new files beside those of the run so far, or in place of those of an earlier run.

        Args:
            resumed: What `position` gave; None to begin anew.
        """
        present = sorted(self._root.glob(f"*/{_PATTERN}"))
        if present and resumed is None:
            self.run.console.say(f"{self._root}: the log of an earlier run is replaced")
        self._before = dict(resumed or {})
        for path in present:
            if path.relative_to(self._root).as_posix() not in self._before:
                path.unlink()  # of an earlier run, or written after the checkpoint
        for name, size in self._before.items():
            cut_back(self._root / name, size, self.run.console)

    def position(self) -> dict[str, int]:
        """Returns the size of each file in bytes."""
        own = {path.relative_to(self._root).as_posix(): path.stat().st_size for path, _ in self._writers.values()}
        return {**self._before, **own}

    def write(self, kind: Kind, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Writes one event for each split that has figures.

        Args:
            kind: Whether they are of a step or of an epoch.
            step: Optimizer steps taken.
            epoch: Number of the epoch, from 1.
            figures: Name to value.
        """
        values: dict[str, list[Any]] = {}
        for name, value in figures.items():
            prefix, _, short = name.partition("/")
            tagged = tf.compat.v1.Summary.Value(tag=f"{kind}/{short}", simple_value=value)
            values.setdefault(_SPLITS[f"{prefix}/"], []).append(tagged)
        if kind == "epoch":
            values["train"].append(tf.compat.v1.Summary.Value(tag="epoch/number", simple_value=float(epoch)))
        for split, items in values.items():
            self._event(split, step=step, summary=tf.compat.v1.Summary(value=items))

    def close(self, *, failed: bool) -> None:
        """Closes the files.

        Args:
            failed: Makes no difference.
        """
        for _, writer in self._writers.values():
            writer.close()

    def _event(self, split: str, **content: Any) -> None:
        if split not in self._writers:
            # Named by time, by which TensorBoard reads them in order.
            path = self._root / split / f"events.out.tfevents.{time.time():017.6f}.{uuid.uuid4().hex[:8]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[split] = path, tf.io.TFRecordWriter(str(path))
            self._event(split, file_version="brain.Event:2")
        _, writer = self._writers[split]
        writer.write(tf.compat.v1.Event(wall_time=time.time(), **content).SerializeToString())
        writer.flush()
