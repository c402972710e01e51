"""Plots: what is drawn, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tfft.core.errors import ConfigError
from tfft.plots import Line, save_plot

LINES = [Line("one", [0.001, 0.01, 0.1], [3.0, 1.0, 2.0]), Line("two", [0.001, 0.1], [1.0, 1.0], faint=True)]


def test_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    whole = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), whole(self, *a, **k))[1])
    path = save_plot(
        tmp_path / "new" / "plot.png", LINES, labels=("rate", "loss"), marks={"best": 0.01}, log_x=True, highest=2.5
    )
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [item.name for item in path.parent.iterdir()] == ["plot.png"]
    axes = figures[0].axes[0]
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "rate", "loss")
    assert axes.get_ylim()[1] == 2.5
    assert [line.get_label() for line in axes.lines] == ["one", "two", "best"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(axes.lines[2].get_xdata(), [0.01, 0.01])


def test_a_plot_that_is_there_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "plot.png"
    target.write_bytes(b"old")
    assert save_plot(str(target), LINES, labels=("x", "y")) == target
    assert target.stat().st_size > 1000


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'plot\.pdf' does not end in \.png"):
        save_plot(tmp_path / "plot.pdf", LINES, labels=("x", "y"))


def test_without_matplotlib_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="pip install 'tfft"):
        save_plot(tmp_path / "plot.png", LINES, labels=("x", "y"))
