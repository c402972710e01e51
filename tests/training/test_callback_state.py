"""A callback interrupted anywhere and restored from files goes on as one that never was."""

from __future__ import annotations

import io
import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tfft.console import Console
from tfft.core.errors import ArtifactError
from tfft.training.checkpoint import CheckpointStore, latest_checkpoint
from tfft.training.plain_data import from_plain, to_plain
from tfft.training.state import (
    callback_state,
    callbacks_state,
    prepare_callbacks,
    restore_callback,
    restore_callbacks,
)

#: Falls, stays within the smallest improvement, rises, falls again.
LOSSES = [1.0, 0.8, 0.79, 0.785, 0.9, 0.6, 0.61, 0.62, 0.59, 0.7, 0.71, 0.72, 0.73, 0.74]
Make = Callable[[Path], list[keras.callbacks.Callback]]


class TopThree(keras.callbacks.Callback):
    """A user's own callback, with state of many kinds, and things that cannot be saved."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.best: dict[int, tuple[float, ...]] = {}
        self.seen = {float("nan")} - {0.0}
        self.mean = np.float32(0)
        self.trace = np.zeros((0, 2), np.float16)
        self.key = lambda value: value
        self.log = (folder / "top.txt").open("a")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.best[epoch] = (logs["loss"], logs["val_loss"])
        self.best = dict(sorted(self.best.items(), key=lambda item: item[1])[:3])
        self.mean = np.float32(0.9) * self.mean + np.float32(logs["loss"])
        self.trace = np.concatenate([self.trace, [[epoch, logs["loss"]]]], dtype=np.float16, casting="unsafe")
        self.log.write(f"{epoch}\n")
        self.log.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.log.close()


class WithOwnState(keras.callbacks.Callback):
    """A callback whose attributes are not plain data, and that says what to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: defaultdict[str, int] = defaultdict(int)

    def get_state(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "array": np.arange(2)}

    def set_state(self, state: dict[str, Any]) -> None:
        self.counts = defaultdict(int, state["counts"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.counts["even" if epoch % 2 == 0 else "odd"] += 1


def tiny_model() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones", name="dense")])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    return model


def early(mode: str, **options: Any) -> Make:
    return lambda _: [
        keras.callbacks.EarlyStopping(
            "val_loss", min_delta=0.05, patience=4, mode=mode, restore_best_weights=True, **options
        )
    ]


def rows(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".txt")}


def visible(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """What of a callback can be compared: its attributes but paths, as text, since NaN differs from itself."""
    skipped = {"_model", "filepath", "filename", "append", "append_header"}
    return {
        name: repr(value)
        for name, value in vars(callback).items()
        if name not in skipped and " at 0x" not in repr(value) and "TextIO" not in repr(value)
    }


def close_files(callbacks: list[keras.callbacks.Callback]) -> None:
    """What the system does when a process is killed."""
    for value in (value for callback in callbacks for value in vars(callback).values()):
        if isinstance(value, io.TextIOWrapper):
            value.close()


def train(make: Make, folder: Path, stop_after: int | None = None) -> tuple[Any, ...]:
    """Plays a run of `LOSSES`, each epoch changing the weights; interrupted and resumed when `stop_after` is given.

    The optimizer's and the model's variables are carried over as a checkpoint would.
    """
    folder.mkdir()
    model, callbacks = tiny_model(), make(folder)
    driver = keras.callbacks.CallbackList(callbacks, model=model, epochs=len(LOSSES))
    driver.on_train_begin()
    epoch = 0
    while epoch < len(LOSSES) and not model.stop_training:
        if epoch == stop_after:
            stop_after = None
            with CheckpointStore(folder / "c", 1, Console(quiet=True)) as store:
                store.save(epoch, *callbacks_state(callbacks))
            variables = [np.asarray(item) for item in [*model.variables, *model.optimizer.variables]]
            driver.on_epoch_end(epoch, {"loss": 9.0, "val_loss": 9.0})  # written after the checkpoint, then lost
            close_files(callbacks)
            found = latest_checkpoint(folder / "c", Console(quiet=True))
            assert found is not None
            model, callbacks = tiny_model(), make(folder)
            for item, value in zip([*model.variables, *model.optimizer.variables], variables, strict=True):
                item.assign(value)
            driver = keras.callbacks.CallbackList(callbacks, model=model, epochs=len(LOSSES))
            prepare_callbacks(callbacks, found.state)
            driver.on_train_begin()
            restore_callbacks(callbacks, found.arrays, found.state, Console(quiet=True))
        model.set_weights([weight + LOSSES[epoch] for weight in model.get_weights()])
        driver.on_epoch_end(epoch, {"loss": LOSSES[epoch] / 2, "val_loss": LOSSES[epoch]})
        epoch += 1
    state = [visible(callback) for callback in callbacks]
    driver.on_train_end()
    return (
        epoch,
        state,
        rows(folder),
        [weight.tolist() for weight in model.get_weights()],
        float(model.optimizer.learning_rate),
    )


CALLBACKS: dict[str, Make] = {
    "early_stopping": early("min"),
    "early_stopping_auto": early("auto"),
    "early_stopping_max": early("max"),
    "early_stopping_baseline": early("min", baseline=0.7, start_from_epoch=1),
    "reduce_lr": lambda _: [
        keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0.05, cooldown=1, verbose=0)
    ],
    "model_checkpoint": lambda folder: [
        keras.callbacks.ModelCheckpoint(str(folder / "{epoch}.weights.h5"), save_best_only=True, save_weights_only=True)
    ],
    "csv": lambda folder: [keras.callbacks.CSVLogger(str(folder / "log.csv"))],
    "csv_appending": lambda folder: [keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True)],
    "several": lambda folder: [
        keras.callbacks.CSVLogger(str(folder / "log.csv")),
        *early("min")(folder),
        WithOwnState(),
    ],
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_keras_callbacks_go_on_as_if_never_interrupted(name: str, tmp_path: Path) -> None:
    whole = train(CALLBACKS[name], tmp_path / "whole")
    for stop_after in (0, 1, 3, 5, whole[0] - 1):
        resumed = train(CALLBACKS[name], tmp_path / f"resumed{stop_after}", stop_after)
        assert resumed == whole, f"interrupted after {stop_after} epochs"


def test_the_run_of_these_tests_depends_on_every_callback(tmp_path: Path) -> None:
    assert train(early("min"), tmp_path / "a")[0] == 10, "the best is 0.6, four epochs passed since"
    assert train(CALLBACKS["reduce_lr"], tmp_path / "b")[4] < 0.5


def test_a_users_callback_goes_on_as_if_never_interrupted(tmp_path: Path) -> None:
    whole = train(lambda folder: [TopThree(folder)], tmp_path / "whole")
    resumed = train(lambda folder: [TopThree(folder)], tmp_path / "resumed", 6)
    assert resumed[1] == whole[1]
    assert len(whole[1][0]) >= 4
    # Its file is its own business: the lost epoch's line is there twice.
    assert resumed[2]["top.txt"].split() == ["0", "1", "2", "3", "4", "5", "6", *map(str, range(6, 14))]


def test_what_a_users_callback_loses_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = TopThree(tmp_path), TopThree(tmp_path)
    restore_callbacks([second], *callbacks_state([first]), Console())
    said = capsys.readouterr().err
    assert "TopThree starts anew with log (TextIOWrapper)" in said
    assert "key" not in said
    early_stopping = keras.callbacks.EarlyStopping()
    restore_callbacks([early_stopping], *callbacks_state([early_stopping]), Console())
    assert capsys.readouterr().err == ""
    for callback in (first, second):
        callback.on_train_end()


def test_the_arrays_are_copies() -> None:
    callback = keras.callbacks.EarlyStopping()
    callback.best_weights = [np.zeros(3)]
    arrays, document = callback_state(callback)
    callback.best_weights[0] += 1
    other = keras.callbacks.EarlyStopping()
    restore_callback(other, arrays, document)
    assert other.best_weights[0].tolist() == [0, 0, 0]
    other.best_weights[0] += 2
    assert next(iter(arrays.values())).tolist() == [0, 0, 0]


def test_other_callbacks_are_refused() -> None:
    _, document = callbacks_state([keras.callbacks.EarlyStopping(), WithOwnState()])
    with pytest.raises(ArtifactError, match=r"EarlyStopping, .*WithOwnState; this one has .*WithOwnState\. Pass"):
        prepare_callbacks([WithOwnState()], document)
    with pytest.raises(ArtifactError, match="same callbacks in the same order"):
        restore_callback(WithOwnState(), {}, document["callbacks"][0])


def test_half_of_the_own_state_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, document = callback_state(WithOwnState())
    monkeypatch.delattr(WithOwnState, "set_state")
    with pytest.raises(ArtifactError, match="get_state without set_state"):
        restore_callback(WithOwnState(), arrays, document)
    monkeypatch.setattr(WithOwnState, "get_state", lambda _: {"model": object()})
    with pytest.raises(ArtifactError, match="own holds a object"):
        callback_state(WithOwnState())


def test_a_csv_file_that_was_cut_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    callback = keras.callbacks.CSVLogger(str(path))
    callback.on_train_begin()
    callback.on_epoch_end(0, {"loss": 1.0})
    _, document = callbacks_state([callback])
    callback.on_train_end()
    path.write_text("epoch")
    with pytest.raises(ArtifactError, match=r"log\.csv is missing or shorter"):
        prepare_callbacks([keras.callbacks.CSVLogger(str(path))], document)


def exactly(left: Any, right: Any) -> bool:
    """Equality that tells types and NaN apart and looks into containers."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            exactly(a, b) for pair in zip(left.items(), right.items(), strict=True) for a, b in zip(*pair, strict=True)
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(exactly(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float):
        return math.isnan(left) == math.isnan(right) and (math.isnan(left) or left.hex() == right.hex())
    return bool(left == right)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NUMBERS = arrays_of.arrays(
    arrays_of.integer_dtypes(endianness="=") | arrays_of.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), st.text())
PLAIN = st.recursive(
    SCALARS | NUMBERS | st.frozensets(st.integers()) | st.sets(st.text()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(PLAIN)
def test_plain_data_is_the_same_after_json(value: Any) -> None:
    arrays: dict[str, np.ndarray] = {}
    document = json.loads(json.dumps(to_plain(value, "name", arrays)))
    assert exactly(from_plain(document, arrays), value)


@pytest.mark.parametrize("value", [object(), defaultdict(int), [{1: len}], np.array(["a"]), b"", open])
def test_what_is_no_plain_data_is_told(value: Any) -> None:
    with pytest.raises(TypeError, match="which is no plain data"):
        to_plain(value, "name", {})
