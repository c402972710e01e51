"""Fixtures for reading data of every kind; for the whole session, because properties run their body many times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tfft.console import Console
from tfft.data.read import read_table


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose files each test may overwrite."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def read() -> Callable[..., pd.DataFrame]:
    """Reads text and label of any source without saying anything."""

    def read(source: Any, columns: Sequence[str] = ("text", "label"), encoding: str = "utf-8") -> pd.DataFrame:
        return read_table(source, columns, encoding=encoding, console=Console(quiet=True)).frame

    return read


@pytest.fixture(scope="session")
def read_bytes(folder: Path, read: Callable[..., pd.DataFrame]) -> Callable[..., list[list[str | None]]]:
    """Writes bytes to a file, reads it and returns its rows; checks that they are numbered from 1."""

    def read_bytes(name: str, content: bytes, **options: Any) -> list[list[str | None]]:
        (folder / name).write_bytes(content)
        table = read(folder / name, **options)
        assert table.index.tolist() == list(range(1, len(table) + 1))
        return table.to_numpy().tolist()

    return read_bytes
