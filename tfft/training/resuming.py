"""Which checkpoints a run writes, and which it may go on from."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, name_list
from tfft.distribute.plan import ExecutionPlan
from tfft.training.checkpoint import CheckpointStore, CheckpointTimer
from tfft.training.checkpoint_files import Checkpoint
from tfft.training.checkpoint_folder import checkpoint_directory
from tfft.training.chosen_checkpoint import failure_told, take_choice, tell_choice
from tfft.training.loop import Checkpoints

#: Options that may differ between the interrupted run and the one that goes on: they do not touch the result.
_FREE = {"resume", "overwrite", "output_dir", "checkpoint_steps", "checkpoint_minutes", "keep_checkpoints", "cache_dir"}


@contextlib.contextmanager
def open_checkpoints(
    config: FitConfig, identity: Mapping[str, Any], plan: ExecutionPlan, console: Console
) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a run; of several workers, all go on from the one that the chief chose.

    Args:
        config: The run's options.
        identity: What else decides the result, as plain data: data, versions, number of replicas.
        plan: Only the chief writes. All of its workers have to come here.
        console: Where it is said what the run goes on from.

    Yields:
        The checkpoints.

    Raises:
        ConfigError: When the interrupted run was another one.
        TrainingError: When a worker cannot read the checkpoint that the chief goes on from.
    """
    folder = _folder(config)
    same = {**_deciding(config), **identity}
    if not plan.is_chief:
        yield _checkpoints(None, take_choice(folder, plan), same, config, console)
        return
    if folder is None:
        tell_choice(None, None, plan)
        yield Checkpoints(None, CheckpointTimer(config.checkpoint_steps, config.checkpoint_minutes), None)
        return
    try:
        with contextlib.ExitStack() as opened:
            with failure_told(plan):
                store = opened.enter_context(CheckpointStore(folder, config.keep_checkpoints, console))
                if not config.resume:
                    store.clear()
                found = store.latest() if config.resume else None
            tell_choice(found, folder, plan)
            yield _checkpoints(store, found, same, config, console)
    finally:
        if folder.is_dir() and not any(folder.glob("step-*")):
            shutil.rmtree(folder, ignore_errors=True)  # nothing but its lock


def discard_checkpoints(config: FitConfig, console: Console) -> None:
    """Deletes the checkpoints of a run whose result is saved."""
    if config.output_dir is not None and checkpoint_directory(config.output_dir).is_dir():
        CheckpointStore(checkpoint_directory(config.output_dir), config.keep_checkpoints, console).remove()


def _checkpoints(
    store: CheckpointStore | None,
    found: Checkpoint | None,
    identity: dict[str, Any],
    config: FitConfig,
    console: Console,
) -> Checkpoints:
    timer = CheckpointTimer(config.checkpoint_steps, config.checkpoint_minutes, step=0 if found is None else found.step)
    if found is None:
        if config.resume:
            console.say("resume: no checkpoint was found; beginning from the start")
        return Checkpoints(store, timer, None, identity)
    state = dict(found.state)
    before = state.pop("identity")
    other = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
    if other:
        raise ConfigError(
            f"The interrupted run differs in {name_list(other)}, so this one cannot go on from its checkpoint. Use the "
            "same data and options, or begin anew with overwrite=True."
        )
    console.say(f"resume: going on after step {found.step:,}")
    return Checkpoints(store, timer, (dict(found.arrays), state), identity)


def _folder(config: FitConfig) -> Path | None:
    """Returns the folder of the checkpoints; None when there are to be none."""
    if config.output_dir is None or (config.checkpoint_steps is None and config.checkpoint_minutes is None):
        return None
    return checkpoint_directory(config.output_dir)


def _deciding(config: FitConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in _FREE}
