"""The tasks that share a backbone: how they are named in options, and checked."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfft.config import FitConfig
from tfft.core.errors import ConfigError, name_list, unknown_name
from tfft.tasks.base import TASK_OPTIONS, Task, tasks

#: Options that decide about whole rows, so that no task can have them for itself.
_OF_ROWS = frozenset(
    {"class_weights", "resample", "r_drop", "packing", "augment", "streaming", "mask_personal_data", "text_column"}
)
#: Keys of a task in the option `tasks` that are no options of the task.
_KEYS = ("task", "name", "weight")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Member:
    """One of several tasks on a backbone.

    Attributes:
        name: Name of its head, its figures and its predictions.
        task: Name in the task registry.
        weight: Weight of its loss.
        config: The run's options with those of its own.
    """

    name: str
    task: str
    weight: float
    config: FitConfig

    @property
    def of(self) -> Task:
        """The task itself."""
        return tasks.get(self.task)


def joinable() -> list[str]:
    """Returns the names of the tasks that can share a backbone."""
    return [name for name in tasks if tasks.get(name).joinable]


def options_of(members: Sequence[Member]) -> frozenset[str]:
    """Returns the options that tasks use together on one backbone."""
    return frozenset().union(*(member.of.uses for member in members)) - _OF_ROWS


def members(specifications: Sequence[str | Mapping[str, Any]], config: FitConfig) -> tuple[Member, ...]:
    """Reads the tasks of a run.

    Args:
        specifications: Names of tasks, or mappings with the keys "task", "name", "weight" and options of the task.
        config: The run's options, which hold for each task that has none of its own.

    Returns:
        The tasks, in order.

    Raises:
        ConfigError: With one line for each mistake.
    """
    found: list[Member] = []
    problems: list[str] = []
    for place, specification in enumerate(specifications, 1):
        try:
            found.append(_member(specification, config, f"tasks, item {place}"))
        except ConfigError as error:
            problems.append(str(error))
    names = [member.name for member in found]
    twice = list(dict.fromkeys(name for name in names if names.count(name) > 1))
    if twice:
        problems.append(
            f"tasks: {name_list([repr(name) for name in twice])} stands twice; give each a name of its own, for "
            f"instance {{'task': {found[names.index(twice[0])].task!r}, 'name': 'topic'}}."
        )
    if problems:
        raise ConfigError("\n".join(problems))
    if len(found) < 2:  # noqa: PLR2004
        raise ConfigError(
            f"tasks names {len(found)} task; several heads need at least two. For one, write task={names[0]!r}."
            if found
            else "tasks is empty; name at least two tasks."
        )
    return tuple(found)


def _member(specification: str | Mapping[str, Any], config: FitConfig, where: str) -> Member:
    given: dict[str, Any] = {"task": specification} if isinstance(specification, str) else dict(specification)
    name = given.pop("task", None)
    if not isinstance(name, str):
        raise ConfigError(f"{where}: 'task' is missing; write for instance {{'task': 'text_classification'}}.")
    if name not in joinable():
        if name in tasks:
            raise ConfigError(
                f"{where}: {name!r} cannot share its backbone: it does not read one text a row with its targets. Tasks "
                f"that can: {name_list(joinable())}."
            )
        raise ConfigError(f"{where}: {unknown_name('task', name, joinable())}")
    called: Any = given.pop("name", name)
    weight: Any = given.pop("weight", 1.0)
    if not isinstance(called, str) or not _NAME.fullmatch(called):
        raise ConfigError(
            f"{where}: a name consists of small letters, digits and underscores, a letter first; received {called!r}."
        )
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not math.isfinite(weight) or weight <= 0:
        raise ConfigError(f"{where}: weight should be a number above 0; received {weight!r}.")
    own = sorted((set(TASK_OPTIONS) & tasks.get(name).uses) - _OF_ROWS)
    for option in given:
        if option in _OF_ROWS:
            raise ConfigError(f"{where}: {option} is for whole rows, so it cannot be an option of one task.")
        if option not in own:
            raise ConfigError(f"{where}: {unknown_name('option', str(option), [*_KEYS, *own], most=20)}")
    try:
        changed = dataclasses.replace(config, task=name, tasks=None, monitor="val_loss", **given)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in str(error).splitlines())) from None
    return Member(called, name, float(weight), changed)
