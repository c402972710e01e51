"""Checkpoints: every bit comes back, damage is passed over, an interrupted save leaves the one before."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from tfft.console import Console
from tfft.core.errors import ArtifactError, ConfigError
from tfft.training import checkpoint as module
from tfft.training.checkpoint import CheckpointStore, CheckpointTimer, latest_checkpoint

TYPES = (
    *(np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64),
    *(np.float16, np.float32, np.float64, np.complex64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4),
)


def heard() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(stream=stream), stream


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def fill(directory: Path, steps: tuple[int, ...], keep: int = 9) -> None:
    """Writes a checkpoint for each step, whose array and state hold the step."""
    with CheckpointStore(directory, keep, Console(quiet=True)) as store:
        for step in steps:
            store.save(step, {"w": np.full(7, step, np.float32)}, {"step": step})


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_every_bit_of_every_type_comes_back(dtype: Any, tmp_path: Path, quiet: Console) -> None:
    size = np.dtype(dtype).itemsize
    every = np.arange(256 * size, dtype=np.uint8).reshape(256, size)  # all bytes: every NaN of a small float too
    if dtype is np.bool_:
        every %= 2
    array = every.view(dtype).reshape(2, 128)
    given = {
        "matrix": array,
        "scalar": array[0, 3],
        "nothing": array[:, :0],
        "odd/name é": array.T,
        "every": array[::2],
    }
    with CheckpointStore(tmp_path / "c", 1, quiet) as store:
        store.save(1, {name: np.asarray(item) for name, item in given.items()}, {})
        found = store.latest()
    assert found is not None
    assert found.arrays.keys() == given.keys()
    for name, item in given.items():
        assert found.arrays[name].dtype == item.dtype
        assert found.arrays[name].shape == item.shape
        assert found.arrays[name].tobytes() == item.tobytes(), name


def test_big_endian_arrays_keep_their_values(tmp_path: Path, quiet: Console) -> None:
    with CheckpointStore(tmp_path / "c", 1, quiet) as store:
        store.save(1, {"w": np.arange(5, dtype=">i4")}, {})
        found = store.latest()
    assert found is not None
    assert found.arrays["w"].tolist() == [0, 1, 2, 3, 4]


def test_plain_data_comes_back_and_may_change_after_save(tmp_path: Path, quiet: Console) -> None:
    state = {"loss": [0.1, float("inf"), -0.0], "text": "\ud800 é", "none": None, "big": 2**70}
    with CheckpointStore(tmp_path / "c", 1, quiet) as store:
        store.save(12, {}, state)
        state["loss"] = []
        found = store.latest()
    assert found is not None
    assert found.step == 12
    assert found.state == {"loss": [0.1, float("inf"), -0.0], "text": "\ud800 é", "none": None, "big": 2**70}


def test_the_files_are_those_that_other_programs_read(tmp_path: Path) -> None:
    fill(tmp_path / "c", (123,))
    folder = tmp_path / "c" / "step-00000123"
    assert names(folder) == ["arrays.safetensors", "manifest.json", "state.json"]
    assert load_file(folder / "arrays.safetensors")["w"].tolist() == [123.0] * 7
    assert json.loads((folder / "state.json").read_text())["state"] == {"step": 123}
    manifest = json.loads((folder / "manifest.json").read_text())
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    assert digests == {name: file["sha256"] for name, file in manifest["files"].items()}
    assert len(digests) == 2


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None]), np.array([1j]), np.array([b"a"]), np.zeros(2, "V4")]
)
def test_an_array_that_cannot_be_stored_is_refused(array: np.ndarray, tmp_path: Path, quiet: Console) -> None:
    with CheckpointStore(tmp_path / "c", 1, quiet) as store, pytest.raises(ArtifactError, match="'odd' of type"):
        store.save(1, {"odd": array}, {})


def test_state_that_is_no_plain_data_is_refused(tmp_path: Path, quiet: Console) -> None:
    with CheckpointStore(tmp_path / "c", 1, quiet) as store, pytest.raises(ArtifactError, match="not plain data"):
        store.save(1, {}, {"model": object()})


def test_the_newest_stay(tmp_path: Path) -> None:
    fill(tmp_path / "c", (5, 10, 100000000, 200000000), keep=2)
    assert names(tmp_path / "c") == [".lock", "step-100000000", "step-200000000"]


def test_a_save_of_an_earlier_step_ends_the_continuation_given_up(tmp_path: Path, quiet: Console) -> None:
    fill(tmp_path / "c", (10, 20, 30))
    fill(tmp_path / "c", (15,), keep=2)
    assert names(tmp_path / "c") == [".lock", "step-00000010", "step-00000015"]
    found = latest_checkpoint(tmp_path / "c", quiet)
    assert found is not None
    assert found.step == 15


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(tmp_path: Path, quiet: Console) -> None:
    fill(tmp_path / "c", (10, 20))
    (tmp_path / "c" / "step-00000020" / "state.json").unlink()
    with CheckpointStore(tmp_path / "c", 2, quiet) as store:
        assert store.latest() is not None
        store.save(30, {}, {})
    assert names(tmp_path / "c") == [".lock", "step-00000010", "step-00000030"]


def test_the_same_step_can_be_saved_again(tmp_path: Path, quiet: Console) -> None:
    fill(tmp_path / "c", (10,))
    with CheckpointStore(tmp_path / "c", 1, quiet) as store:
        store.save(10, {}, {"anew": True})
        found = store.latest()
    assert found is not None
    assert found.state == {"anew": True}
    assert names(tmp_path / "c") == [".lock", "step-00000010"]


def test_any_damage_is_found(tmp_path: Path, quiet: Console) -> None:
    fill(tmp_path / "c", (1, 2))
    folder, draw = tmp_path / "c" / "step-00000002", np.random.default_rng(5)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        places = range(len(content)) if path.name == "manifest.json" else draw.integers(len(content), size=40)
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << draw.integers(8)
            path.write_bytes(changed)
            found = latest_checkpoint(tmp_path / "c", quiet)
            assert found is not None
            assert found.step == 1, f"{path.name}: byte {place} changed"
        for length in [0, 1, len(content) - 1, *draw.integers(len(content), size=20)]:
            path.write_bytes(content[:length])
            found = latest_checkpoint(tmp_path / "c", quiet)
            assert found is not None
            assert found.step == 1, f"{path.name}: cut to {length} bytes"
        path.write_bytes(content + b" ")
        found = latest_checkpoint(tmp_path / "c", quiet)
        assert found is not None
        assert found.step == 1, f"{path.name}: a byte more"
        path.write_bytes(content)
    found = latest_checkpoint(tmp_path / "c", quiet)
    assert found is not None
    assert found.step == 2, "put back, it is used again"


def test_damage_is_said_with_name_and_reason(tmp_path: Path) -> None:
    fill(tmp_path / "c", (1, 2, 3, 4, 5))
    folders = [tmp_path / "c" / f"step-0000000{step}" for step in range(1, 6)]
    (folders[4] / "manifest.json").write_text("{}")
    (folders[3] / "arrays.safetensors").unlink()
    os.truncate(folders[2] / "state.json", 3)
    folders[1].rename(tmp_path / "c" / "step-00000009")
    console, said = heard()
    found = latest_checkpoint(tmp_path / "c", console)
    assert found is not None
    assert found.step == 1
    lines = said.getvalue().splitlines()
    assert len(lines) == 4
    for line, name, reason in zip(
        lines,
        ("step-00000009", "step-00000005", "step-00000004", "step-00000003"),
        ("holds step 2", "manifest.json was truncated or altered", "arrays.safetensors cannot be read", "has 3 bytes"),
        strict=True,
    ):
        assert name in line
        assert reason in line


def test_a_checkpoint_of_a_later_format_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfft.training.checkpoint_files.FORMAT", 2)
    fill(tmp_path / "c", (1,))
    monkeypatch.undo()
    console, said = heard()
    assert latest_checkpoint(tmp_path / "c", console) is None
    assert "later version of tfft (format 2)" in said.getvalue()


def test_what_interrupted_saves_left_is_cleared_up(tmp_path: Path) -> None:
    fill(tmp_path / "c", (1, 2))
    (tmp_path / "c" / ".step-00000003-x7_a").mkdir()
    (tmp_path / "c" / ".step-00000003-x7_a" / "state.json").touch()
    (tmp_path / "c" / "step-00000002").rename(tmp_path / "c" / ".step-00000002-earlier")
    console, said = heard()
    with CheckpointStore(tmp_path / "c", 3, console) as store:
        found = store.latest()
    assert found is not None
    assert found.step == 2, "moved away for its successor, which never came"
    assert names(tmp_path / "c") == [".lock", "step-00000001", "step-00000002"]
    assert said.getvalue().count("\n") == 1
    assert ".step-00000003-x7_a" in said.getvalue()


def test_saving_goes_on_beside_training_and_the_next_save_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, write = threading.Event(), module.write_checkpoint
    monkeypatch.setattr(module, "write_checkpoint", lambda *given: go.wait(30) and write(*given))
    monkeypatch.setattr(module, "LONGEST_QUIET_WAIT", 0.02)
    console, said = heard()
    with CheckpointStore(tmp_path / "c", 2, console) as store:
        store.save(1, {}, {})
        assert store.busy
        assert names(tmp_path / "c") == [".lock"]
        threading.Timer(0.1, go.set).start()
        store.save(2, {}, {})
        assert "step-00000001" in names(tmp_path / "c")
        store.wait()
        assert not store.busy
    assert "step 2: training waited" in said.getvalue()
    assert names(tmp_path / "c") == [".lock", "step-00000001", "step-00000002"]


#: Files larger than this many bytes are refused by the system, as on a full disk.
FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from tfft.console import Console
from tfft.core.errors import ArtifactError
from tfft.training.checkpoint import CheckpointStore
store = CheckpointStore(Path(sys.argv[1]), 1, Console(quiet=True))
store.save(1, {"w": np.zeros(9)}, {})
store.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
weights = np.zeros(100_000)
store.save(2, {"w": weights}, {})
try: store.save(3, {"w": weights}, {})
except ArtifactError as error: print("next save:", error)
store.save(4, {"w": weights}, {})
try: store.close()
except ArtifactError as error: print("close:", error)
try: store.save(5, {}, {})
except ArtifactError as error: print("closed:", error)
"""


def test_a_full_disk_is_told_by_the_next_save_and_spares_what_is_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = done.stdout.splitlines()
    assert [line.split(":")[0] for line in told] == ["next save", "close", "closed"], done.stderr
    assert "step 2 could not be written" in told[0]
    assert "File too large" in told[0]
    assert "step 4 could not be written" in told[1]
    assert names(tmp_path / "c") == [".lock", "step-00000001"]


def test_a_failed_save_does_not_hide_the_error_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(module, "write_checkpoint", broken)
    console, said = heard()
    store = CheckpointStore(tmp_path / "c", 1, console)
    store.save(1, {}, {})
    with pytest.raises(KeyError), store:
        raise KeyError
    assert "the disk is gone" in said.getvalue()


ENDLESS = """
import sys
from pathlib import Path
import numpy as np
from tfft.console import Console
from tfft.training.checkpoint import CheckpointStore
with CheckpointStore(Path(sys.argv[1]), 1, Console()) as store:
    found = store.latest()
    step = found.step if found else 0
    print("from", step, flush=True)
    while True:
        step += 1
        store.save(step, {str(i): np.full(50_000, step, np.float32) for i in range(4)}, {"step": step})
        store.wait()
        print(step, flush=True)
"""


def test_a_killed_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    draw, reached, interrupted = np.random.default_rng(3), 0, 0
    for _ in range(6):
        command = [sys.executable, "-c", ENDLESS, str(tmp_path / "c")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == f"from {reached}\n", process.stderr.read()
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        said, warned = process.communicate()
        assert "is not used" not in warned
        interrupted += any(name.startswith(".step-") for name in names(tmp_path / "c"))
        done = [int(line) for line in said.splitlines()]
        found = latest_checkpoint(tmp_path / "c", Console())
        assert found is not None
        assert found.step >= max(done, default=reached + 1), "what was reported as saved is there"
        assert all((array == found.step).all() for array in found.arrays.values())
        reached = found.step
    assert interrupted > 0, "a kill must hit a save for this test to say anything"


#: Ends the process at the n-th file operation of a save, for every n, and looks at what is left.
EVERY_CRASH = """
import io, itertools, os, shutil, sys
from pathlib import Path
import numpy as np
from tfft.console import Console
from tfft.training.checkpoint import CheckpointStore
whole, folder, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
said = io.StringIO()

def save(step, version):
    with CheckpointStore(folder, 1, Console(stream=said)) as store:
        store.save(step, {"w": np.full(9, version)}, {"version": version})

def crash(after):
    counted = itertools.count()
    def hook(event, arguments):
        if event.split(".")[0] in ("open", "os", "shutil") and next(counted) == after:
            os._exit(9)
    sys.addaudithook(hook)
    save(step, 1)
    os._exit(0)

save(1, 0)
folder.rename(whole)
for after in itertools.count():
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    child = os.fork()
    if child == 0:
        crash(after)
    if os.waitpid(child, 0)[1] == 0:
        break
    with CheckpointStore(folder, 1, Console(stream=said)) as store:
        found = store.latest()
    assert found is not None, after
    version = found.state["version"]
    assert (found.arrays["w"] == version).all(), after
    assert found.step == (step if version else 1), after
    left = sorted(path.name for path in folder.iterdir())
    assert left[0] == ".lock" and not any(name.startswith(".") for name in left[1:]), left
    assert all(len(list((folder / name).iterdir())) == 3 for name in left[1:]), after
assert "is not used" not in said.getvalue(), said.getvalue()
print(after)
"""


@pytest.mark.parametrize("step", [1, 2], ids=["same_step", "next_step"])
def test_a_crash_at_any_file_operation_leaves_a_whole_checkpoint(step: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", EVERY_CRASH, str(tmp_path / "whole"), str(tmp_path / "c"), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "file operations of a save"


def test_two_runs_cannot_write_the_same_checkpoints(tmp_path: Path, quiet: Console) -> None:
    with CheckpointStore(tmp_path / "c", 1, quiet) as store:
        with pytest.raises(ArtifactError, match=f"in use by process {os.getpid()} on"):
            CheckpointStore(tmp_path / "c", 1, quiet)
        code = f"import sys; sys.argv = ['', {str(tmp_path / 'c')!r}]; {'exec(sys.stdin.read())'}"
        other = subprocess.run([sys.executable, "-c", code], input=ENDLESS, capture_output=True, text=True, check=False)
        assert "two runs cannot write" in other.stderr
        store.save(1, {}, {})
    CheckpointStore(tmp_path / "c", 1, quiet).close()


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(module.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", without)
    console, said = heard()
    CheckpointStore(tmp_path / "c", 1, console).close()
    assert "has no locks" in said.getvalue()


def test_clear_and_remove(tmp_path: Path, quiet: Console) -> None:
    fill(tmp_path / "c", (1, 2))
    with CheckpointStore(tmp_path / "c", 1, quiet) as store:
        store.clear()
        assert names(tmp_path / "c") == [".lock"]
        store.save(1, {}, {})
    store = CheckpointStore(tmp_path / "c", 1, quiet)
    store.remove()
    assert names(tmp_path) == []
    assert latest_checkpoint(tmp_path / "c", quiet) is None


def test_what_cannot_be_a_store_is_refused(tmp_path: Path, quiet: Console) -> None:
    with pytest.raises(ConfigError, match="keep_checkpoints is 0"):
        CheckpointStore(tmp_path / "c", 0, quiet)
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be written"):
        CheckpointStore(tmp_path / "file", 1, quiet)


def test_checkpoints_are_due_by_steps_or_minutes() -> None:
    clock = itertools.count()  # a second each time it is asked
    by_steps = CheckpointTimer(3, None, step=4, clock=lambda: 0.0)
    assert [step for step in range(5, 20) if by_steps.due(step)] == [6, 9, 12, 15, 18]
    assert [step for step in (23, 24, 25, 26, 27) if by_steps.due(step)] == [23, 24, 27]
    by_time = CheckpointTimer(None, 0.1, clock=lambda: float(next(clock)))
    assert [step for step in range(1, 22) if by_time.due(step)] == [6, 12, 18]
    assert not any(CheckpointTimer(None, None).due(step) for step in range(9))
