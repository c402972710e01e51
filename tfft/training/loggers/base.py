"""The contract of a logger: a Keras callback that gathers figures, and continues its log when a run is resumed."""

from __future__ import annotations

import abc
import dataclasses
import importlib.util
import numbers
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras

from tfft.console import Console
from tfft.core.errors import ArtifactError, ConfigError
from tfft.core.registry import Registry

Kind = Literal["step", "epoch"]


@dataclasses.dataclass(frozen=True)
class LoggedRun:
    """The run that is logged.

    Attributes:
        folder: Where its logs go. A run that begins anew replaces what is there.
        name: What the run is called in programs that show several.
        config: Its options, as plain data.
        console: Where what a logger decides is said.
        every_steps: Steps between two logged steps.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    console: Console
    every_steps: int = 10


class RunLogger(keras.callbacks.Callback, abc.ABC):
    """Gathers the figures of steps and epochs; what writes them opens before the first step, not before.

    Every `every_steps` steps: `step/loss` (the mean of the epoch so far) and other running figures, the
    `step/learning_rate` that the step was taken with, and `step/steps_per_second` since the step logged before,
    validation left out. After an epoch: `train/` and `val/` figures. Both go by the number of steps taken.

    `get_state` and `set_state` are what a checkpoint keeps of a logger; the log itself stays where it is. A log that
    cannot be opened ends the run before its first step; one that cannot be written later is said and given up, since
    training is worth more than its log.
    """

    def __init__(self, run: LoggedRun) -> None:
        """Creates the logger; writes nothing.

        Args:
            run: The run to log.
        """
        super().__init__()
        self.run = run
        self._open = False
        self._given_up = False
        self._resumed: Any = None
        self._step = 0
        self._epoch = 0
        self._rate: float | None = None
        self._clock: tuple[float, int] | None = None

    @abc.abstractmethod
    def open(self, resumed: Any) -> None:
        """Opens the log.

        Args:
            resumed: What `position` gave when the run was saved, to go on from there; None to begin anew.
        """

    @abc.abstractmethod
    def position(self) -> Any:
        """Returns plain data that tells where in which log the run is."""

    @abc.abstractmethod
    def write(self, kind: Kind, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Writes figures so that they survive a killed process.

        Args:
            kind: Whether they are of a step or of an epoch.
            step: Optimizer steps taken.
            epoch: Number of the epoch, from 1.
            figures: Name to value.
        """

    @abc.abstractmethod
    def close(self, *, failed: bool) -> None:
        """Closes the log.

        Args:
            failed: Whether the run ended before its time; it may be resumed.
        """

    def flush(self) -> None:
        """Writes figures that wait, before a checkpoint is made."""

    def get_state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        if self._open:
            self._guarded(self.flush)
        return {"step": self._step, "epoch": self._epoch, "position": self._resumed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint; to be called after `on_train_begin`, before the first step."""
        self._step, self._resumed = state["step"], state["position"]
        self._epoch = max(self._epoch, state["epoch"])  # the next one may have begun

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins anew."""
        self._step, self._epoch, self._resumed, self._clock = 0, 0, None, None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch; a resumed run may get its state after this, so the log is not opened yet."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Opens the log before the first step; notes the learning rate, which the step moves on."""
        self._ensure_open()
        if self._clock is None:
            self._clock = time.perf_counter(), self._step
        if (self._step + 1) % self.run.every_steps == 0:
            rate = getattr(self.model.optimizer, "learning_rate", None)
            self._rate = None if rate is None else float(rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes the figures of the step when it is one of those logged."""
        self._step += 1
        if self._step % self.run.every_steps:
            return
        figures = {f"step/{name}": value for name, value in scalars(logs).items()}
        if self._rate is not None:
            figures["step/learning_rate"] = self._rate
        now = time.perf_counter()
        if self._clock is not None and now > self._clock[0]:
            figures["step/steps_per_second"] = (self._step - self._clock[1]) / (now - self._clock[0])
        self._clock = now, self._step
        self._guarded(lambda: self.write("step", self._step, self._epoch + 1, figures))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the figures of the epoch."""
        self._ensure_open()
        self._clock = None  # what comes between epochs is no training time
        figures = {
            f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}": value
            for name, value in scalars(logs).items()
        }
        self._guarded(lambda: self.write("epoch", self._step, epoch + 1, figures))

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the log."""
        self._close(failed=False)

    def abandon(self) -> None:
        """Closes the log of a run that an error ends, which Keras does not tell its callbacks; does nothing twice."""
        self._close(failed=True)

    def _close(self, *, failed: bool) -> None:
        if self._open:
            self._open = False
            self._guarded(lambda: self.close(failed=failed), last=True)

    def _ensure_open(self) -> None:
        if self._open:
            return
        try:
            self.open(self._resumed)
        except Exception as error:  # of the disk, or of a package or its server
            raise ArtifactError(
                f"{type(self).__name__} cannot log to {self.run.folder}: {error}. Mend that, or leave it out of log_to."
            ) from error
        self._open, self._resumed = True, self.position()

    def _guarded(self, action: Callable[[], None], *, last: bool = False) -> None:
        if self._given_up and not last:
            return
        try:
            action()
            if not last:
                self._resumed = self.position()
        except Exception as error:  # whatever the disk or a server does: the run goes on
            if not self._given_up:
                self.run.console.say(f"{type(self).__name__}: figures cannot be written any more: {error}")
            self._given_up = True


loggers: Registry[Callable[[LoggedRun], RunLogger]] = Registry("logger", "tfft.training.loggers")
register_logger = loggers.register


def make_loggers(names: Sequence[str], run: LoggedRun) -> list[RunLogger]:
    """Returns the loggers of a run; to be called before anything costly, since a package may be missing.

    Args:
        names: Registered names.
        run: The run to log.

    Returns:
        One callback a name, in this order.
    """
    return [loggers.get(name)(run) for name in dict.fromkeys(names)]


def require(package: str) -> None:
    """Checks that an optional package is there.

    Args:
        package: Name of the package, and of the extra of tfft that installs it.

    Raises:
        ConfigError: When it is missing.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"log_to: {package!r} needs the package {package}; run: pip install 'tfft[{package}]'")


def scalars(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Returns the figures among the logs that are single numbers, as floats."""
    found = {}
    for name, value in (logs or {}).items():
        if isinstance(value, numbers.Real) or getattr(value, "shape", None) == ():
            found[name] = float(value)
    return found


def cut_back(path: Path, size: int, console: Console) -> None:
    """Cuts a log back to where a checkpoint was, so that a resumed run logs nothing twice.

    Args:
        path: The log.
        size: Its bytes when the checkpoint was made.
        console: Where it is said that the log is not what it was.
    """
    present = path.stat().st_size if path.is_file() else 0
    if present < size:
        console.say(f"{path} has {present:,} of the {size:,} bytes it had: part of the log before the resume is lost")
    elif present > size:
        with path.open("r+b") as stream:
            stream.truncate(size)
