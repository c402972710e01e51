"""The run directory: written whole or not at all, and read only when nothing in it was altered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfft.core.errors import ArtifactError
from tfft.runs.run_directory import read_manifest, read_run, versions, write_run

DOCUMENTS = {"config": {"epochs": 3}, "labels": ["böse", "gut"], "history": {"loss": [0.5, 0.25]}}
FILES = ["run.json", "config.json", "labels.json", "history.json", "head.bin", "preset/weights.bin"]


def write_weights(folder: Path) -> None:
    (folder / "preset").mkdir()
    (folder / "preset" / "weights.bin").write_bytes(bytes(range(64)))
    (folder / "head.bin").write_bytes(b"head")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", DOCUMENTS, write_weights, overwrite=False)
    return tmp_path / "run"


def edit_manifest(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edits the manifest and gives it the right checksum again."""
    manifest = json.loads((run / "run.json").read_text("utf-8"))
    del manifest["sha256"]
    edit(manifest)
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (run / "run.json").write_text(json.dumps({**manifest, "sha256": digest}), "utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_is_read(run: Path) -> None:
    assert read_run(run) == DOCUMENTS
    assert sorted(contents(run)) == sorted(FILES)


def test_the_manifest_lists_every_other_file_with_its_checksum(run: Path) -> None:
    files = read_manifest(run)["files"]
    assert sorted(files) == sorted(set(FILES) - {"run.json"})
    for name, entry in files.items():
        content = (run / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_manifest_names_the_versions_that_made_it(run: Path) -> None:
    import keras
    import tensorflow as tf

    found = read_manifest(run)["versions"]
    assert found == versions()
    assert (found["tensorflow"], found["keras"]) == (tf.__version__, keras.__version__)


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_noticed(run: Path, file: str) -> None:
    original = (run / file).read_bytes()
    for place in range(0, len(original), max(1, len(original) // 20)):
        altered = bytearray(original)
        altered[place] ^= 1
        (run / file).write_bytes(altered)
        with pytest.raises(ArtifactError):
            read_run(run)


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_is_noticed(run: Path, file: str) -> None:
    original = (run / file).read_bytes()
    for length in (0, len(original) // 2, len(original) - 2):
        (run / file).write_bytes(original[:length])
        with pytest.raises(ArtifactError, match=Path(file).name):
            read_run(run)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_noticed(run: Path, file: str) -> None:
    (run / file).unlink()
    with pytest.raises(ArtifactError, match=Path(file).name):
        read_run(run)


def test_an_edited_manifest_is_noticed(run: Path) -> None:
    manifest = json.loads((run / "run.json").read_text("utf-8"))
    manifest["files"].pop("config.json")
    (run / "run.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ArtifactError, match="altered"):
        read_run(run)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", "{}", '{"format": "1"}', '{"sha256": 1}'])
def test_a_manifest_of_another_shape_is_refused(run: Path, content: str) -> None:
    (run / "run.json").write_text(content, "utf-8")
    with pytest.raises(ArtifactError, match=r"run\.json is damaged"):
        read_run(run)


def test_a_later_format_asks_for_an_upgrade(run: Path) -> None:
    edit_manifest(run, lambda manifest: manifest.update(format=2))
    with pytest.raises(ArtifactError, match=r"later version.*upgrade"):
        read_run(run)


@pytest.mark.parametrize("relative", [True, False])
def test_a_file_outside_the_run_is_refused_unread(run: Path, tmp_path: Path, relative: bool) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}", "utf-8")
    name = "../secret.json" if relative else str(secret)
    entry = {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    edit_manifest(run, lambda manifest: manifest["files"].update({name: entry}))
    with pytest.raises(ArtifactError, match="outside the run directory"):
        read_run(run)


def test_a_link_that_leads_outside_is_refused(run: Path, tmp_path: Path) -> None:
    outside = (run / "head.bin").rename(tmp_path / "elsewhere.bin")
    (run / "head.bin").symlink_to(outside)
    with pytest.raises(ArtifactError, match="outside the run directory"):
        read_run(run)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
def test_what_is_no_run_directory_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "other")
    with pytest.raises(ArtifactError, match="not a run directory"):
        read_run(tmp_path / "other")


def failing(folder: Path) -> None:
    write_weights(folder)
    raise OSError(28, "No space left on device")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="disk is full"):
        write_run(tmp_path / "run", DOCUMENTS, failing, overwrite=False)
    assert not list(tmp_path.iterdir())


def test_a_failed_overwrite_keeps_the_earlier_run(run: Path) -> None:
    before = contents(run)
    with pytest.raises(ArtifactError, match="disk is full"):
        write_run(run, {"config": {}}, failing, overwrite=True)
    assert contents(run) == before
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_an_occupied_directory_is_refused_without_overwrite(run: Path) -> None:
    before = contents(run)
    with pytest.raises(ArtifactError, match="not empty"):
        write_run(run, {"config": {}}, write_weights, overwrite=False)
    assert contents(run) == before


def test_overwrite_replaces_the_earlier_run_whole(run: Path) -> None:
    write_run(run, {"config": {"epochs": 9}}, lambda folder: None, overwrite=True)
    assert read_run(run) == {"config": {"epochs": 9}}
    assert sorted(contents(run)) == ["config.json", "run.json"]
    assert [path.name for path in run.parent.iterdir()] == ["run"]
