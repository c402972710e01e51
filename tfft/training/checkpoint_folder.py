"""Where the checkpoints of a run lie."""

from __future__ import annotations

from pathlib import Path

from tfft.config import FitConfig
from tfft.core.errors import ConfigError


def checkpoint_directory(output_dir: str | Path) -> Path:
    """Returns the folder of a run's checkpoints: beside its run directory, which appears whole at the end."""
    path = Path(output_dir)
    return path.with_name(f"{path.name}.checkpoints")


def check_no_leftovers(config: FitConfig) -> None:
    """Checks that a run that begins anew does not throw away what an interrupted one has.

    Args:
        config: The run's options.

    Raises:
        ConfigError: When there are checkpoints, and neither resume nor overwrite is set.
    """
    if config.output_dir is None or config.resume or config.overwrite:
        return
    folder = checkpoint_directory(config.output_dir)
    if folder.is_dir() and any(folder.glob("step-*")):
        raise ConfigError(
            f"{folder} has the checkpoints of an interrupted run. Pass resume=True to go on from there, or "
            "overwrite=True to begin anew."
        )
