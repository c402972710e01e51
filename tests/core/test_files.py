"""Directories appear whole or not at all, whatever fails in between."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfft.core.errors import ArtifactError
from tfft.core.files import atomic_directory, check_target, sha256

WRITE_PAST_THE_LIMIT = """
import resource, signal, sys
from pathlib import Path
from tfft.core.errors import ArtifactError
from tfft.core.files import atomic_directory

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_directory(Path(sys.argv[1]), overwrite=True) as folder:
        (folder / "config.json").write_bytes(b"new")
        (folder / "weights.bin").write_bytes(bytes(100_000))
except ArtifactError as error:
    print(error)
    sys.exit(7)
"""


def contents(directory: Path) -> dict[str, bytes]:
    """Returns every file below a directory, hidden ones too, with its bytes."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def write_then_fail(target: Path, error: type[BaseException], *, overwrite: bool) -> None:
    """Writes half of a directory and then raises."""
    with atomic_directory(target, overwrite=overwrite) as folder:
        (folder / "config.json").write_bytes(b"new")
        raise error


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A directory with files, in a folder of its own."""
    target = tmp_path / "runs" / "earlier"
    (target / "deep").mkdir(parents=True)
    (target / "config.json").write_bytes(b"old")
    (target / "deep" / "weights.bin").write_bytes(bytes(range(256)) * 40)
    return target


def test_sha256_of_a_file_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_directory_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "run"
    with atomic_directory(target) as folder:
        (folder / "a").write_bytes(b"1")
        assert not target.exists()
    assert contents(tmp_path) == {"new/run/a": b"1"}
    assert target.stat().st_mode & 0o777 == 0o755


def test_failing_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_then_fail(tmp_path / "run", RuntimeError, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_the_earlier_directory_whole(earlier: Path) -> None:
    with atomic_directory(earlier, overwrite=True) as folder:
        (folder / "only").write_bytes(b"new")
    assert contents(earlier.parent) == {"earlier/only": b"new"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failing_block_leaves_the_earlier_directory_intact(earlier: Path, error: type[BaseException]) -> None:
    before = contents(earlier.parent)
    with pytest.raises(error):
        write_then_fail(earlier, error, overwrite=True)
    assert contents(earlier.parent) == before
    assert list(earlier.parent.iterdir()) == [earlier]


def test_real_write_failure_leaves_the_earlier_directory_byte_identical(earlier: Path) -> None:
    before = contents(earlier.parent)
    ran = subprocess.run(
        [sys.executable, "-c", WRITE_PAST_THE_LIMIT, str(earlier)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 7, ran.stderr
    assert f"{earlier} could not be written" in ran.stdout
    assert os.strerror(errno.EFBIG) in ran.stdout
    assert contents(earlier.parent) == before
    assert list(earlier.parent.iterdir()) == [earlier]


def test_earlier_directory_comes_back_when_the_last_rename_fails(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(earlier.parent)
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if target == earlier and (self / "half").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(ArtifactError, match="the disk is full"), atomic_directory(earlier, overwrite=True) as folder:
        (folder / "half").write_bytes(b"new")
    assert contents(earlier.parent) == before
    assert list(earlier.parent.iterdir()) == [earlier]


def test_overwriting_through_a_link_leaves_nothing_behind(earlier: Path) -> None:
    link = earlier.with_name("latest")
    link.symlink_to(earlier, target_is_directory=True)
    with atomic_directory(link, overwrite=True) as folder:
        (folder / "only").write_bytes(b"new")
    assert contents(link) == {"only": b"new"}
    assert sorted(earlier.parent.iterdir()) == [earlier, link]


def test_target_with_files_is_refused_without_overwrite(earlier: Path) -> None:
    before = contents(earlier)
    with pytest.raises(ArtifactError, match=r"is not empty; .* overwrite=True"), atomic_directory(earlier):
        pytest.fail("the block must not run")
    assert contents(earlier) == before


def test_target_may_be_an_empty_directory(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "run") as folder:
        (tmp_path / "run").mkdir()
        (folder / "a").write_bytes(b"1")
    check_target(tmp_path / "empty" / "deeper")
    assert contents(tmp_path) == {"run/a": b"1"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_target_that_is_a_file_is_refused(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "run").write_bytes(b"mine")
    with pytest.raises(ArtifactError, match="is a file"):
        check_target(tmp_path / "run", overwrite=overwrite)
    assert (tmp_path / "run").read_bytes() == b"mine"


def test_target_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError, match="cannot be written"):
        check_target(tmp_path / "file" / "deep" / "run")
