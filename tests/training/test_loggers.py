"""Loggers: what they write, read back by others; a resumed run's log is that of one never interrupted."""

from __future__ import annotations

import csv
import importlib.machinery
import io
import math
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfft.console import Console
from tfft.core.errors import ArtifactError, ConfigError
from tfft.training.loggers.base import LoggedRun, RunLogger, loggers, make_loggers, scalars
from tfft.training.state import callbacks_state, prepare_callbacks, restore_callbacks

EPOCHS, STEPS, EVERY = 3, 7, 2
#: Where a run is saved, and how many more steps it takes before it is killed.
INTERRUPTIONS = [(1, 0), (2, 3), (7, 2), (9, 6), (14, 1)]


class Rate:
    """An optimizer as loggers see it: the learning rate of the step to come."""

    def __init__(self) -> None:
        self.iterations = 0

    @property
    def learning_rate(self) -> float:
        return 1.0 / (1 + self.iterations)


def loss_of(step: int) -> float:
    return 1.0 / 3.0 / step


class Run:
    """A run of `EPOCHS` times `STEPS` steps with no model, which can be saved, killed and resumed."""

    def __init__(self, make: Callable[[], list[RunLogger]]) -> None:
        self.make = make
        self.start()

    def start(self) -> None:
        self.model = types.SimpleNamespace(optimizer=Rate())
        self.loggers = self.make()
        self.driver = keras.callbacks.CallbackList(self.loggers)
        self.driver.set_model(self.model)

    def train(self, start: int, stop: int, *, begun: bool = False) -> None:
        for step in range(start, stop):
            epoch, batch = divmod(step, STEPS)
            if batch == 0 and not (begun and step == start):
                self.driver.on_epoch_begin(epoch)
            self.driver.on_train_batch_begin(batch)
            self.model.optimizer.iterations += 1
            self.driver.on_train_batch_end(batch, {"loss": loss_of(step + 1)})
            if batch == STEPS - 1:
                figures = {"loss": loss_of(step + 1), "val_loss": np.float32(epoch), "val_accuracy": np.array(0.5)}
                self.driver.on_epoch_end(epoch, {**figures, "confusion": np.eye(2)})

    def whole(self) -> None:
        self.driver.on_train_begin()
        self.train(0, EPOCHS * STEPS)
        self.driver.on_train_end()

    def interrupted(self, saved: int, lost: int) -> None:
        self.driver.on_train_begin()
        self.train(0, saved)
        arrays, document = callbacks_state(self.loggers)
        self.train(saved, saved + lost)
        for logger in self.loggers:
            logger.abandon()
        self.start()
        self.model.optimizer.iterations = saved
        prepare_callbacks(self.loggers, document)
        self.driver.on_train_begin()
        self.driver.on_epoch_begin(saved // STEPS)
        restore_callbacks(self.loggers, arrays, document, Console(quiet=True))
        self.train(saved, EPOCHS * STEPS, begun=True)
        self.driver.on_train_end()


def logged(folder: Path, console: Console | None = None) -> LoggedRun:
    config = {"batch_size": 8, "learning_rates": {"head": 0.5}, "note": "x" * 700}
    return LoggedRun(folder, "my run", config, console or Console(quiet=True), EVERY)


def heard() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(stream=stream), stream


def csv_rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as stream:
        return [{key: row[key] for key in row if "per_second" not in key} for row in csv.DictReader(stream)]


def events(folder: Path) -> list[tuple[str, str, int, float]]:
    """Split, tag, step and value of every scalar, in the order in which TensorBoard reads them."""
    found = []
    for path in sorted((folder / "tensorboard").glob("*/events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [
                (path.parent.name, value.tag, event.step, value.simple_value)
                for value in event.summary.value
                if "per_second" not in value.tag
            ]
    return found


# What every logger does


def test_every_logger_is_listed() -> None:
    assert loggers.names() == ["csv", "mlflow", "tensorboard", "wandb"]
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        make_loggers(["tensorbord"], logged(Path()))


def test_nothing_is_written_before_training(tmp_path: Path) -> None:
    run = Run(lambda: make_loggers(["csv", "tensorboard", "csv"], logged(tmp_path / "logs")))
    assert [type(item).__name__ for item in run.loggers] == ["CsvLogger", "TensorBoardLogger"]
    run.driver.on_train_begin()
    run.driver.on_epoch_begin(0)
    run.driver.on_train_end()
    assert list(tmp_path.iterdir()) == []


def test_single_numbers_are_figures() -> None:
    logs = {"a": 1, "b": np.float16(2), "c": np.array(3.0), "d": tf.constant(4.0), "e": np.eye(2), "f": "x", "g": None}
    assert scalars(logs) == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert scalars(None) == {}


def test_keras_fit_takes_them_as_callbacks(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse", metrics=["mae"])
    data = np.arange(16.0).reshape(8, 2) / 16, np.ones(8)
    made = make_loggers(["csv", "tensorboard"], logged(tmp_path))
    history = model.fit(*data, batch_size=2, epochs=3, validation_data=data, callbacks=made, verbose=0).history
    table = pd.read_csv(tmp_path / "history.csv", float_precision="round_trip")
    assert table["step"].tolist() == [4, 8, 12]
    for name, values in history.items():
        column = f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"
        assert table[column].tolist() == values
    steps = pd.read_csv(tmp_path / "steps.csv")
    assert steps["step"].tolist() == [2, 4, 6, 8, 10, 12]
    assert steps["step/learning_rate"].tolist() == [0.25] * 6
    assert (steps["step/steps_per_second"] > 0).all()
    assert ("validation", "epoch/mae", 12, np.float32(history["val_mae"][-1])) in events(tmp_path)


def test_a_log_that_cannot_be_written_does_not_end_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console, said = heard()
    run = Run(lambda: make_loggers(["csv"], logged(tmp_path, console)))
    run.driver.on_train_begin()
    run.train(0, 7)
    before = run.loggers[0].get_state()["position"]

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(run.loggers[0], "write", full)
    run.train(7, 21)
    assert run.loggers[0].get_state() == {"step": 21, "epoch": 2, "position": before}
    run.driver.on_train_end()
    assert said.getvalue() == "CsvLogger: figures cannot be written any more: the disk is full\n"


def test_a_log_that_cannot_be_opened_ends_the_run_before_its_first_step(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    run = Run(lambda: make_loggers(["csv"], logged(tmp_path / "logs")))
    run.driver.on_train_begin()
    with pytest.raises(ArtifactError, match="leave it out of log_to"):
        run.driver.on_train_batch_begin(0)


# CSV


def test_the_csv_files_hold_the_figures_exactly(tmp_path: Path) -> None:
    Run(lambda: make_loggers(["csv"], logged(tmp_path))).whole()
    epochs, steps = csv_rows(tmp_path, "history.csv"), csv_rows(tmp_path, "steps.csv")
    assert [list(row) for row in epochs] == [["epoch", "step", "train/loss", "val/accuracy", "val/loss"]] * EPOCHS
    assert [float(row["train/loss"]) for row in epochs] == [loss_of(step) for step in (7, 14, 21)]
    assert [(row["epoch"], row["step"]) for row in epochs] == [("1", "7"), ("2", "14"), ("3", "21")]
    wanted = list(range(EVERY, EPOCHS * STEPS + 1, EVERY))
    assert [int(row["step"]) for row in steps] == wanted
    assert [int(row["epoch"]) for row in steps] == [(step - 1) // STEPS + 1 for step in wanted]
    assert [float(row["step/loss"]) for row in steps] == [loss_of(step) for step in wanted]
    # The rate that the step was taken with, not that of the next one.
    assert [float(row["step/learning_rate"]) for row in steps] == [1 / step for step in wanted]


@pytest.mark.parametrize(("saved", "lost"), INTERRUPTIONS)
def test_a_resumed_csv_log_is_that_of_a_run_never_interrupted(saved: int, lost: int, tmp_path: Path) -> None:
    for name, play in (("whole", Run.whole), ("resumed", lambda run: run.interrupted(saved, lost))):
        play(Run(lambda: make_loggers(["csv"], logged(tmp_path / name))))  # noqa: B023  called at once
    for name in ("history.csv", "steps.csv"):
        assert csv_rows(tmp_path / "resumed", name) == csv_rows(tmp_path / "whole", name)


def test_a_csv_log_that_was_cut_or_lost_goes_on_with_whole_lines(tmp_path: Path) -> None:
    console, said = heard()
    run = Run(lambda: make_loggers(["csv"], logged(tmp_path, console)))
    run.driver.on_train_begin()
    run.train(0, 14)
    state = run.loggers[0].get_state()
    run.driver.on_train_end()
    steps = (tmp_path / "steps.csv").read_bytes()
    (tmp_path / "steps.csv").write_bytes(steps[:-3])
    (tmp_path / "history.csv").unlink()
    run.start()
    run.driver.on_train_begin()
    run.loggers[0].set_state(state)
    run.train(14, 21)
    run.driver.on_train_end()
    assert said.getvalue().count("part of the log before the resume is lost") == 2
    assert [int(row["step"]) for row in csv_rows(tmp_path, "steps.csv")] == [2, 4, 6, 8, 10, 12, 16, 18, 20]
    assert [int(row["step"]) for row in csv_rows(tmp_path, "history.csv")] == [21]


def test_a_run_that_begins_anew_replaces_its_logs(tmp_path: Path) -> None:
    console, said = heard()
    for _ in range(2):
        Run(lambda: make_loggers(["csv", "tensorboard"], logged(tmp_path, console))).whole()
    assert len(csv_rows(tmp_path, "history.csv")) == EPOCHS
    assert len(list(tmp_path.glob("tensorboard/*/*"))) == 2
    assert said.getvalue().count("the log of an earlier run is replaced") == 3


def test_a_figure_that_comes_too_late_for_a_column_is_said_once(tmp_path: Path) -> None:
    console, said = heard()
    (logger,) = make_loggers(["csv"], logged(tmp_path, console))
    logger.on_train_begin()
    for epoch, logs in enumerate([{"loss": 1.0}, {"loss": 1.0, "late": 2.0}, {"late": float("nan")}]):
        logger.on_epoch_end(epoch, logs)
    logger.on_train_end()
    assert said.getvalue() == "history.csv has no column for train/late: its first row had none\n"
    assert [row["train/loss"] for row in csv_rows(tmp_path, "history.csv")] == ["1.0", "1.0", ""]


# TensorBoard


def test_the_event_files_hold_the_figures(tmp_path: Path) -> None:
    Run(lambda: make_loggers(["tensorboard"], logged(tmp_path))).whole()
    found = events(tmp_path)
    losses = {(split, tag): [] for split, tag, _, _ in found}
    for split, tag, step, value in found:
        losses[split, tag].append((step, value))
    wanted = range(EVERY, EPOCHS * STEPS + 1, EVERY)
    assert losses["train", "step/loss"] == [(step, np.float32(loss_of(step))) for step in wanted]
    assert losses["train", "step/learning_rate"] == [(step, np.float32(1 / step)) for step in wanted]
    assert losses["train", "epoch/loss"] == [(step, np.float32(loss_of(step))) for step in (7, 14, 21)]
    assert losses["validation", "epoch/loss"] == [(7, 0.0), (14, 1.0), (21, 2.0)]
    assert losses["train", "epoch/number"] == [(7, 1.0), (14, 2.0), (21, 3.0)]


@pytest.mark.parametrize(("saved", "lost"), INTERRUPTIONS)
def test_resumed_event_files_are_those_of_a_run_never_interrupted(saved: int, lost: int, tmp_path: Path) -> None:
    for name, play in (("whole", Run.whole), ("resumed", lambda run: run.interrupted(saved, lost))):
        play(Run(lambda: make_loggers(["tensorboard"], logged(tmp_path / name))))  # noqa: B023  called at once
    assert events(tmp_path / "resumed") == events(tmp_path / "whole")


def test_tensorboard_reads_the_event_files(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Run(lambda: make_loggers(["tensorboard"], logged(tmp_path))).interrupted(9, 6)
    accumulator = reader.EventAccumulator(str(tmp_path / "tensorboard" / "train"))
    accumulator.Reload()
    found = [(item.step, item.value) for item in accumulator.Scalars("epoch/loss")]
    assert found == [(step, np.float32(loss_of(step))) for step in (7, 14, 21)]
    assert len(accumulator.Scalars("step/steps_per_second")) == EPOCHS * STEPS // EVERY


# Weights & Biases and MLflow: our calls on a stand-in, and the real package where it is installed


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment without settings or keys of either."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


class FakeWandb:
    """Weights & Biases: one run, whose steps must rise."""

    def __init__(self) -> None:
        self.inits: list[dict[str, Any]] = []
        self.rows: dict[int, dict[str, float]] = {}
        self.step = 0
        self.id = "abc123"
        self.finished: list[int] = []

    def init(self, **given: Any) -> FakeWandb:
        self.inits.append(given)
        return self

    def log(self, figures: dict[str, float], step: int) -> None:
        assert step >= self.step
        self.step = step
        self.rows.setdefault(step, {}).update(figures)

    def finish(self, exit_code: int) -> None:
        self.finished.append(exit_code)


@pytest.mark.usefixtures("alone")
def test_wandb_is_called_as_it_wants_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, resumed = FakeWandb(), FakeWandb()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    for fake, play in ((whole, Run.whole), (resumed, lambda run: run.interrupted(9, 6))):
        stand_in(monkeypatch, "wandb", init=fake.init, Settings=dict)
        play(Run(lambda: make_loggers(["wandb"], logged(tmp_path))))
        for row in fake.rows.values():
            row.pop("step/steps_per_second", None)
    assert resumed.rows == whole.rows
    assert (whole.finished, resumed.finished) == ([0], [1, 0])
    assert whole.rows[14] == {
        **{"epoch": 2, "step/loss": loss_of(14), "step/learning_rate": 1 / 14},
        **{"train/loss": loss_of(14), "val/loss": 1.0, "val/accuracy": 0.5},
    }
    first, second = resumed.inits
    assert (first["id"], first["resume"], second["id"], second["resume"]) == (None, None, "abc123", "allow")
    for given in resumed.inits:
        assert (given["mode"], given["project"], given["name"]) == ("online", "tfft", "my run")
        assert given["config"]["batch_size"] == 8


@pytest.mark.usefixtures("alone")
def test_wandb_is_offline_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine elsewhere login user password key\n")
    modes = []
    for variables in ({}, {"WANDB_API_KEY": "k"}, {"WANDB_API_KEY": "", "WANDB_MODE": "disabled"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        fake = FakeWandb()
        stand_in(monkeypatch, "wandb", init=fake.init, Settings=dict)
        console, said = heard()
        Run(lambda: make_loggers(["wandb"], logged(tmp_path, console))).interrupted(3, 0)  # noqa: B023  called at once
        modes.append((fake.inits[1]["mode"], fake.inits[1]["resume"], "wandb sync" in said.getvalue()))
    assert modes == [("offline", None, True), ("online", "allow", False), ("disabled", None, False)]


class FakeMlflow:
    """MLflow's client: keeps every metric that it is given."""

    def __init__(self) -> None:
        self.metrics: list[Any] = []
        self.params: list[Any] = []
        self.calls: list[tuple[Any, ...]] = []

    def get_experiment_by_name(self, name: str) -> Any:
        self.calls.append(("experiment", name))
        return None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self.calls.append(("create", name, artifact_location))
        return "7"

    def create_run(self, number: str, run_name: str) -> Any:
        self.calls.append(("run", number, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    def update_run(self, run: str, status: str) -> None:
        self.calls.append(("update", run, status))

    def get_run(self, run: str) -> Any:
        return types.SimpleNamespace(data=types.SimpleNamespace(metrics={item.key for item in self.metrics}))

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        return [item for item in self.metrics if item.key == name]

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        assert run == "r1"
        assert metrics or params
        self.metrics += metrics
        self.params += params

    def set_terminated(self, run: str, status: str) -> None:
        self.calls.append(("end", run, status))


@pytest.mark.usefixtures("alone")
def test_mlflow_is_called_as_it_wants_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for play in (Run.whole, lambda run: run.interrupted(9, 6)):
        fake, addresses = FakeMlflow(), []

        def client(tracking_uri: str, fake: FakeMlflow = fake, addresses: list[str] = addresses) -> FakeMlflow:
            addresses.append(tracking_uri)
            return fake

        stand_in(monkeypatch, "mlflow", MlflowClient=client)
        stand_in(
            monkeypatch,
            "mlflow.entities",
            Metric=lambda key, value, now, step: types.SimpleNamespace(key=key, value=value, step=step),
            Param=lambda key, value: (key, value),
        )
        play(Run(lambda: make_loggers(["mlflow"], logged(tmp_path))))
        assert set(addresses) == {f"sqlite:///{tmp_path / 'mlflow.db'}"}
        assert fake.params == [("batch_size", "8"), ("learning_rates", "{'head': 0.5}"), ("note", "x" * 500)]
        metrics = [(item.key, item.step, item.value) for item in fake.metrics if "per_second" not in item.key]
        assert len(metrics) == len({(key, step) for key, step, _ in metrics}), "logged twice"
        found.append(sorted(metrics))
    assert found[0] == found[1]
    assert ("val/loss", 14, 1.0) in found[0]
    assert [call for call in fake.calls if call[0] in ("run", "update", "end")] == [
        ("run", "7", "my run"),
        ("end", "r1", "FAILED"),
        ("update", "r1", "RUNNING"),
        ("end", "r1", "FINISHED"),
    ]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_told_before_training(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda asked: None if asked == name else find(asked))
    with pytest.raises(ConfigError, match=rf"pip install 'tfft\[{name}\]'"):
        make_loggers([name], logged(tmp_path))


#: In a process of its own, since the packages warn, and start threads and processes.
REAL = """
import sys
sys.path[:0] = [sys.argv[2]]
sys.path += sys.argv[3:]
from pathlib import Path
from test_loggers import Run, logged
from tfft.training.loggers.base import make_loggers
run = Run(lambda: make_loggers([sys.argv[1]], logged(Path.cwd())))
run.interrupted(9, 6)
"""


def really(name: str, folder: Path) -> None:
    elsewhere = [path for path in sys.path if path.endswith("site-packages")]
    command = [sys.executable, "-c", REAL, name, str(Path(__file__).parent), *elsewhere]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore")
def test_the_real_mlflow_keeps_one_run_without_repetitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    really("mlflow", tmp_path)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("tfft").experiment_id])
    assert (run.info.run_name, run.info.status) == ("my run", "FINISHED")
    assert run.data.params["batch_size"] == "8"
    history = [(item.step, item.value) for item in client.get_metric_history(run.info.run_id, "step/loss")]
    wanted = [(step, loss_of(step)) for step in range(EVERY, EPOCHS * STEPS + 1, EVERY)]
    assert sorted(history) == wanted
    assert math.isclose(run.data.metrics["val/loss"], 2.0)


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_the_real_wandb_keeps_the_run_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    really("wandb", tmp_path)
    kept = sorted(path.name.rsplit("-", 1)[1] for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert len(kept) == 2, "one folder for each process"
    assert kept[0] == kept[1], "one id"
