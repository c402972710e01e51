"""A run that is killed at any moment and resumed ends as one that was never interrupted, to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

#: Longest wait for an event of a run (seconds), on a busy machine.
PATIENCE = 300.0
#: Steps of the whole run: 48 rows, those of the rarer class repeated, in batches of 8; 6 epochs.
STEPS = 36
#: Tells from the events of this process whether the moment has come, and how many seconds later to kill.
Moment = tuple[Callable[[list[str], Path], bool], float]


class Runner:
    """One process with TensorFlow imported, from which each run is forked."""

    def __init__(self, script: Path, preset: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._preset = preset

    def run(self, folder: Path, *, writes: bool = True, adalora: bool = False, kill: Moment | None = None) -> int:
        """Runs to the end, or kills at a moment; returns the exit status."""
        events = folder / "events.txt"
        earlier = len(events.read_text("utf-8").splitlines()) if events.exists() else 0
        self._tell(" ".join([str(folder), self._preset, *("yes" if item else "no" for item in (writes, adalora))]))
        child = int(self._told())
        until = time.monotonic() + PATIENCE
        while kill is not None and time.monotonic() < until:
            lines = events.read_text("utf-8").splitlines()[earlier:] if events.exists() else []
            if kill[0](lines, folder):
                time.sleep(kill[1])
                os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.001)
        return int(self._told())

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.stdout.close()  # type: ignore[union-attr]
        self._process.wait(PATIENCE)

    def _tell(self, line: str) -> None:
        print(line, file=self._process.stdin, flush=True)

    def _told(self) -> str:
        while line := self._process.stdout.readline():  # type: ignore[union-attr]
            if line.strip().lstrip("-").isdigit():
                return line
        raise AssertionError("the process ended")


@pytest.fixture(scope="module")
def runner(tiny_preset: str) -> Iterator[Runner]:
    runner = Runner(Path(__file__).with_name("run_resumable.py"), tiny_preset)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def new_folder(opinions: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes the folder of a run, its data in it: the same by content, so that nothing depends on the path."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("resumed")
        texts = [f"{text}{' and the script was moving'[: 7 * (row % 4)]}" for row, text in enumerate(opinions["text"])]
        opinions.assign(text=texts)[8:].to_csv(folder / "reviews.csv", index=False)
        return folder

    return make


@pytest.fixture(scope="module")
def uninterrupted(runner: Runner, new_folder: Callable[[], Path]) -> Path:
    """A run without any checkpoint."""
    folder = new_folder()
    assert runner.run(folder, writes=False) == 0
    return folder


def after_step(step: int, delay: float = 0.0) -> Moment:
    """The moment some seconds after a step; or after a later one, if that step was done before."""

    def come(lines: list[str], folder: Path) -> bool:
        return any(line.startswith("step") and int(line.split()[1]) >= step for line in lines)

    return come, delay


def in_validation(step: int) -> Moment:
    """The moment in which the epoch that ends after some step is validated."""

    def come(lines: list[str], folder: Path) -> bool:
        return any(line.startswith("validation") and int(line.split()[1]) >= step for line in lines)

    return come, 0.0


def while_writing(step: int) -> Moment:
    """The moment in which the checkpoint after some step, or a later one, is half written."""
    after, _ = after_step(step)

    def come(lines: list[str], folder: Path) -> bool:
        return after(lines, folder) and any((folder / "run.checkpoints").glob(".step-*"))

    return come, 0.0


def found(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "found.json").read_text("utf-8"))
    return found


def check_same(one: Path, other: Path) -> None:
    with np.load(one / "weights.npz") as first, np.load(other / "weights.npz") as second:
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])
    first_found, second_found = found(one), found(other)
    for name in first_found.keys() - {"augmented"}:
        assert first_found[name] == second_found[name], name


def kill_and_resume(runner: Runner, folder: Path, moments: list[Moment], *, adalora: bool = False) -> None:
    killed = [runner.run(folder, adalora=adalora, kill=moment) for moment in moments]
    assert set(killed) == {-signal.SIGKILL}
    assert runner.run(folder, adalora=adalora) == 0


@pytest.fixture(scope="module")
def resumed(runner: Runner, new_folder: Callable[[], Path]) -> Path:
    """A run that was killed while it wrote a checkpoint, and while it validated."""
    folder = new_folder()
    kill_and_resume(runner, folder, [while_writing(8), in_validation(18)])
    return folder


def test_the_run_is_worth_resuming(uninterrupted: Path) -> None:
    result = found(uninterrupted)
    assert len(result["losses seen by a callback"]) == STEPS
    assert len(set(result["losses seen by a callback"])) == STEPS
    assert all(rows["changed"] for rows in result["augmented"].values())


def test_a_killed_run_ends_the_same_to_the_bit(uninterrupted: Path, resumed: Path) -> None:
    check_same(uninterrupted, resumed)


def test_a_killed_run_counts_each_augmented_row_once(uninterrupted: Path, resumed: Path) -> None:
    assert found(resumed)["augmented"] == found(uninterrupted)["augmented"]


def test_nothing_is_left_but_the_run(resumed: Path) -> None:
    assert {path.name for path in resumed.iterdir()} >= {"run", "found.json"}
    assert not list(resumed.glob("*.checkpoints*"))
    assert not list(resumed.glob(".*"))


@pytest.mark.slow
def test_what_adalora_remembers_of_importance_survives_kills(
    runner: Runner, new_folder: Callable[[], Path], uninterrupted: Path
) -> None:
    whole, killed = new_folder(), new_folder()
    assert runner.run(whole, writes=False, adalora=True) == 0
    kill_and_resume(runner, killed, [while_writing(8), after_step(20)], adalora=True)
    check_same(whole, killed)
    # Which triplets are left depends on the averages.
    with np.load(whole / "weights.npz") as found, np.load(uninterrupted / "weights.npz") as plain:
        assert len(found.files) > len(plain.files)
        masks = [found[name] for name in found.files if found[name].shape == (4,) and {*found[name]} == {0.0, 1.0}]
    assert masks


@pytest.mark.slow
def test_ten_kills_change_no_bit(runner: Runner, new_folder: Callable[[], Path], uninterrupted: Path) -> None:
    chance = random.Random(5)  # noqa: S311
    moments: list[Moment] = []
    for step in sorted(chance.sample(range(1, STEPS), 10)):
        kinds = (in_validation, while_writing, lambda now: after_step(now, chance.uniform(0.0, 0.1)))
        moments.append(chance.choice(kinds)(min(step, STEPS - 6)))
    folder = new_folder()
    kill_and_resume(runner, folder, moments)
    check_same(uninterrupted, folder)
