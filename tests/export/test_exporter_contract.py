"""What every registered exporter has to do, whatever it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

import tfft
from tfft.core.errors import ConfigError, ExportError
from tfft.export.base import exporters

NAMES = exporters.names()


@pytest.fixture(scope="module", params=NAMES)
def exported(
    request: pytest.FixtureRequest, trained: tfft.FineTunedModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The directory asked for and what was written, verified by a fresh process."""
    directory = tmp_path_factory.mktemp("exports") / "deep" / request.param
    return directory, trained.export(directory, format=request.param)


def test_there_are_exporters() -> None:
    assert "saved_model" in NAMES


def test_what_was_written_is_returned(exported: tuple[Path, Path]) -> None:
    directory, written = exported
    assert written.exists()
    assert written.is_relative_to(directory)


def test_nothing_temporary_stays(exported: tuple[Path, Path]) -> None:
    directory, written = exported
    assert [path for path in directory.iterdir() if path != written] == []


def test_other_users_can_read_it(exported: tuple[Path, Path]) -> None:
    _, written = exported
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in [written, *written.rglob("*")])


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_the_way_is_refused(trained: tfft.FineTunedModel, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is a file"):
        trained.export(tmp_path / "file", format=name)


def test_an_unknown_format_is_answered_with_the_nearest(trained: tfft.FineTunedModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'savedmodel'.*'saved_model'"):
        trained.export(tmp_path, format="savedmodel")
