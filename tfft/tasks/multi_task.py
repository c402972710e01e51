"""Several tasks on one backbone, named in options."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tfft.config import FitConfig
from tfft.core.errors import ConfigError
from tfft.tasks._joint import JointTask
from tfft.tasks._members import Member, members
from tfft.tasks.base import register_task, tasks

#: Tasks of the sample data: each reads a column of its own.
_SAMPLE: list[str | dict[str, Any]] = [
    {"task": "text_classification", "name": "opinion", "label_column": "opinion"},
    {"task": "text_regression", "name": "stars", "label_column": "stars", "weight": 0.5},
]


class MultiTask(JointTask):
    """The tasks that the option `tasks` names."""

    uses = frozenset({"tasks"})

    def members(self, config: FitConfig) -> tuple[Member, ...]:
        """Returns the tasks of a run.

        Args:
            config: The run's options.

        Returns:
            The tasks.

        Raises:
            ConfigError: When there are fewer than two, or one cannot be used.
        """
        if config.tasks is None:
            raise ConfigError(
                "task='multi_task' needs tasks, for instance tasks=['text_classification', 'token_classification']."
            )
        return members(config.tasks, config)

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short film opinions with a label and a number of stars."""
        data = tasks.get("text_classification").sample_data()
        stars = [4 + len(text) % 2 if label == "good" else 1 + len(text) % 2 for text, label in data.to_numpy()]
        return data.rename(columns={"label": "opinion"}).assign(stars=list(map(str, stars)))

    def sample_options(self) -> dict[str, Any]:
        """Returns the tasks of the sample data."""
        return {"tasks": _SAMPLE}


register_task("multi_task")(MultiTask())
