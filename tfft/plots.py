"""Plots as PNG files; matplotlib is loaded when the first one is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfft.core.errors import ConfigError
from tfft.core.files import temporary_sibling

#: Width and height in inches, and dots per inch.
_SIZE, _RESOLUTION = (7.0, 4.2), 120


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a plot.

    Attributes:
        name: What the legend calls it.
        x: Horizontal positions.
        y: Vertical positions.
        faint: Whether it stands back behind the others.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False


def save_plot(
    path: str | Path,
    lines: Sequence[Line],
    *,
    labels: tuple[str, str],
    marks: Mapping[str, float] | None = None,
    title: str = "",
    log_x: bool = False,
    highest: float | None = None,
) -> Path:
    """Draws lines into a PNG file, which appears whole or not at all.

    Args:
        path: The file; its name ends in `.png`. One that is there is replaced.
        lines: What is drawn.
        labels: Of the horizontal and the vertical axis.
        marks: Name to horizontal position of vertical marks.
        title: Written above.
        log_x: Whether the horizontal axis is logarithmic.
        highest: Top of the vertical axis; lines may leave the plot there. None: the highest value.

    Returns:
        The file.

    Raises:
        ConfigError: When the name does not end in `.png`, or matplotlib is not installed.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ConfigError(f"Plots are PNG files; {target.name!r} does not end in .png.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("Plots need matplotlib, which is not installed: pip install 'tfft[demo]'.") from None
    figure = Figure(figsize=_SIZE, dpi=_RESOLUTION, layout="constrained")  # without pyplot: no window, no global state
    axes = figure.add_subplot()
    for line in lines:
        alpha, width = (0.35, 1.0) if line.faint else (1.0, 2.0)
        axes.plot(line.x, line.y, label=line.name, alpha=alpha, linewidth=width)
    for number, (name, position) in enumerate((marks or {}).items()):
        axes.axvline(position, label=name, color=f"C{len(lines) + number}", linestyle="--")
    if log_x:
        axes.set_xscale("log")
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    if highest is not None:
        lowest = min((min(line.y) for line in lines if line.y), default=0.0)
        axes.set_ylim(lowest - 0.05 * (highest - lowest), highest)
    axes.title.set_fontsize("small")
    axes.grid(alpha=0.3)
    axes.legend()
    with temporary_sibling(target) as folder:
        drawn = folder / target.name
        figure.savefig(drawn, format="png")
        drawn.replace(target)
    return target
